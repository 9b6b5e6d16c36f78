"""Devices by name, and whether CUDA is really there."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from itertools import count as counting


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


def visible_devices() -> int:
    """How many CUDA devices the driver shows this process; `CUDA_VISIBLE_DEVICES` may hide some."""
    return next(index for index in counting() if cuda_absence(index) is not None)


def cuda_driver() -> str | None:
    """The NVIDIA driver and the newest CUDA it runs, as in `580.65.06 (CUDA 13.0)`; None without a driver.

    Asked of the driver's own libraries (`nvmlSystemGetDriverVersion`, `cuDriverGetVersion`), which no package brings.
    """
    cuda, nvml = ("nvcuda.dll", "nvml.dll") if sys.platform == "win32" else ("libcuda.so.1", "libnvidia-ml.so.1")
    number = ctypes.c_int(0)
    text = ctypes.create_string_buffer(_NVML_VERSION_SIZE)
    try:
        failed = ctypes.CDLL(cuda).cuDriverGetVersion(ctypes.byref(number))
    except OSError:
        return None
    if failed:
        return None
    # CUDA 13.0 is told as 13000, 12.9 as 12090.
    version = f"CUDA {number.value // 1000}.{number.value % 1000 // 10}"
    try:
        library = ctypes.CDLL(nvml)
        told = library.nvmlInit_v2() == 0 and library.nvmlSystemGetDriverVersion(text, _NVML_VERSION_SIZE) == 0
        library.nvmlShutdown()
    except (OSError, AttributeError):
        told = False
    return f"{text.value.decode()} ({version})" if told else version


_NVML_VERSION_SIZE = 80
"""`NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE` of nvml.h."""
