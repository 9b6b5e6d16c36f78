"""What a worker process owes its parent: an answer, or the reason why there is none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from benchmark.measure import workers
from benchmark.measure.worker import sentence
from benchmark.measure.workers import Worker, WorkerError, WorkerSettings, death, stopping
from tests.benchmark.measure.served import Echo, broken

StartWorker = Callable[..., Worker]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartWorker]:
    started: list[Worker] = []

    def make(made: Callable[[], Any] = Echo, settings: WorkerSettings | None = None) -> Worker:
        log = tmp_path / "logs" / f"{len(started)}.log"
        started.append(Worker("test", made, settings or WorkerSettings(), log))
        return started[-1]

    yield make
    for worker in started:
        worker.kill()


def test_a_call_is_answered_by_another_process(start: StartWorker) -> None:
    worker = start()
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(worker.call("same", array), array)
    assert worker.call("pid") == worker.pid != os.getpid()


def test_a_worker_is_a_process_of_its_own_without_the_parents_libraries(start: StartWorker) -> None:
    """A fork would carry the parent's PyTorch, its threads and its memory along."""
    import torch  # noqa: F401 - in the parent it is there

    assert "torch" not in start().call("modules")


def test_variables_and_processors_are_the_workers_own(start: StartWorker) -> None:
    last = max(os.sched_getaffinity(0))
    before = dict(os.environ)
    worker = start(settings=WorkerSettings({"SAMBENCH_TEST": "7", "OMP_NUM_THREADS": "1"}, (last,)))
    assert dict(os.environ) == before
    assert (worker.call("variable", "SAMBENCH_TEST"), worker.call("variable", "OMP_NUM_THREADS")) == ("7", "1")
    assert worker.call("affinity") == [last]
    assert max(os.sched_getaffinity(0)) == last and start().call("variable", "SAMBENCH_TEST") is None


def test_an_error_is_told_and_the_worker_goes_on(start: StartWorker) -> None:
    worker = start()
    with pytest.raises(WorkerError, match=r"^ValueError: no such organ$"):
        worker.call("fail", "no such\norgan")
    assert worker.call("same", 1) == 1


@pytest.mark.parametrize(
    ("method", "argument", "reason"),
    [
        ("die", signal.SIGKILL, r"was killed \(SIGKILL\), as the system does when memory runs out; .*about to go"),
        ("die", signal.SIGSEGV, r"crashed \(SIGSEGV\); its last words: .*"),
        ("leave", 3, r"ended with exit code 3"),
    ],
)
def test_a_dead_worker_is_noticed_at_once_and_told_with_its_reason(
    method: str, argument: int, reason: str, start: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "STOP_S", 300.0)  # a system that is short of time may take a while to end it
    worker = start()
    with pytest.raises(WorkerError, match=rf"^the worker {reason}"):
        worker.call(method, int(argument), limit_s=300)  # the sleep after `die` takes longer
    assert not worker.alive
    with pytest.raises(WorkerError, match=r"^the worker "):
        worker.call("same", 1)


def test_a_silent_worker_is_killed_at_the_limit(start: StartWorker) -> None:
    worker = start()
    worker.call("same", 0)
    with pytest.raises(WorkerError, match=r"^no answer within 0\.2 s; the worker was killed$"):
        worker.call("sleep", 60, limit_s=0.2)
    assert not worker.alive


def test_running_out_of_memory_has_words(start: StartWorker) -> None:
    with pytest.raises(WorkerError, match=r"^MemoryError: the worker ran out of memory$"):
        start().call("forget")


def test_an_object_that_cannot_be_made_is_the_workers_end(start: StartWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "STOP_S", 300.0)
    with pytest.raises(WorkerError, match=r"ended with exit code 1; its last words: RuntimeError: cannot be made"):
        start(broken).call("same", 1)


def test_what_libraries_print_goes_to_the_log(start: StartWorker, tmp_path: Path, capfd: Any) -> None:
    start().call("say", "a warning of some library")
    assert (tmp_path / "logs" / "0.log").read_text(encoding="utf-8").strip() == "a warning of some library"
    assert capfd.readouterr() == ("", "")


def test_the_parent_sleeps_while_it_waits(start: StartWorker) -> None:
    """It would take a core from what is measured. CPU time, not wall time: another process cannot disturb this.

    This process has other threads, of libraries and of the test run: the least of a few waits is the wait's own.
    """
    worker = start()
    worker.call("same", 0)
    least = spent = 1.0
    for _ in range(5):
        before, process = worker.waited_cpu_s, time.process_time()
        worker.call("sleep", 0.5)
        least, spent = min(least, time.process_time() - process), min(spent, worker.waited_cpu_s - before)
        if max(least, spent) < 0.02:
            break
    assert least < 0.02 and spent < 0.02


def test_ctrl_c_is_for_the_parent_to_decide(start: StartWorker) -> None:
    handler = signal.getsignal(signal.SIGINT)
    worker = start()
    assert worker.call("ignores_interrupts")
    assert signal.getsignal(signal.SIGINT) is handler


def test_leaving_stops_the_workers_and_an_error_kills_them(start: StartWorker) -> None:
    calm, slow = start(), start()
    calm.call("same", 0)
    with stopping([calm]):
        pass
    assert not calm.alive
    with pytest.raises(KeyboardInterrupt), stopping([slow]):
        raise KeyboardInterrupt
    assert not slow.alive


def test_a_worker_does_not_outlive_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from benchmark.measure.workers import Worker, WorkerSettings\n"
        "from tests.benchmark.measure.served import Echo\n"
        "if __name__ == '__main__':\n"
        "    worker = Worker('test', Echo, WorkerSettings(), Path(sys.argv[1]))\n"
        "    print(worker.call('pid'), flush=True)\n"
        "    time.sleep(600)\n"
    )
    file = tmp_path / "parent.py"
    file.write_text(script, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(
        [sys.executable, str(file), str(tmp_path / "log")], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()
    for _ in range(6000):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)
    pytest.fail("the worker is still there after 5 minutes")


def test_deaths_and_errors_have_words() -> None:
    assert death(None) == "closed its connection and hangs"
    assert death(-6) == "crashed (SIGABRT)"
    assert death(-250) == "crashed (signal 250)"
    assert sentence(KeyError("x")) == "KeyError: 'x'"
    assert sentence(RuntimeError()) == "RuntimeError"
    assert len(sentence(RuntimeError("x" * 10_000))) < 350


def test_of_an_error_what_matters_is_kept_and_not_what_stands_before_it() -> None:
    """As ONNX Runtime raised it; a cut at 300 characters of all of it would end before the shapes."""
    reshape = (
        "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Reshape node. Name:'' Status "
        "Message: /onnxruntime_src/onnxruntime/core/providers/cpu/tensor/reshape_helper.h:91 onnxruntime::"
        "ReshapeHelper::ReshapeHelper(const onnxruntime::TensorShape&, onnxruntime::TensorShapeVector&, bool) "
        "input_shape_size == requested_shape_size was false. The input tensor cannot be reshaped to the requested "
        "shape. Input shape:{2}, requested shape:{3}\n"
    )
    told = sentence(RuntimeError(reshape))
    assert told.startswith("RuntimeError: Non-zero status code") and told.endswith("{2}, requested shape:{3}")
    assert "onnxruntime_src" not in told
    assert sentence(RuntimeError("[ONNXRuntimeError] : 1 :\nNo kernel for Gelu")) == "RuntimeError: No kernel for Gelu"
    deep = f"/{'folder/' * 50}encoder.onnx: cannot be loaded (an operator is not known)"
    assert sentence(RuntimeError(deep)) == f"RuntimeError: {deep}"
