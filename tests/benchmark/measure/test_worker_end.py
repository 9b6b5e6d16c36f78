"""What the user sees when workers are killed: nothing of what their libraries held."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.measure.workers import Worker, WorkerSettings
from tests.conftest import REPOSITORY


class HoldsSemaphores:
    """As tqdm and torch.compile do."""

    def __init__(self) -> None:
        self.held: list[object] = []

    def hold(self) -> int:
        self.held.append(multiprocessing.get_context("spawn").Semaphore())
        return len(self.held)


def end_a_worker(log: Path, how: str) -> None:
    worker = Worker("holder", HoldsSemaphores, WorkerSettings(), log)
    assert worker.call("hold") == 1
    getattr(worker, how)()


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_worker_that_held_semaphores_ends_without_a_warning(how: str, tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from tests.benchmark.measure.test_worker_end import end_a_worker; "
        f"end_a_worker(Path({str(tmp_path / 'log')!r}), {how!r})"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
