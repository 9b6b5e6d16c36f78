"""Comparisons with the dummy in the place of a model: on a clock of their own, and in real worker processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.calibration.calls import CallRecipe, CallServer
from benchmark.calibration.experiment import SAME, Plan, Trial, experiment, name, sitting
from exporters.manifest import TensorSpec
from runners.base import ModuleSource, RunnerError, Signature
from tests.benchmark.measure.local import SentWorker
from tests.clock import Clock

VALUE = TensorSpec(name="x", dims=(1,))
SOURCE = ModuleSource("dummy", Signature.of([VALUE], [TensorSpec(name="y", dims=(1,))]))


def dummy(**options: Any) -> CallRecipe:
    return CallRecipe("dummy", SOURCE, {"x": np.zeros(1, np.float32)}, options={"delay_ms": 2.0, **options})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time that only calls and pauses take, with workers that are no processes."""
    made = Clock(step=1e-6)
    monkeypatch.setattr("benchmark.calibration.experiment.Worker", SentWorker)
    parts = ("benchmark.calibration.experiment", "benchmark.calibration.calls")
    for part in (*parts, "runners.base", "runners.dummy", "runners.slowed"):
        monkeypatch.setattr(f"{part}.time", made)
    return made


def test_every_share_is_compared_beside_one_baseline_until_it_is_settled(clock: Clock, tmp_path: Path) -> None:
    told = sitting(dummy(), (SAME, 0.05, 1.0), Plan(budget_s=20, block_ms=8, pause_s=0), tmp_path)
    assert [trial.planted for trial in told] == [SAME, 0.05, 1.0]
    assert [trial.speedup.verdict for trial in told] == ["equivalent", "slower", "slower"]
    assert [trial.found for trial in told] == [False, True, True] and not any(trial.false for trial in told)
    assert [trial.speedup.ratio for trial in told] == pytest.approx([1.0, 1 / 1.05, 0.5], rel=0.005)
    # A turn is four calls of 2 ms, and there is one of the baseline beside each.
    assert all(trial.speedup.pairs >= 16 for trial in told)
    shares = [trial.speedup.pairs * 8e-3 * (2 + trial.planted) for trial in told]
    assert [trial.seconds for trial in told] == pytest.approx(shares, rel=0.02)


def test_no_further_turn_begins_once_the_budget_is_spent(clock: Clock, tmp_path: Path) -> None:
    """A pair takes 2 + 4 ms and two pauses of 2 ms."""
    (told,) = sitting(dummy(), (1.0,), Plan(budget_s=0.045, block_ms=2, pause_s=0.002), tmp_path)
    assert told.speedup.pairs == 5 and told.seconds == pytest.approx(0.05, rel=0.02)
    (nothing,) = sitting(dummy(), (1.0,), Plan(budget_s=0), tmp_path)
    assert (nothing.speedup.pairs, nothing.seconds, nothing.found) == (0, 0.0, False)


def test_every_side_is_a_process_of_its_own(tmp_path: Path) -> None:
    """What they take there depends on the machine; one round of it is made by any."""
    told = sitting(dummy(), (SAME, 1.0), Plan(budget_s=1e-6, block_ms=0, pause_s=0), tmp_path)
    assert [(trial.planted, trial.speedup.pairs, trial.seconds > 0) for trial in told] == [(0, 1, True), (1, 1, True)]
    assert {path.name for path in tmp_path.iterdir()} == {"baseline.log", "same.log", "+1.log"}


def test_each_run_is_told_and_has_an_order_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    told: list[int] = []

    def sit(recipe: CallRecipe, planted: Any, plan: Plan, logs: Path) -> list[Trial]:
        seeds.append(plan.seed)
        return []

    monkeypatch.setattr("benchmark.calibration.experiment.sitting", sit)
    experiment(dummy(), (SAME,), 3, Plan(1, seed=5), tmp_path, lambda trials: told.append(len(trials)))
    assert seeds == [5, 6, 7] and told == [0, 0, 0]


def test_a_server_must_be_loaded_and_refuses_what_the_backend_does_not_know(clock: Clock) -> None:
    server = CallServer(dummy())
    with pytest.raises(ValueError, match="load the runner"):
        server.turn(1)
    assert server.load() == 6, "the first call and five that are alike"
    assert len(server.turn(3)) == 3
    with pytest.raises(RunnerError):
        CallServer(dummy(colour="red")).load()


def test_lanes_have_names_that_files_can_have() -> None:
    assert [name(share) for share in (SAME, 0.05, 0.125)] == ["same", "+0.05", "+0.125"]
