"""The smaller parts of a tuning: what the machine can do, how time and memory are shared, what is kept and told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.results import LaneKey
from benchmark.tuning import machine
from benchmark.tuning.budget import LEAST_FINAL, MOST_FINAL, Budget
from benchmark.tuning.candidates import Candidate
from benchmark.tuning.machine import absences
from benchmark.tuning.outcome import Measured, not_raced_against, results, versus
from benchmark.tuning.race import Choice
from benchmark.tuning.records import HeatRecord, Left, Screening, TuneStore
from benchmark.tuning.stable import fitting, too_large
from benchmark.tuning.words import counted
from runners.base import RunnerError
from runners.device import Device

# The machine.


def test_a_lane_is_absent_with_its_backends_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def imported(backend: str) -> Any:
        raise RunnerError(f"backend {backend}: the package is not installed")

    monkeypatch.setattr("benchmark.availability.import_backend", imported)
    assert absences([LaneKey("openvino")], Device("cpu")) == {
        "openvino": "backend openvino: the package is not installed"
    }


def test_bf16_alone_is_absent_where_only_the_instructions_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "bf16_missing", lambda device: f"no instructions on {device}")
    lanes = [LaneKey("pytorch"), LaneKey("pytorch", "bf16")]
    assert absences(lanes, Device("cpu")) == {"pytorch bf16": "no instructions on cpu"}


def test_a_precision_that_a_backend_does_not_run_on_a_device_is_absent_with_the_reason() -> None:
    found = absences([LaneKey("pytorch"), LaneKey("pytorch", "fp16"), LaneKey("pytorch", "int8")], Device("cpu"))
    assert found.keys() == {"pytorch fp16", "pytorch int8"}
    assert "not applicable, because the device is a CPU" in found["pytorch fp16"] and "int8" in found["pytorch int8"]


# Time and memory.


def test_the_final_keeps_what_an_interval_of_everybody_takes_within_bounds() -> None:
    budget = Budget(100.0, lambda: 10.0)
    assert budget.final_s == 100 * LEAST_FINAL and budget.left_s() == 90
    budget.keep_for_final(1.25)
    assert budget.final_s == 20 and budget.race_s() == 70 and budget.screening_s() == 30
    budget.keep_for_final(100.0)
    assert budget.final_s == 100 * MOST_FINAL
    budget.keep_for_final(0.01)
    assert budget.final_s == 100 * LEAST_FINAL


def test_processes_are_kept_by_rank_as_far_as_memory_and_number_allow() -> None:
    peaks = {"a": 400.0, "b": 900.0, "c": 300.0, "d": 300.0}
    assert fitting(["a", "b", "c", "d"], peaks, 1000, 8) == ["a", "c", "d"], "b is passed over"
    assert fitting(["a", "c", "d"], peaks, 1000, 2) == ["a", "c"]
    assert fitting(["x", "b"], peaks, 900, 8) == ["x", "b"], "of x nothing is known yet"


# Records.


def test_records_are_found_again_and_damaged_ones_are_measured_anew(tmp_path: Path) -> None:
    store = TuneStore(tmp_path, "0123456789abcdef")
    screening = Screening(name="onnxruntime, graph basic", unit_ms=12.5, dice={"box": 0.9})
    heat = HeatRecord(number=1, entrants=["a", "b"], times={"a": [1.0]}, left=[Left(name="b", reason="slow")])
    masks = {"box+point": {"case_1": np.ones((2, 3), np.uint8)}, "box": {"case_1": np.zeros((2, 3), np.uint8)}}
    assert (store.screening(screening.name), store.heat(1), store.masks()) == (None, None, None)
    store.save_screening(screening)
    store.save_heat(heat)
    store.save_masks(masks)
    assert store.screening(screening.name) == screening and store.heat(1) == heat
    found = store.masks()
    assert found is not None and found.keys() == masks.keys()
    assert np.array_equal(found["box+point"]["case_1"], masks["box+point"]["case_1"])
    assert TuneStore(tmp_path, "another content").screening(screening.name) is None
    for path in store.folder.rglob("*.*"):
        path.write_bytes(b"{")
    assert (store.screening(screening.name), store.heat(1), store.masks()) == (None, None, None)


# What comes of it.

A, B, C, D, E = (Candidate(backend=name) for name in "abcde")


def measured(**changes: Any) -> Measured:
    ms = {"a": 10.0, "b": 20.0, "c": 30.0}
    given: dict[str, Any] = {
        "candidates": [A, B, C],
        "screenings": {name: Screening(name=name, unit_ms=value) for name, value in ms.items()},
        "heats": [HeatRecord(number=1, entrants=["a", "b"], times={"a": [10.0] * 16, "b": [20.0] * 16}, ended="over")],
        "final": None,
        "choice": Choice("a", "it is the fastest"),
        "winner": "a",
        "why_not_tried": "the budget ended",
        "absent": {},
    }
    return Measured(**{**given, **changes})


def fates(found: Measured) -> dict[str, tuple[str, str]]:
    return {one.name: (one.fate, one.reason) for one in results(found, "prompts_per_call", 0.02)}


def test_every_candidate_has_a_fate() -> None:
    screenings = dict(measured().screenings)
    screenings["d"] = Screening(name="d", dropped="gate", reason="box: Dice 0.5 is below")
    found = fates(measured(candidates=[A, B, C, D, E], screenings=screenings, absent={"f bf16": "no instructions"}))
    assert found["a"] == ("winner", "it is the fastest")
    assert found["b"][0] == "slower" and "0.500×" in found["b"][1]
    assert found["c"] == ("not raced", "the budget ended before its race: 0.33× of the winner's speed when tried")
    assert found["d"] == ("gate", "box: Dice 0.5 is below")
    assert found["e"] == ("not tried", "the budget ended")
    assert found["f bf16 (all)"] == ("unavailable", "no instructions")


def test_equal_open_and_sent_away_are_different_fates() -> None:
    noisy = [8.5, 12.5] * 8
    times = {"a": [10.0] * 16, "b": [10.05] * 16, "c": noisy}
    heat = HeatRecord(number=1, entrants=["a", "b", "c"], times=times, ended="the budget is spent")
    found = fates(measured(heats=[heat]))
    assert (found["b"][0], found["c"][0]) == ("equal", "open")
    heat = heat.model_copy(update={"left": [Left(name="c", reason="no time", forced=True)]})
    assert fates(measured(heats=[heat]))["c"] == ("forced out", "no time")


def test_a_default_that_overtook_in_the_final_is_the_winner_and_the_one_before_is_told_as_slower() -> None:
    final = HeatRecord(number=0, entrants=["a", "b"], times={"a": [10.0] * 20, "b": [9.9] * 20})
    found = fates(measured(winner="b", final=final))
    assert found["b"] == ("winner", "in the final it was surely faster than a, which had won the race")
    assert found["a"][0] == "slower" and found["a"][1].startswith("surely slower in the final: 0.990×")


def test_the_final_counts_before_the_race_the_race_before_the_screening() -> None:
    final = HeatRecord(number=0, entrants=["a", "b"], times={"a": [10.0] * 20, "b": [30.0] * 20})
    told = {one.other: one for one in versus(measured(final=final), ["a", "b", "c"])}
    assert list(told) == ["b", "c"]
    assert (told["b"].source, told["b"].speedup, told["b"].pairs) == ("final", pytest.approx(3), 20)
    assert told["b"].ci95 == pytest.approx((3, 3))
    assert (told["c"].source, told["c"].speedup, told["c"].ci95) == ("screening", pytest.approx(3), None)
    assert told["c"].reason is not None
    assert fates(measured(final=final))["b"][1].startswith("surely slower in the final: 0.333×")
    (raced,) = versus(measured(), ["b"])
    assert (raced.source, raced.speedup, raced.pairs) == ("race", pytest.approx(2), 16)


def test_a_final_of_too_few_pairs_gives_way_to_a_race_with_enough() -> None:
    final = HeatRecord(number=0, entrants=["a", "b"], times={"a": [10.0] * 3, "b": [30.0] * 3})
    (told,) = versus(measured(final=final), ["b"])
    assert told.source == "race" and told.ci95 is not None


def test_who_failed_the_gate_is_held_against_nobody() -> None:
    screenings = {**measured().screenings, "b": Screening(name="b", unit_ms=1.0, dropped="gate", reason="wrong")}
    assert versus(measured(screenings=screenings), ["b"]) == []


def test_a_default_that_dropped_out_is_told_since_the_winner_was_not_held_against_it() -> None:
    plain = [Candidate(backend="onnxruntime"), Candidate(backend="openvino"), Candidate(backend="tensorrt")]
    changed = Candidate(backend="onnxruntime", threads=1)
    screenings = {
        **measured().screenings,
        "onnxruntime": Screening(name="onnxruntime", dropped="failed", reason="RuntimeError: no kernel."),
        "openvino": Screening(name="openvino", unit_ms=1.0, dropped="gate", reason="box: Dice 0.5 is below"),
        changed.name: Screening(name=changed.name, dropped="failed", reason="a crash that is told in the table alone"),
        "tensorrt": Screening(name="tensorrt", unit_ms=40.0),
    }
    every = results(measured(candidates=[A, *plain, changed], screenings=screenings), "prompts_per_call", 0.02)
    names = [one.name for one in plain]
    assert not_raced_against(every, names, []) == [
        "ONNX Runtime as it is by default failed (RuntimeError: no kernel), so the winner was not raced against it",
        "OpenVINO as it is by default did not hold the gate (box: Dice 0.5 is below), so the winner was not raced "
        "against it",
    ]
    assert not_raced_against(every, names, ["onnxruntime", "openvino"]) == [], "pairs of both are there"


@pytest.mark.parametrize(
    ("dropped", "limit_s", "again"), [("failed", None, True), ("failed", 60.0, False), ("gate", None, False),
                                      ("invalid", None, False), (None, None, False)],
)  # fmt: skip
def test_a_crash_may_be_mended_and_wrong_or_slow_ones_stay_so(dropped: Any, limit_s: Any, again: bool) -> None:
    assert Screening(name="a", dropped=dropped, limit_s=limit_s).may_be_mended is again


def test_one_is_one() -> None:
    assert [counted(n, "candidate") for n in (0, 1, 2)] == ["0 candidates", "1 candidate", "2 candidates"]


def test_who_has_no_room_beside_the_winner_is_told() -> None:
    peaks = {"a": 600.0, "c": 500.0}
    told = too_large(["a", "c"], peaks, 1000)
    assert told == "need about 1,100 MiB and 1,000 are free"
    assert too_large(["a", "unknown"], peaks, 1000) is None
    found = fates(measured(no_room={"c": f"it has no room beside a: both {told}"}))
    assert found["c"] == ("not raced", "it has no room beside a: both need about 1,100 MiB and 1,000 are free")


def test_of_a_few_pairs_the_range_is_given_and_of_fewer_nothing() -> None:
    times = {"a": [10.0] * 6, "b": [20.0, 21.0, 22.0, 20.0, 20.0, 25.0]}
    final = HeatRecord(number=0, entrants=["a", "b"], times=times)
    (told,) = versus(measured(heats=[], final=final), ["b"])
    assert told.ci95 == pytest.approx((2.0, 2.5)) and told.reason is None
    few = final.model_copy(update={"times": {name: some[:5] for name, some in times.items()}})
    (told,) = versus(measured(heats=[], final=few), ["b"])
    assert told.ci95 is None and told.reason == "5 pairs; an interval needs 6"
