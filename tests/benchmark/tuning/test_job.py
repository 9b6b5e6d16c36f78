"""A tuning from folder to files, on planted delays: wrong ones are dropped, slow ones do not win, nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import InputError
from benchmark.results import LaneKey
from benchmark.spec import load_spec
from benchmark.tuning import job, menu
from benchmark.tuning.heats import BUDGET_SPENT
from benchmark.tuning.race import Choice
from benchmark.tuning.records import HeatRecord
from benchmark.tuning.schema import load_tune
from runners.base import RunnerError
from tests.benchmark.fake_sam import FakeSam
from tests.benchmark.tuning.conftest import Spent, Tune

SLOW = "dummy, computes true, delay_ms 25.0"
RIGHT = "dummy, computes true"


def test_wrong_ones_are_dropped_with_numbers_and_slow_ones_do_not_win(tune: Tune, tmp_path: Path) -> None:
    result = tune(budget_s=6.0)
    fates = {one.name: one.fate for one in result.candidates}
    assert fates["dummy"] == fates["dummy, delay_ms 25.0"] == "gate", "empty masks"
    assert "Dice 0.0000 is below 99.9%" in result.of("dummy").reason
    assert fates["dummy, fails raise"] == fates[f"{RIGHT}, fails raise"] == "failed"
    assert "the dummy fails at call 1" in result.of("dummy, fails raise").reason
    assert fates[SLOW] in ("slower", "forced out", "not raced")
    assert fates[result.winner] == "winner" and result.winner in ("pytorch", RIGHT, "pytorch, threads 1")
    assert all(one.reason for one in result.candidates)
    assert result.of(RIGHT).dice["box"] == pytest.approx(result.of("pytorch").dice["box"])
    assert load_tune(tmp_path / "tuned" / "tune.json") == result


def test_the_plainly_slower_one_leaves_in_pairs_and_its_times_are_kept(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(menu, "BATCHES", ())  # so few that all are in the first race
    options = {"dummy": {"computes": (True,), "delay_ms": (25.0,)}}
    result = tune(options=options, budget_s=12.0)
    slow = result.of(SLOW)
    assert slow.fate == "slower" and slow.reason.startswith("surely slower: ")
    assert len(slow.race_ms) >= 6 and min(slow.race_ms) >= 50


def test_a_batch_that_nobody_has_work_for_is_not_tried(tune: Tune) -> None:
    names = [one.name for one in tune(budget_s=0.001).candidates]
    assert "pytorch, batch 1" in names and "dummy, batch 1" in names
    assert not any(f"batch {size}" in name for name in names for size in (2, 4, 8)), "a slice has two prompts at most"


def test_a_budget_too_small_for_anything_ends_with_the_reference_and_says_so(tune: Tune, tmp_path: Path) -> None:
    result = tune(budget_s=0.001)
    assert result.winner == "pytorch" and result.versus == []
    assert {one.fate for one in result.candidates} == {"winner", "not tried"}
    assert any("not tried, because the budget ended" in note for note in result.notes)
    assert load_spec(tmp_path / "tuned" / "winner.yaml").backends == ("pytorch",)


def test_the_winners_specification_runs_it_beside_the_reference(
    tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted winner, so that the times of this machine do not matter."""
    monkeypatch.setattr(job, "choose", lambda order, *rest: Choice(RIGHT, "it was planted"))
    monkeypatch.setattr(job, "overtaken_by", lambda times, winner, others: None)
    result = tune(options={"dummy": {"computes": (True,)}}, budget_s=6.0)
    assert result.winner == RIGHT
    spec = load_spec(tmp_path / "tuned" / "winner.yaml")
    assert spec.backends == ("pytorch", "dummy") and spec.precisions == ("fp32",)
    assert spec.lanes["dummy"].options == {"computes": True}
    assert spec.data.slices == 2 and spec.data.tasks == (result.task,)
    assert spec.sam is not None and (spec.sam.models, spec.sam.prompts) == (("litemedsam",), ("box",))
    told = next(one for one in result.versus if one.other == "pytorch")
    assert told.source == "final" and told.pairs == len(result.of(RIGHT).final_ms) > 0


def test_a_second_call_measures_nothing_again(tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tune(options={"dummy": {"computes": (True,)}}, budget_s=6.0)

    def refuse(*_: Any) -> Any:
        raise AssertionError("screened again")

    monkeypatch.setattr(job, "screen", refuse)
    again = tune(options={"dummy": {"computes": (True,)}}, budget_s=6.0)
    for one in first.candidates:
        assert (again.of(one.name).unit_ms, again.of(one.name).race_ms) == (one.unit_ms, one.race_ms)
    assert again.winner == first.winner and again.versus == first.versus


def test_an_interrupted_tuning_keeps_what_it_tried_and_goes_on(tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    screen = job.screen

    def interrupted(candidate: Any, *rest: Any) -> Any:
        tried.append(candidate.name)
        if len(tried) == 3:
            raise KeyboardInterrupt
        return screen(candidate, *rest)

    monkeypatch.setattr(job, "screen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune()
    tune()
    assert tried[:3].count("pytorch") == 1 and tried.count("pytorch") == 1
    assert tried.count(tried[1]) == 1 and tried.count(tried[2]) == 2, "the one that was interrupted is tried again"


def test_an_interrupted_race_goes_on_with_its_rounds(
    tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmark.tuning.stable import Stable

    turns: list[str] = []
    turn = Stable.turn

    def interrupted(self: Stable, name: str, *rest: Any, **more: Any) -> float:
        turns.append(name)
        if len(turns) == 9:
            raise KeyboardInterrupt
        return turn(self, name, *rest, **more)

    options = {"dummy": {"computes": (True,)}}
    monkeypatch.setattr(Stable, "turn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune(options=options, budget_s=6.0)
    (path,) = (tmp_path / "tuned" / "records").glob("*/heat-1.json")
    kept = HeatRecord.model_validate_json(path.read_text())
    assert kept.ended is None and kept.rounds > 0
    result = tune(options=options, budget_s=6.0)
    later = HeatRecord.model_validate_json(path.read_text())
    assert later.ended is not None and later.rounds > kept.rounds and result.winner
    for name, times in kept.times.items():
        assert later.times[name][: len(times)] == times


def test_a_race_that_the_budget_ended_goes_on_with_a_larger_one(
    tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"dummy": {"computes": (True,), "delay_ms": (25.0,)}}
    tune(options=options, budget_s=6.0)
    (path,) = (tmp_path / "tuned" / "records").glob("*/heat-1.json")
    heat = HeatRecord.model_validate_json(path.read_text())
    cut = heat.model_copy(
        update={"times": {name: times[:2] for name, times in heat.times.items()}, "left": [], "ended": BUDGET_SPENT}
    )
    path.write_text(cut.model_dump_json())
    result = tune(options=options, budget_s=12.0)
    assert len(result.of(result.winner).race_ms) > 2


def test_a_reduced_precision_that_loses_dice_is_refused(tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "REDUCED_EXPORT", 10.0)
    result = tune(backends=("onnxruntime",), options={}, budget_s=6.0, precisions=("fp32", "int8"))
    assert result.of("onnxruntime int8").fate == "gate", result.of("onnxruntime int8").reason
    assert "is below 99.9% of pytorch's" in result.of("onnxruntime int8").reason
    assert result.of("onnxruntime").dice == pytest.approx(result.of("pytorch").dice, abs=1e-3)


def test_a_reference_that_does_not_run_ends_it(tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    from runners.pytorch import PyTorchRunner

    def broken(self: Any, inputs: Any) -> Any:
        raise RuntimeError("no memory")

    monkeypatch.setattr(PyTorchRunner, "_run", broken)
    with pytest.raises(RunnerError, match=r"the reference, pytorch, does not run: RuntimeError: no memory"):
        tune()


def test_a_folder_of_other_settings_or_of_somebody_else_is_left_alone(tune: Tune, tmp_path: Path) -> None:
    tune(budget_s=0.001)
    with pytest.raises(InputError, match=r"holds a tuning of something else \(slices was 2 and is 1\)"):
        tune(budget_s=0.001, slices=1)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="not empty and no tuning"):
        tune(out=foreign)
    assert [path.name for path in foreign.iterdir()] == ["letter.txt"]
    with pytest.raises(InputError, match="is a file; name a folder"):
        tune(out=foreign / "letter.txt")


def test_another_budget_and_more_backends_go_on_in_the_same_folder(tune: Tune, tmp_path: Path) -> None:
    tune(budget_s=0.001)
    result = tune(backends=("pytorch",), budget_s=2.0)
    assert result.of("pytorch").fate in ("winner", "equal", "open", "slower")
    settings = json.loads((tmp_path / "tuned" / "settings.json").read_text())
    assert not {"budget_s", "backends", "threads"} & set(settings)


def test_lanes_that_cannot_run_here_are_listed(tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(menu, "absences", lambda lanes, device: {str(LaneKey("dummy")): "no dummy here"})
    result = tune(budget_s=0.001)
    assert [(one.name, one.fate, one.reason) for one in result.candidates if one.backend == "dummy"] == [
        ("dummy (all)", "unavailable", "no dummy here")
    ]


def test_what_has_no_room_is_told_and_not_started(tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the machine had one MiB: the reference is tried all the same, and nobody races beside it."""
    monkeypatch.setattr("benchmark.tuning.stable.free_mib", lambda: 1.0)
    result = tune(budget_s=6.0)
    assert result.winner == "pytorch"
    told = result.of("pytorch, batch 1")
    assert told.fate == "failed" and told.reason.startswith("not started: its lane need")
    assert result.of("dummy").fate == "gate"


def test_who_took_too_long_is_tried_again_where_there_is_more_time(
    tune: Tune, spent: Spent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"dummy": {"computes": (True,)}}
    tune(options=options, budget_s=6.0)
    path = next(
        path
        for path in (tmp_path / "tuned" / "records").glob("*/screening/*.json")
        if json.loads(path.read_text())["name"] == RIGHT
    )
    slow = {"name": RIGHT, "dropped": "failed", "reason": "no answer within 60 s; killed", "limit_s": 60.0}
    path.write_text(json.dumps(slow))
    spent.now = 0
    assert tune(options=options, budget_s=6.0).of(RIGHT).fate == "failed", "a call may still take 60 s"
    monkeypatch.setattr(job, "LEAST_LIMIT_S", 61.0)  # as a larger budget would
    assert tune(options=options, budget_s=6.0).of(RIGHT).fate != "failed"


def test_a_winner_that_fails_in_the_final_is_not_deployed(tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.measure.workers import WorkerError
    from benchmark.tuning.heats import Racing

    monkeypatch.setattr(job, "choose", lambda order, *rest: Choice(RIGHT, "it was planted"))
    final = Racing.final

    def failing(self: Racing, winner: str) -> HeatRecord:
        turn = self.stable.turn

        def refused(name: str, *rest: Any, **more: Any) -> float:
            if name == winner:
                raise WorkerError("crashed (SIGSEGV)")
            return turn(name, *rest, **more)

        self.stable.turn = refused  # type: ignore[method-assign]
        return final(self, winner)

    monkeypatch.setattr(Racing, "final", failing)
    result = tune(options={"dummy": {"computes": (True,)}}, budget_s=6.0)
    assert result.winner == "pytorch" and result.why == f"{RIGHT}, which had won the race, failed in the final"
    assert result.of(RIGHT).fate == "failed" and "crashed (SIGSEGV)" in result.of(RIGHT).reason


def test_fewer_backends_in_the_same_folder_race_anew(tune: Tune) -> None:
    tune(options={"dummy": {"computes": (True,)}}, budget_s=4.0)
    result = tune(backends=("pytorch",), budget_s=9.0)
    assert {one.backend for one in result.candidates} == {"pytorch"}


def test_an_export_that_the_budget_has_no_time_for_is_not_begun(tune: Tune, tuned_sam: FakeSam) -> None:
    result = tune(backends=("onnxruntime",), options={}, budget_s=6.0, precisions=("fp32", "int8"))
    told = result.of("onnxruntime int8")
    assert told.fate == "failed" and "its export has no answer within 1 s" in told.reason
    assert tuned_sam.exported.count("int8") == 0 < tuned_sam.exported.count("fp32")


def test_an_export_that_fails_is_told_once_and_not_tried_again(
    tune: Tune, tuned_sam: FakeSam, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fails(self: FakeSam, out_dir: Path, precision: str = "fp32", samples: Any = ()) -> Any:
        asked.append(precision)
        raise RuntimeError("an operator has no export")

    monkeypatch.setattr(FakeSam, "export", fails)
    result = tune(backends=("onnxruntime",), options={}, budget_s=6.0)
    for name in ("onnxruntime", "onnxruntime, batch 1"):
        assert result.of(name).fate == "failed"
        assert "its export to fp32: RuntimeError: an operator has no export" in result.of(name).reason
    assert asked == ["fp32"] and result.winner == "pytorch"
