"""Memory of a worker process, asked from inside it: resident, its peak, what a model adds, and the device's."""

from __future__ import annotations

import gc
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

from benchmark.measured import Memory

MIB = 2**20
STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")

NO_PYNVML = "NVML was not asked, because nvidia-ml-py is not installed; install sambench[gpu]"


def resident_mib() -> float:
    """This process's resident memory."""
    return float(psutil.Process().memory_info().rss) / MIB


def own_mib() -> float:
    """Memory that would be free if this process ended (USS), or the resident memory where the system does not tell.

    Unlike the resident memory it leaves out pages shared with other processes, whose sum would count them twice.
    """
    try:
        return float(psutil.Process().memory_full_info().uss) / MIB
    except (psutil.Error, AttributeError, OSError):
        return resident_mib()


def peak_mib() -> float | None:
    """The most resident memory that this process ever had; None where the system does not tell.

    Linux tells it as VmHWM of /proc/self/status. The `ru_maxrss` of getrusage will not do there: it survives an exec,
    so that a small worker would inherit the peak of the large process that forked it.
    """
    if sys.platform == "linux":
        return high_water_mib(STATUS.read_text(encoding="utf-8"))
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / MIB
    import resource  # a POSIX module

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024  # bytes on macOS, KiB elsewhere


def high_water_mib(status: str) -> float | None:
    """VmHWM in the text of a /proc/PID/status; a sandbox may leave it out."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return None if found is None else int(found[1]) / 1024


def reset_peak() -> bool:
    """Lets the peak start anew from what is resident now; False where the system has no way to.

    Linux: writing 5 to /proc/self/clear_refs (man 5 proc).
    """
    if sys.platform != "linux":
        return False
    try:
        CLEAR_REFS.write_text("5", encoding="utf-8")
    except OSError:
        return False
    return True


class MemoryWatch:
    """What one worker's memory comes to. Call `before`, load the model, call `loaded`, measure, and ask `memory`.

    Args:
        device: on a GPU its memory is asked of PyTorch's allocator, where PyTorch is loaded, and of NVML.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self._before: float | None = None
        self._own_before: float | None = None
        self._model: float | None = None

    def before(self) -> None:
        """The libraries are imported, the model is not loaded."""
        gc.collect()
        self._before, self._own_before = resident_mib(), own_mib()
        torch = _torch_on(self._device)
        if torch is not None:
            torch.cuda.reset_peak_memory_stats(_index(self._device))

    def loaded(self) -> None:
        """The model is loaded, and nothing has run yet."""
        gc.collect()
        if self._own_before is not None:
            self._model = own_mib() - self._own_before

    def memory(self) -> Memory:
        """All of it, with the reasons for what could not be had."""
        reasons = [] if self._own_before is not None else ["the memory before loading was not taken"]
        peak = peak_mib()
        if peak is None:
            reasons.append("this system does not tell a process's peak")
        allocated, used = None, None
        if self._device != "cpu":
            torch = _torch_on(self._device)
            if torch is None:
                reasons.append("the backend's allocator keeps no peak of device memory")
            else:
                allocated = float(torch.cuda.max_memory_allocated(_index(self._device))) / MIB
            used, why = nvml_used_mib(_index(self._device))
            reasons += [why] if why else []
        return Memory(
            peak_mib=peak,
            before_mib=self._before,
            model_mib=self._model,
            device_peak_mib=allocated,
            device_used_mib=used,
            reason="; ".join(reasons) or None,
        )


def nvml_used_mib(index: int, pid: int | None = None) -> tuple[float | None, str | None]:
    """The device memory that NVML counts for a process, and why there is none.

    Args:
        index: of the GPU, as CUDA counts those that it may see.
        pid: of the process; None is this one. Inside a container NVML may know it by another number.
    """
    try:
        import pynvml
    except ImportError:
        return None, NO_PYNVML
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return None, f"NVML does not start ({error})"
    try:
        handle = nvml_handle(pynvml, index)
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except pynvml.NVMLError as error:
        return None, f"NVML does not tell the processes of GPU {index} ({error})"
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
    return used_by(processes, os.getpid() if pid is None else pid)


def nvml_handle(pynvml: ModuleType, index: int) -> Any:
    """NVML's handle of the GPU that CUDA calls `index`; NVML itself ignores CUDA_VISIBLE_DEVICES."""
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    name = visible[index] if index < len(visible) else str(index)
    if name.isdigit():
        return pynvml.nvmlDeviceGetHandleByIndex(int(name))
    return pynvml.nvmlDeviceGetHandleByUUID(name)


def used_by(processes: list[Any], pid: int) -> tuple[float | None, str | None]:
    """A process's share among those that NVML lists."""
    for process in processes:
        if process.pid == pid:
            if process.usedGpuMemory is None:
                return None, "NVML does not tell the memory of a process on this system"
            return float(process.usedGpuMemory) / MIB, None
    return None, "NVML does not list this process (in a container it may know it by another number)"


def _torch_on(device: str) -> Any:
    """PyTorch, if this process loaded it and uses CUDA with it; another backend must not load it for this."""
    torch = sys.modules.get("torch")
    if device == "cpu" or torch is None or not torch.cuda.is_available():
        return None
    return torch if torch.cuda.is_initialized() else None


def _index(device: str) -> int:
    return int(device.partition(":")[2] or 0)
