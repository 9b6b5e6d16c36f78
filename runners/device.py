"""Devices by name, and whether CUDA is really there."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """`cpu`, `cuda` or `cuda:1`."""

    kind: str
    index: int = 0

    @classmethod
    def parse(cls, text: str) -> Device:
        """Reads a device name.

        Raises:
            ValueError: it is not `cpu`, `cuda` or `cuda:N`.
        """
        kind, _, index = text.partition(":")
        valid = kind == "cuda" and (index.isdigit() or ":" not in text)
        if text != "cpu" and not valid:
            raise ValueError(f"{text!r} is not a device; use cpu, cuda or cuda:N")
        return cls(kind, int(index or 0))

    def __str__(self) -> str:
        return f"{self.kind}:{self.index}" if self.index else self.kind


def cuda_absence(index: int = 0) -> str | None:
    """Why CUDA device `index` cannot be used, asked of the driver itself; None if it can.

    The driver is asked before any framework is, because ONNX Runtime answers an absent GPU with a quiet CPU session.
    """
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return f"no NVIDIA driver on this machine ({name} is not there)"
    code = driver.cuInit(0)
    if code != 0:
        return f"the NVIDIA driver does not start (cuInit returned {code})"
    count = ctypes.c_int(0)
    driver.cuDeviceGetCount(ctypes.byref(count))
    if index >= count.value:
        return f"the NVIDIA driver shows {count.value} GPU(s), so there is no cuda:{index}"
    return None
