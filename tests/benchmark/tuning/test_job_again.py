"""What the next call of a tuning does with what failed in an earlier one, and what it says of what cannot run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import InputError
from benchmark.tuning import job
from benchmark.tuning.records import HeatRecord, Left
from tests.benchmark.tuning.conftest import Spent, Tune

RIGHT = "dummy, computes true"


def test_a_crash_is_tried_again_by_the_next_call_and_wrong_answers_are_not(
    tune: Tune, spent: Spent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cause is mended between the calls, as by installing a package."""
    from runners.dummy import DummyRunner

    def broken(self: Any, inputs: Any) -> Any:
        raise RuntimeError("no kernel for it")

    options: dict[str, Any] = {"dummy": {"computes": (True,)}}
    with monkeypatch.context() as patched:
        patched.setattr(DummyRunner, "_run", broken)
        result = tune(options=options, budget_s=6.0)
    told = "dummy as it is by default failed (RuntimeError: no kernel for it), so the winner was not raced against it"
    assert result.of(RIGHT).fate == "failed" and result.notes[0] == told
    tried: list[str] = []
    screen = job.screen

    def counting(candidate: Any, *rest: Any) -> Any:
        tried.append(candidate.name)
        return screen(candidate, *rest)

    monkeypatch.setattr(job, "screen", counting)
    spent.now = 100.0
    again = tune(options=options, budget_s=6.0)
    assert tried == ["dummy"], "the first call spent the budget, and a backend's default is tried all the same"
    assert again.of("dummy").fate == "gate" and again.of(RIGHT).fate == "failed", "of the others the reason stands"
    spent.now = 0.0
    mended = tune(options=options, budget_s=6.0)
    assert RIGHT in tried and "pytorch" not in tried and mended.of(RIGHT).fate != "failed"
    assert mended.of("dummy").fate == "gate" and "did not hold the gate" in mended.notes[0]
    tried.clear()
    tune(options=options, budget_s=6.0)
    assert tried == [], "nobody failed, and a gate is not tried again"


def test_a_race_in_which_somebody_failed_is_run_anew_by_the_next_call(tune: Tune, spent: Spent, tmp_path: Path) -> None:
    options: dict[str, Any] = {"dummy": {"computes": (True,)}}
    tune(options=options, budget_s=6.0)
    (path,) = (tmp_path / "tuned" / "records").glob("*/heat-1.json")
    heat = HeatRecord.model_validate_json(path.read_text())
    victim = heat.entrants[-1]
    failed = Left(name=victim, reason="failed in round 2: crashed", failed=True)
    gone = heat.model_copy(update={"left": [failed], "times": {name: times[:1] for name, times in heat.times.items()}})
    path.write_text(gone.model_dump_json())
    spent.now = 100.0
    assert tune(options=options, budget_s=6.0).of(victim).fate != "winner", "no time, so it stays as it was"
    spent.now = 0.0
    assert victim in HeatRecord.model_validate_json(path.read_text()).entrants
    tune(options=options, budget_s=6.0)
    assert not any(left.failed for left in HeatRecord.model_validate_json(path.read_text()).left)


def test_records_of_other_exporters_say_nothing(tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tune(budget_s=0.001)
    monkeypatch.setattr("benchmark.tuning.workload.exporter_digest", lambda: "another")
    tune(budget_s=0.001)
    assert len(list((tmp_path / "tuned" / "records").iterdir())) == 2


def test_nothing_that_was_asked_for_can_run(tune: Tune, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"^--backends: nothing that was asked for can run here: tensorrt, tensorrt fp16: "
    ):
        tune(backends=("tensorrt",), precisions=None)
    assert not (tmp_path / "tuned").exists()


def test_what_was_asked_for_and_cannot_run_is_in_every_file(tune: Tune, tmp_path: Path) -> None:
    result = tune(budget_s=0.001, backends=("pytorch", "tensorrt"))
    told = result.of("tensorrt (all)")
    assert told.fate == "unavailable" and "not applicable to device cpu" in told.reason
    assert "| tensorrt (all) | unavailable |" in (tmp_path / "tuned" / "tune.md").read_text()
