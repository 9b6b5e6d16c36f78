"""Comparisons in real worker processes, with the dummy in the place of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.calibration.calls import CallRecipe, CallServer
from benchmark.calibration.experiment import SAME, Plan, Trial, experiment, name, sitting
from exporters.manifest import TensorSpec
from runners.base import ModuleSource, RunnerError, Signature

VALUE = TensorSpec(name="x", dims=(1,))
SOURCE = ModuleSource("dummy", Signature.of([VALUE], [TensorSpec(name="y", dims=(1,))]))


def dummy(**options: Any) -> CallRecipe:
    return CallRecipe("dummy", SOURCE, {"x": np.zeros(1, np.float32)}, options={"delay_ms": 2.0, **options})


def test_every_share_is_compared_beside_one_baseline_until_it_is_settled_or_its_budget_is_spent(
    tmp_path: Path,
) -> None:
    """Twice the work is told by any machine; a budget of nothing allows no turn."""
    told = sitting(dummy(), (SAME, 1.0), Plan(budget_s=20, block_ms=8, pause_s=0), tmp_path)
    assert [trial.planted for trial in told] == [SAME, 1.0]
    assert told[1].found and told[1].speedup.ratio is not None and told[1].speedup.ratio < 1
    assert all(trial.seconds > 0 and trial.speedup.pairs >= 16 for trial in told)
    (nothing,) = sitting(dummy(), (1.0,), Plan(budget_s=0), tmp_path)
    assert (nothing.speedup.pairs, nothing.seconds, nothing.found) == (0, 0.0, False)
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


def test_a_server_must_be_loaded_and_refuses_what_the_backend_does_not_know() -> None:
    server = CallServer(dummy())
    with pytest.raises(ValueError, match="load the runner"):
        server.turn(1)
    assert 6 <= server.load() <= 30
    assert len(server.turn(3)) == 3
    with pytest.raises(RunnerError):
        CallServer(dummy(colour="red")).load()


def test_lanes_have_names_that_files_can_have() -> None:
    assert [name(share) for share in (SAME, 0.05, 0.125)] == ["same", "+0.05", "+0.125"]
