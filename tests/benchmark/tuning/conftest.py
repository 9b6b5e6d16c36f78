"""A whole tuning in seconds: a SAM of a few operators, and a dummy whose delays are planted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmark.sections import MeasureSpec
from benchmark.tuning import job
from benchmark.tuning.job import Tuning
from benchmark.tuning.schema import TuneResult
from benchmark.tuning.settings import TuneSettings
from benchmark.tuning.stable import Stable
from tests.benchmark.conftest import MakeTask
from tests.benchmark.fake_sam import FakeSam
from tests.benchmark.labelling.conftest import Silent, boxes, greys
from tests.benchmark.measure.local import SentWorker

Tune = Callable[..., TuneResult]

PLANTED: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "dummy": {"computes": (True,), "delay_ms": (25.0,), "fails": ("raise",)}
}
"""Without `computes` the dummy's masks are empty. A unit has two calls, so one with the delay takes 50 ms."""


@pytest.fixture
def task(make_task: MakeTask) -> Path:
    return make_task(image=greys(), label=boxes(), cases=("case_1", "case_2"))


@pytest.fixture
def tuned_sam(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeSam:
    """In the place of every model that is tuned, with a cache of its own and workers that are no processes."""
    fake = FakeSam()
    monkeypatch.setenv("SAMBENCH_CACHE", str(tmp_path / "cache"))
    for part in ("workload", "exports"):
        monkeypatch.setattr(f"benchmark.tuning.{part}.load_sam", lambda name, checkpoint, seed: fake)
    for part in ("stable", "exports"):
        monkeypatch.setattr(f"benchmark.tuning.{part}.Worker", SentWorker)
    monkeypatch.setattr("benchmark.tuning.job.business", lambda: None)
    monkeypatch.setattr("benchmark.tuning.screen.WARM_UP_S", 0.0)
    monkeypatch.setattr("benchmark.tuning.screen.PASSES_S", 0.0)
    monkeypatch.setattr("benchmark.measure.memory.gc", SimpleNamespace(collect=lambda: 0))
    return fake


class Clock:
    """Counts work instead of time, so that a busy machine changes nothing; an earlier call's counts, too."""

    def __init__(self) -> None:
        self.now = 0.0

    @contextmanager
    def stopwatch(self, run_dir: Path, content: str) -> Iterator[Callable[[], float]]:
        yield lambda: self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A candidate that is tried takes 0.1 s, and a turn 20 ms."""
    made = Clock()
    screen, turn = job.screen, Stable.turn

    def screened(*given: Any) -> Any:
        made.now += 0.1
        return screen(*given)

    def turned(*given: Any, **more: Any) -> float:
        made.now += 0.02
        return turn(*given, **more)

    monkeypatch.setattr(job, "stopwatch", made.stopwatch)
    monkeypatch.setattr(job, "screen", screened)
    monkeypatch.setattr(Stable, "turn", turned)
    return made


@pytest.fixture
def tune(task: Path, tuned_sam: FakeSam, clock: Clock, tmp_path: Path) -> Tune:
    def run(out: Path | None = None, options: Any = PLANTED, **changes: Any) -> TuneResult:
        given: dict[str, Any] = {
            "data": task, "budget_s": 8.0, "backends": ("pytorch", "dummy"), "precisions": ("fp32",), "threads": (1,),
            "slices": 2, **changes,
        }  # fmt: skip
        measure = MeasureSpec(warmup_limit_s=0, pause_ms=0, block_ms=0)
        return Tuning(
            TuneSettings(**given), out or tmp_path / "tuned", Silent(), "sambench tune", options, measure
        ).execute()

    return run
