"""A whole tuning in seconds: a SAM of a few operators, and a dummy whose delays are planted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmark.sections import MeasureSpec
from benchmark.tuning.job import Tuning
from benchmark.tuning.schema import TuneResult
from benchmark.tuning.settings import TuneSettings
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
    monkeypatch.setattr("benchmark.tuning.workload.load_sam", lambda name, checkpoint, seed: fake)
    monkeypatch.setattr("benchmark.tuning.stable.Worker", SentWorker)
    monkeypatch.setattr("benchmark.tuning.job.business", lambda: None)
    monkeypatch.setattr("benchmark.tuning.screen.WARM_UP_S", 0.0)
    monkeypatch.setattr("benchmark.tuning.screen.PASSES_S", 0.0)
    monkeypatch.setattr("benchmark.measure.memory.gc", SimpleNamespace(collect=lambda: 0))
    return fake


@pytest.fixture
def tune(task: Path, tuned_sam: FakeSam, tmp_path: Path) -> Tune:
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
