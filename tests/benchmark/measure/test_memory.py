"""Memory of a process asked from inside it, held against arrays of a known size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from benchmark.measure import memory
from benchmark.measure.memory import (
    MIB,
    MemoryWatch,
    high_water_mib,
    nvml_used_mib,
    own_mib,
    peak_mib,
    reset_peak,
    resident_mib,
    used_by,
)

ROOT = Path(__file__).parents[3]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="how Linux counts")


def in_child(code: str) -> Any:
    """What the code prints as JSON in a fresh interpreter."""
    script = f"import json\nimport numpy as np\nfrom benchmark.measure.memory import *\n{code}"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_model_of_200_mib_and_a_peak_of_150_more_are_seen() -> None:
    told = in_child(
        "watch = MemoryWatch()\n"
        "watch.before()\n"
        "model = np.ones(200 * 2**20, np.uint8)\n"
        "watch.loaded()\n"
        "work = np.ones(150 * 2**20, np.uint8)\n"
        "del work\n"
        "print(watch.memory().model_dump_json())"
    )
    assert told["model_mib"] == pytest.approx(200, abs=10)
    assert told["peak_mib"] - told["before_mib"] == pytest.approx(350, abs=20)
    assert 10 < told["before_mib"] < 200
    assert (told["device_peak_mib"], told["device_used_mib"], told["reason"]) == (None, None, None)


def test_what_was_freed_before_loading_is_not_the_models() -> None:
    told = in_child(
        "passing = np.ones(200 * 2**20, np.uint8)\n"
        "del passing\n"
        "watch = MemoryWatch()\n"
        "watch.before()\n"
        "model = np.ones(30 * 2**20, np.uint8)\n"
        "watch.loaded()\n"
        "print(watch.memory().model_dump_json())"
    )
    assert told["model_mib"] == pytest.approx(30, abs=10)
    assert told["peak_mib"] > told["before_mib"] + 150  # it did have that much


@LINUX
def test_a_large_parent_does_not_lend_its_peak_to_a_small_worker() -> None:
    """Why `ru_maxrss` is not asked: it survives the exec that makes the worker."""
    code = (
        "import os, sys, resource\n"
        "if len(sys.argv) == 1:\n"
        "    big = np.ones(400 * 2**20, np.uint8)\n"
        "    os.execv(sys.executable, [sys.executable, '-c', INNER, 'again'])\n"
    )
    inner = (
        "import json, resource\n"
        "from benchmark.measure.memory import *\n"
        "print(json.dumps([peak_mib(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))"
    )
    ours, rusage = in_child(f"INNER = {inner!r}\n{code}")
    assert ours < 200
    assert rusage > 400


@LINUX
def test_the_peak_can_start_anew() -> None:
    before, done, after, later = in_child(
        "big = np.ones(300 * 2**20, np.uint8)\n"
        "del big\n"
        "before, done, after = peak_mib(), reset_peak(), peak_mib()\n"
        "big = np.ones(100 * 2**20, np.uint8)\n"
        "print(json.dumps([before, done, after, peak_mib()]))"
    )
    if not done:
        pytest.skip("this system does not let a process reset its peak")
    assert after < before - 250
    assert later == pytest.approx(after + 100, abs=15)


def test_the_kinds_of_memory_are_in_order() -> None:
    peak = peak_mib()
    assert 0 < own_mib() <= resident_mib() * 1.01
    assert peak is not None and peak >= 0.98 * resident_mib()
    assert resident_mib() == pytest.approx(psutil.Process().memory_info().rss / MIB, rel=0.05)


@pytest.mark.parametrize(
    ("status", "mib"),
    [
        ("Name:\tpython\nVmPeak:\t  900000 kB\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\n", 200.0),
        ("VmHWM:\t 1 kB\n", 1 / 1024),
        ("Name:\tpython\nVmRSS:\t  102400 kB\n", None),
        ("", None),
    ],
)
def test_the_high_water_mark_is_read(status: str, mib: float | None) -> None:
    assert high_water_mib(status) == mib


def test_a_system_that_tells_no_peak_gives_null_and_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "peak_mib", lambda: None)
    watch = MemoryWatch()
    watch.before()
    watch.loaded()
    told = watch.memory()
    assert (told.peak_mib, told.reason) == (None, "this system does not tell a process's peak")
    assert told.model_mib == pytest.approx(0, abs=20)


def test_a_watch_that_was_not_there_before_loading_has_no_share() -> None:
    watch = MemoryWatch()
    watch.loaded()
    told = watch.memory()
    assert (told.before_mib, told.model_mib) == (None, None)
    assert told.reason == "the memory before loading was not taken"
    assert told.peak_mib is not None


def test_where_the_peak_cannot_be_reset_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "CLEAR_REFS", tmp_path / "no such folder" / "clear_refs")
    assert reset_peak() is False
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert reset_peak() is False


class FakeCuda:
    """PyTorch's allocator on GPU 1."""

    def __init__(self, used: bool = True) -> None:
        self.used, self.reset = used, []

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return self.used

    def reset_peak_memory_stats(self, index: int) -> None:
        self.reset.append(index)

    def max_memory_allocated(self, index: int) -> int:
        return {1: 512 * MIB}[index]


class FakeNvml:
    NVMLError = type("NVMLError", (Exception,), {})

    def __init__(self, *processes: tuple[int, int | None], fails: str = "") -> None:
        self.processes, self.fails, self.asked = processes, fails, []

    def nvmlInit(self) -> None:  # noqa: N802
        if self.fails == "init":
            raise self.NVMLError("Driver Not Loaded")

    def nvmlShutdown(self) -> None: ...  # noqa: N802
    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        self.asked.append(index)
        return "handle"

    def nvmlDeviceGetHandleByUUID(self, name: str) -> str:  # noqa: N802
        self.asked.append(name)
        return "handle"

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[SimpleNamespace]:  # noqa: N802
        if self.fails == "processes":
            raise self.NVMLError("Not Supported")
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.processes]


def test_on_a_gpu_the_allocators_peak_and_nvmls_count_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml((1, 5 * MIB), (os.getpid(), 900 * MIB)))
    watch = MemoryWatch("cuda:1")
    watch.before()
    watch.loaded()
    told = watch.memory()
    assert (told.device_peak_mib, told.device_used_mib, told.reason) == (512, 900, None)
    assert cuda.reset == [1]


def test_a_backend_without_pytorch_has_nvmls_count_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=FakeCuda(used=False)))
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml((os.getpid(), 900 * MIB)))
    watch = MemoryWatch("cuda")
    watch.before()
    told = watch.memory()
    assert (told.device_peak_mib, told.device_used_mib) == (None, 900)
    assert told.reason == "the backend's allocator keeps no peak of device memory"


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (FakeNvml(fails="init"), "NVML does not start (Driver Not Loaded)"),
        (FakeNvml(fails="processes"), "NVML does not tell the processes of GPU 0 (Not Supported)"),
        (FakeNvml((1, MIB)), "NVML does not list this process (in a container it may know it by another number)"),
        (FakeNvml((os.getpid(), None)), "NVML does not tell the memory of a process on this system"),
        (None, "NVML was not asked, because nvidia-ml-py is not installed; install sambench[gpu]"),
    ],
)
def test_what_nvml_does_not_tell_is_null_with_the_reason(
    module: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert nvml_used_mib(0) == (None, reason)


@pytest.mark.parametrize(
    ("visible", "index", "asked"),
    [("", 1, 1), ("3", 0, 3), ("3, 5", 1, 5), ("GPU-8f2e,GPU-11aa", 1, "GPU-11aa"), ("3", 2, 2)],
)
def test_nvml_is_asked_for_the_gpu_that_cuda_means(
    visible: str, index: int, asked: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NVML counts all GPUs of the machine, CUDA those that it may see."""
    nvml = FakeNvml((7, MIB))
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert nvml_used_mib(index, pid=7) == (1.0, None)
    assert nvml.asked == [asked]


def test_each_process_gets_its_own_share() -> None:
    processes = [SimpleNamespace(pid=1, usedGpuMemory=MIB), SimpleNamespace(pid=2, usedGpuMemory=3 * MIB)]
    assert used_by(processes, 2) == (3.0, None)
    assert used_by([], 2)[0] is None
