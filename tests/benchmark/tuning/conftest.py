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
from tests.clock import Clock

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
    # This process is as large as all tests before it made it, and others may need the memory of this machine.
    monkeypatch.setattr("benchmark.measure.memory.peak_mib", lambda: 500.0)
    monkeypatch.setattr("benchmark.tuning.stable.free_mib", lambda: 1e6)
    return fake


TIMED = (
    "benchmark.lanes", "benchmark.measure.lane_server", "benchmark.stages.base", "benchmark.tuning.screen",
    "benchmark.tuning.stable", "runners.base", "runners.dummy",
)  # fmt: skip
"""Whatever looks at a clock while a candidate runs."""


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What candidates take: the dummy its delay, and everything a tenth of a millisecond for each look at the clock.

    So real backends are as fast as one another, and the same wherever they run.
    """
    clock = Clock(step=1e-4)
    for part in TIMED:
        monkeypatch.setattr(f"{part}.time", clock)
    return clock


class Spent:
    """Counts work instead of time, so that a busy machine changes nothing; an earlier call's counts, too."""

    def __init__(self) -> None:
        self.now = 0.0

    @contextmanager
    def stopwatch(self, run_dir: Path, content: str) -> Iterator[Callable[[], float]]:
        yield lambda: self.now


@pytest.fixture
def spent(monkeypatch: pytest.MonkeyPatch) -> Spent:
    """Of the budget: a candidate that is tried takes 0.1 s, and a turn 20 ms."""
    made = Spent()
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
def tune(task: Path, tuned_sam: FakeSam, passing: Clock, spent: Spent, tmp_path: Path) -> Tune:
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
