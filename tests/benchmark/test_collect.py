from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.collect import allocator_notes, attestation_mismatch, collect_cells
from benchmark.costs import ModuleCosts
from benchmark.data.intensity import CTWindow
from benchmark.data.msd import CaseFiles, Task
from benchmark.measure.statistics import summarise
from benchmark.measured import Attested, Energy, Memory, Peak, Seconds, Server, WarmUp, WorkerFacts
from benchmark.plan import Group, PlannedTask
from benchmark.records import CaseRecord, LaneRecord, OfflineRecord, ShapeCalls
from benchmark.results import Cell, Comparison, Effort, LaneKey
from benchmark.spec import Spec

PAIRS = 10
TURNS = 20
"""So many as a verdict needs; a turn may have taken several passes, or none that a case's slices tell."""
LANES = (LaneKey("pytorch"), LaneKey("onnxruntime"))
SECONDS = Seconds(wall=1.0, busy=0.9, parent_cpu=0.0)
SOME_SLICES = {"root": "x", "tasks": ["T"], "slices": 10}


def make_group(cases: int = 2, stage: Any = "pseudolabel", same_case: bool = False, **changes: Any) -> Group:
    files = tuple(CaseFiles(f"c{n}", Path(f"i{n}"), Path(f"l{n}")) for n in range(1, cases + 1))
    task = Task("T", Path("T"), "CT", 0, 1, {1: "organ"}, frozenset({0, 1}), CTWindow(40, 400), files)
    values: dict[str, Any] = {"model": "m", "variants": ("box",), "device": "cpu", "lanes": LANES, "key": "k" * 64}
    return Group(stage, PlannedTask(task, files, same_case=same_case), cases=files, **{**values, **changes})


def make_spec(**changes: Any) -> Spec:
    return Spec.model_validate({"name": "run", "data": {"root": "x", "tasks": ["T"]}, **changes})


def attested(device: str = "cpu", precision: str = "fp32", requested: str = "fp32") -> Attested:
    return Attested(
        backend="b",
        version="1",
        device=device,
        precision=precision,
        requested_precision=requested,
        providers=["p"],
        nodes_per_provider=None,
        threads=1,
    )


def lane(ms: float = 10.0, dice: float | None = 0.9, parity: float | None = 1.0, **changes: Any) -> LaneRecord:
    values: dict[str, Any] = {
        "unit_ms": {"box": [ms] * PAIRS},
        "device_ms": {"box": [0.5 * ms] * PAIRS},
        "pairs": {"box": [(10.0, ms)] * TURNS},
        "timed_slices": PAIRS,
        "offline": OfflineRecord(slices=PAIRS, volumes=1, seconds=0.8e-3 * ms * PAIRS),
        "volume_ms": {"box": [ms * PAIRS]},
        "phase_ms": {"box": {"encode": 0.75 * ms * PAIRS, "decode": 0.25 * ms * PAIRS}},
        "dice": {"box": {"organ": dice}},
        "nsd": {"box": {"organ": 0.8}},
        "hd95_mm": {"box": {"organ": 4.0}},
        "parity": {"box": {"organ": parity}},
        "attestation": {"encoder": attested(), "decoder": attested()},
        "load_ms": 5.0,
        "first_call_ms": 40.0,
    }
    return LaneRecord(**{**values, **changes})


def record(case: str, pytorch: LaneRecord | None = None, onnxruntime: LaneRecord | None = None) -> CaseRecord:
    lanes = {"pytorch": pytorch or lane(), "onnxruntime": onnxruntime or lane(5.0)}
    return CaseRecord(case=case, slices=PAIRS, passes=1, lanes=lanes, seconds=SECONDS)


def collect(records: list[CaseRecord], group: Group | None = None, **changes: Any) -> tuple[Cell, Cell, Comparison]:
    cells, comparisons = collect_cells(group or make_group(len(records)), records, make_spec(**changes))
    (ours, theirs), (comparison,) = cells, comparisons
    assert (ours.backend, theirs.backend) == ("pytorch", "onnxruntime")
    assert (comparison.candidate, comparison.baseline) == ("onnxruntime", "pytorch")
    return ours, theirs, comparison


def shows_no_time(cell: Cell) -> bool:
    return (cell.latency_ms, cell.volume_latency_ms, cell.throughput, cell.phases_ms) == (None, None, None, {})


def test_a_run_without_trouble() -> None:
    ours, theirs, comparison = collect([record("c1"), record("c2")])
    assert (ours.status, theirs.status, theirs.reason) == ("ok", "ok", None)
    assert comparison.speedup == pytest.approx(2.0) and comparison.ci95 == pytest.approx((2.0, 2.0))
    assert (comparison.pairs, comparison.margin) == (2 * TURNS, 0.02)
    assert (comparison.verdict, comparison.gate, comparison.reason) == ("faster", "pass", None)
    assert theirs.latency_ms is not None and theirs.latency_ms.p50 == 5.0
    assert len(theirs.latency_ms.samples) == 20
    assert theirs.volume_latency_ms is not None and theirs.volume_latency_ms.samples == [50.0, 50.0]
    assert (theirs.load_ms, theirs.first_call_ms) == (5.0, 40.0)
    assert set(theirs.attestation) == {"encoder", "decoder"}
    assert theirs.memory_mib is None and theirs.memory_reason
    assert theirs.notes == []
    assert (theirs.stage, theirs.task, theirs.model, theirs.prompt) == ("pseudolabel", "T", "m", "box")


def test_phases_are_per_slice_and_add_up_to_the_latency() -> None:
    ours, _, _ = collect([record("c1", lane(8.0)), record("c2", lane(12.0))])
    assert ours.latency_ms is not None and ours.latency_ms.mean == 10.0
    assert ours.phases_ms == pytest.approx({"encode": 7.5, "decode": 2.5})
    assert list(ours.phases_ms) == ["encode", "decode"]


def test_throughput_is_that_of_the_offline_passes_over_their_own_wall_time() -> None:
    """However often units were timed by themselves, and whatever they took: it is measured, not derived."""
    first = lane(timed_slices=2 * PAIRS, offline=OfflineRecord(slices=10, volumes=1, seconds=0.25))
    second = lane(timed_slices=2 * PAIRS, offline=OfflineRecord(slices=6, volumes=0, seconds=0.15))
    ours, _, _ = collect([record("c1", first), record("c2", second)])
    assert ours.throughput is not None
    # 16 slices in 400 ms.
    assert (ours.throughput.value, ours.throughput.unit) == (pytest.approx(40.0), "slices/s")
    assert (ours.throughput.units, ours.throughput.seconds) == (16, pytest.approx(0.4))
    assert ours.phases_ms == pytest.approx({"encode": 3.75, "decode": 1.25}), "a slice's, over all that were timed"


def test_without_the_offline_scenario_there_is_no_throughput() -> None:
    assert collect([record("c1", lane(offline=None))])[0].throughput is None


def test_volumes_a_minute_are_of_whole_volumes_and_their_time_alone() -> None:
    """A part of a volume is none, and its seconds are no volume's."""
    whole = lane(offline=OfflineRecord(slices=10, volumes=1, seconds=0.5))
    part = lane(offline=OfflineRecord(slices=3, volumes=0, seconds=0.5))
    ours, _, _ = collect([record("c1", whole), record("c2", part)], make_group(2, "segment"), unet={})
    assert ours.throughput is not None
    assert (ours.throughput.value, ours.throughput.unit) == (pytest.approx(120.0), "volumes/min")
    assert (ours.throughput.units, ours.throughput.seconds) == (1, pytest.approx(0.5))
    parts, _, _ = collect([record("c1", part)], make_group(1, "segment"), unet={})
    assert parts.throughput is not None
    assert (parts.throughput.value, parts.throughput.unit) == (pytest.approx(6.0), "slices/s")


def test_a_batch_counts_all_its_slices() -> None:
    batches = {
        "unit_ms": {"box": [40.0, 10.0]},
        "volume_ms": {"box": [50.0]},
        "window_ms": {"box": [5.0, 2.5]},
        "offline": OfflineRecord(slices=PAIRS, volumes=1, seconds=0.05),
        "pairs": {"box": [(40.0, 40.0), (10.0, 10.0)]},
        "phase_ms": {"box": {"infer": 50.0}},
    }
    records = [record("c1", lane(**batches), lane(**batches))]
    ours, _, comparison = collect(records, make_group(1, "segment"), unet={}, data=SOME_SLICES)
    assert ours.throughput is not None
    assert (ours.throughput.value, ours.throughput.unit) == (pytest.approx(200.0), "slices/s")
    whole = collect(records, make_group(1, "segment"), unet={})[0]
    assert whole.throughput is not None
    # One volume in 50 ms.
    assert (whole.throughput.value, whole.throughput.unit) == (pytest.approx(1200.0), "volumes/min")
    assert whole.window_latency_ms is not None and whole.window_latency_ms.samples == [5.0, 2.5]
    assert ours.phases_ms == pytest.approx({"infer": 5.0})
    assert ours.latency_unit == "batch of up to 8 slices"
    assert (comparison.pairs, comparison.verdict) == (2, "inconclusive")
    alone, _, _ = collect(records, make_group(1, "segment"), unet={"windows_per_batch": 1})
    assert alone.latency_unit == "slice"
    volumes = dataclasses.replace(make_group(1, "segment"), whole_volumes=True)
    assert collect(records, volumes, unet={}, data=SOME_SLICES)[0].latency_unit == "volume"
    assert collect([record("c1")], unet={})[0].latency_unit == "slice"


def test_effort_is_the_sum_over_the_cases_of_each_backend() -> None:
    few, many = (lane(effort={"box": Effort(clicks=clicks, boxes=0.5, objects=4)}) for clicks in (3, 5))
    none = lane(effort={})  # a case without the organ
    ours, theirs, _ = collect([record("c1", few, many), record("c2", few, few), record("c3", none, none)])
    assert ours.effort == Effort(clicks=6, boxes=1.0, objects=8)
    assert theirs.effort == Effort(clicks=8, boxes=1.0, objects=8), "its own masks asked for more corrections"
    assert collect([record("c1")])[0].effort is None, "what was not prompted for has no effort, and not one of 0"


INT8 = LaneKey("onnxruntime", "int8")


def reduced(ms: float = 2.0, parts: tuple[str, str] = ("int8", "int8"), **changes: Any) -> LaneRecord:
    told = {name: attested(precision=p, requested=p) for name, p in zip(("encoder", "decoder"), parts, strict=True)}
    return lane(ms, **{"attestation": told, **changes})


def with_int8(case: str, int8: LaneRecord, pytorch: LaneRecord | None = None) -> CaseRecord:
    both = record(case, pytorch)
    return both.model_copy(update={"lanes": {**both.lanes, str(INT8): int8}})


def collect_three(int8: LaneRecord, pytorch: LaneRecord | None = None, **changes: Any) -> tuple[list[Cell], Any]:
    group = make_group(1, lanes=(*LANES, INT8), **changes)
    return collect_cells(group, [with_int8("c1", int8, pytorch)], make_spec(precisions=["fp32", "int8"]))


def test_precisions_of_a_backend_have_cells_and_comparisons_of_their_own() -> None:
    cells, comparisons = collect_three(reduced())
    assert [(cell.backend, cell.precision, cell.status) for cell in cells] == [
        ("pytorch", "fp32", "ok"),
        ("onnxruntime", "fp32", "ok"),
        ("onnxruntime", "int8", "ok"),
    ]
    assert [(c.candidate, c.precision, c.baseline, round(c.speedup or 0, 6)) for c in comparisons] == [
        ("onnxruntime", "fp32", "pytorch", 2.0),
        ("onnxruntime", "int8", "pytorch", 5.0),
    ]


def test_a_reduced_precision_below_the_gate_is_invalid_and_fp32_beside_it_is_not() -> None:
    cells, comparisons = collect_three(reduced(dice=0.7))
    assert [cell.status for cell in cells] == ["ok", "ok", "invalid"]
    assert cells[2].reason == "Dice 0.7000 is below 99.9% of pytorch's 0.9000"
    assert shows_no_time(cells[2]) and cells[1].latency_ms is not None
    assert [(c.gate, c.speedup) for c in comparisons] == [("pass", pytest.approx(2.0)), ("fail", None)]


def test_a_part_that_was_meant_to_stay_in_fp32_is_no_mismatch_and_one_that_was_not_is() -> None:
    cells, _ = collect_three(reduced(parts=("int8", "fp32")))
    assert cells[2].status == "ok"
    told = {"encoder": attested(precision="fp32", requested="int8"), "decoder": attested(precision="int8")}
    cells, comparisons = collect_three(reduced(attestation=told))
    assert cells[2].reason == "the encoder was asked to run in int8 and ran in fp32"
    assert shows_no_time(cells[2]) and cells[2].dice is None
    assert comparisons[1].reason == f"onnxruntime int8 is invalid: {cells[2].reason}"


def test_an_int8_lane_whose_parts_all_stayed_in_fp32_is_not_called_int8() -> None:
    cells, _ = collect_three(reduced(parts=("fp32", "fp32")))
    assert (cells[2].status, cells[2].reason) == ("invalid", "int8 was asked for and every part ran in fp32")


NOTHING: dict[str, Any] = {
    "unit_ms": {}, "device_ms": {}, "pairs": {}, "volume_ms": {}, "phase_ms": {}, "timed_slices": 0, "offline": None,
}  # fmt: skip

RANDOM = "random weights: latency alone means something, accuracy does not"


def test_with_random_weights_there_is_speed_and_mask_parity_and_no_accuracy_anywhere() -> None:
    cells, comparisons = collect_three(reduced(dice=0.1, parity=0.9999), no_dice=RANDOM)
    for cell in cells:
        assert cell.status == "ok" and cell.latency_ms is not None
        assert cell.dice is None
        assert [(entry.dice, entry.reason) for entry in cell.dice_per_case] == [(None, RANDOM)]
        assert cell.notes == [RANDOM]  # notes about Dice would speak of what is not there
        assert cell.parity is not None
        assert (cell.parity.dice_delta, cell.parity.reason) == (None, RANDOM)
    assert [cell.parity.mask_dice for cell in cells if cell.parity] == [1.0, 1.0, 0.9999]
    assert [c.gate for c in comparisons] == ["pass", "pass"]


def test_with_random_weights_the_masks_must_still_agree() -> None:
    cells, comparisons = collect_three(reduced(dice=0.9, parity=0.99), no_dice=RANDOM)
    assert (cells[2].status, comparisons[1].gate) == ("invalid", "fail")
    assert cells[2].reason == "its masks overlap pytorch's with Dice 0.9900, below 0.999"
    assert shows_no_time(cells[2])
    cells, _ = collect_three(reduced(parity=None), no_dice=RANDOM)
    assert cells[2].parity is not None
    assert cells[2].parity.reason == f"no mask to compare; {RANDOM}"


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (attested(device="cuda"), "the decoder was asked to run on cpu and ran on cuda"),
        (attested(precision="bf16"), "the decoder was asked to run in fp32 and ran in bf16"),
    ],
)
def test_what_did_not_run_as_asked_is_invalid_and_shows_no_time(what: Attested, told: str) -> None:
    # In the second case only, and in the second part only.
    wrong = lane(5.0, attestation={"encoder": attested(), "decoder": what})
    ours, theirs, comparison = collect([record("c1"), record("c2", None, wrong)])
    assert (theirs.status, theirs.reason) == ("invalid", told)
    assert shows_no_time(theirs) and theirs.dice is None
    assert ours.status == "ok" and ours.latency_ms is not None
    assert (comparison.speedup, comparison.ci95, comparison.verdict) == (None, None, "inconclusive")
    assert comparison.gate == "fail" and told in (comparison.reason or "")


def test_a_silent_fall_back_to_the_cpu_is_found() -> None:
    assert attestation_mismatch("cuda", "fp32", [lane()]) is not None
    assert attestation_mismatch("cpu", "fp32", [lane()]) is None


def test_a_backend_that_failed_in_one_case_failed_and_the_other_did_not() -> None:
    broken = LaneRecord(attestation={"encoder": attested()}, load_ms=5.0, failed="RuntimeError: no memory")
    ours, theirs, comparison = collect([record("c1"), record("c2", None, broken)])
    assert (theirs.status, theirs.reason) == ("failed", "case c2: RuntimeError: no memory")
    assert shows_no_time(theirs)
    assert ours.status == "ok" and ours.throughput is not None
    assert (comparison.gate, comparison.speedup) == ("fail", None)
    assert comparison.reason == "onnxruntime is failed: case c2: RuntimeError: no memory"


def test_without_a_working_reference_there_is_time_but_no_parity_and_no_verdict() -> None:
    broken = LaneRecord(failed="RuntimeError: no memory")
    ours, theirs, comparison = collect([record("c1", broken, lane(5.0, parity=None)), record("c2")])
    assert ours.status == "failed"
    assert theirs.status == "ok" and theirs.latency_ms is not None
    assert theirs.parity is not None
    assert (theirs.parity.mask_dice, theirs.parity.dice_delta) == (None, None)
    assert theirs.parity.reason == "the reference backend pytorch failed"
    assert (comparison.verdict, comparison.gate, comparison.pairs) == ("inconclusive", "fail", 0)
    assert comparison.reason is not None and comparison.reason.startswith("pytorch is failed: case c1")


def test_without_the_reference_backend_there_is_no_comparison() -> None:
    lanes = {"onnxruntime": lane(parity=None)}
    alone = CaseRecord(case="c1", slices=PAIRS, passes=1, lanes=lanes, seconds=SECONDS)
    cells, comparisons = collect_cells(make_group(1, lanes=LANES[1:]), [alone], make_spec())
    assert comparisons == []
    (cell,) = cells
    assert cell.status == "ok" and cell.latency_ms is not None and cell.dice == pytest.approx(0.9)
    assert cell.parity is not None and cell.parity.mask_dice is None and cell.parity.dice_delta is None
    assert cell.parity.reason == "the reference backend pytorch was not run"


def test_a_fast_wrong_answer_is_no_answer() -> None:
    ours, theirs, comparison = collect([record("c1", lane(dice=0.9), lane(1.0, dice=0.9 * 0.9989))])
    assert theirs.status == "invalid" and ours.status == "ok"
    assert theirs.reason == "Dice 0.8990 is below 99.9% of pytorch's 0.9000"
    assert shows_no_time(theirs)
    assert theirs.dice == pytest.approx(0.9 * 0.9989)  # it stays to be seen how wrong
    assert (comparison.gate, comparison.verdict, comparison.speedup, comparison.ci95) == (
        "fail",
        "inconclusive",
        None,
        None,
    )
    assert comparison.reason == theirs.reason


def test_an_answer_just_above_the_gate_counts() -> None:
    _, theirs, comparison = collect([record("c1", lane(dice=0.9), lane(5.0, dice=0.9 * 0.9991))])
    assert theirs.status == "ok" and theirs.latency_ms is not None
    assert (comparison.gate, comparison.verdict) == ("pass", "faster")


def test_a_better_answer_passes_the_gate_even_if_it_is_another_one() -> None:
    _, theirs, comparison = collect([record("c1", lane(dice=0.5), lane(dice=0.7, parity=0.6))])
    assert (theirs.status, comparison.gate) == ("ok", "pass")


@pytest.mark.parametrize("dice", [None, 0.0])
def test_where_dice_cannot_tell_the_masks_themselves_must_agree(dice: float | None) -> None:
    """A reference Dice of 0, or none at all, would let any garbage pass."""
    _, wrong, refused = collect([record("c1", lane(dice=dice), lane(dice=dice, parity=0.9))])
    assert (wrong.status, refused.gate) == ("invalid", "fail")
    assert wrong.reason == "its masks overlap pytorch's with Dice 0.9000, below 0.999"
    _, right, passed = collect([record("c1", lane(dice=dice), lane(dice=dice, parity=0.9995))])
    assert (right.status, passed.gate) == ("ok", "pass")


def test_parity_is_a_mean_over_cases_and_dice_delta_a_difference_of_means() -> None:
    ours, theirs, _ = collect(
        [
            record("c1", lane(dice=0.8), lane(dice=0.82, parity=0.98)),
            record("c2", lane(dice=0.6), lane(dice=0.66, parity=0.90)),
        ]
    )
    assert theirs.parity is not None and ours.parity is not None
    assert theirs.parity.mask_dice == pytest.approx(0.94)
    assert theirs.parity.dice_delta == pytest.approx(0.04)
    assert theirs.parity.reason is None
    assert (ours.parity.mask_dice, ours.parity.dice_delta) == (1.0, 0.0)
    assert (ours.dice, theirs.dice) == (pytest.approx(0.7), pytest.approx(0.74))


def test_no_mask_to_compare_is_null_with_a_reason() -> None:
    _, theirs, _ = collect([record("c1", lane(dice=None, parity=None), lane(dice=None, parity=None))])
    assert theirs.parity is not None
    assert (theirs.parity.mask_dice, theirs.parity.dice_delta) == (None, None)
    assert theirs.parity.reason == "no mask to compare"


def test_a_label_that_a_case_lacks_is_null_with_a_reason_and_enters_no_mean() -> None:
    ours, _, _ = collect([record("c1", lane(dice=0.8)), record("c2", lane(dice=None))])
    assert ours.dice == pytest.approx(0.8)
    there, lacking = ours.dice_per_case
    assert (there.case, there.label, there.dice, there.reason) == ("c1", "organ", 0.8, None)
    assert (lacking.case, lacking.dice) == ("c2", None)
    assert lacking.reason == "the reference has no such label in this case"


def surfaces(cell: Cell) -> list[tuple[float | None, float | None, str | None]]:
    return [(entry.nsd, entry.hd95_mm, entry.reason) for entry in cell.surface_per_case]


def test_a_missed_organ_is_counted_because_a_mean_of_hd95_would_look_the_better_for_it() -> None:
    good, missed, lacking = (
        lane(nsd={"box": {"organ": nsd}}, hd95_mm={"box": {"organ": hd95}})
        for nsd, hd95 in ((0.9, 2.0), (0.0, None), (None, None))
    )
    ours, _, _ = collect([record("c1", good), record("c2", missed), record("c3", lacking)])
    assert (ours.nsd, ours.hd95_mm, ours.hd95_missing) == (pytest.approx(0.45), 2.0, 1)
    assert surfaces(ours) == [
        (0.9, 2.0, None),
        (0.0, None, "the prediction has no such label: its HD95 is infinite"),
        (None, None, "the reference has no such label in this case"),
    ]
    assert [(entry.case, entry.label) for entry in ours.surface_per_case] == [(f"c{n}", "organ") for n in (1, 2, 3)]


def test_the_rule_for_empty_classes_and_the_tolerance_stand_in_every_cell() -> None:
    ours, theirs, _ = collect([record("c1")])
    for cell in (ours, theirs):
        assert cell.nsd_tolerance_mm == 3.0
        assert cell.empty_classes is not None and "Dice 0, NSD 0 and an infinite HD95" in cell.empty_classes


def test_surfaces_of_some_slices_or_of_random_weights_are_null_with_the_reason() -> None:
    some = {"data": {"root": "x", "tasks": ["T"], "slices": 4}}
    why = "surfaces need whole volumes, and data.slices is 4"
    for ours, reason in (
        (collect([record("c1")], **some)[0], why),
        (collect([record("c1")], make_group(1, no_dice=RANDOM))[0], RANDOM),
        (collect([record("c1", lane(nsd={}, hd95_mm={}))])[0], "no surface was measured"),
    ):
        assert (ours.nsd, ours.hd95_mm, ours.hd95_missing) == (None, None, 0)
        assert surfaces(ours) == [(None, None, reason)]


def test_where_nothing_was_measured_the_cell_is_skipped_and_not_zero() -> None:
    idle = lane(dice=None, **NOTHING)
    ours, theirs, comparison = collect([record("c1", idle, idle)])
    for cell in (ours, theirs):
        assert (cell.status, cell.reason) == ("skipped", "no slice holds any of the labels")
        assert shows_no_time(cell) and cell.dice is None
    assert (comparison.verdict, comparison.speedup) == ("inconclusive", None)


def test_a_case_without_the_organ_beside_one_with_it_adds_no_time() -> None:
    idle = lane(dice=None, **NOTHING)
    empty = record("c2", idle, idle).model_copy(update={"slices": 0})
    ours, _, _ = collect([record("c1"), empty])
    assert ours.volume_latency_ms is not None and ours.volume_latency_ms.samples == [100.0]
    assert ours.throughput is not None and ours.throughput.value == pytest.approx(125.0)
    assert ours.phases_ms == pytest.approx({"encode": 7.5, "decode": 2.5})


def test_each_variant_has_its_own_cells() -> None:
    two: dict[str, Any] = {
        "unit_ms": {"box": [10.0] * PAIRS, "point": [20.0] * PAIRS},
        "volume_ms": {"box": [100.0], "point": [200.0]},
        "phase_ms": {"box": {"encode": 100.0}, "point": {"encode": 200.0}},
        "timed_slices": PAIRS,
        "dice": {"box": {"organ": 0.9}, "point": {"organ": 0.6}},
        "parity": {"box": {"organ": 1.0}, "point": {"organ": 0.5}},
    }
    right, wrong = LaneRecord(**two), LaneRecord(**{**two, "dice": {"box": {"organ": 0.9}, "point": {"organ": 0.3}}})
    group = make_group(1, variants=("box", "point"))
    cells, comparisons = collect_cells(group, [record("c1", right, wrong)], make_spec())
    assert [(cell.prompt, cell.backend, cell.status) for cell in cells] == [
        ("box", "pytorch", "ok"),
        ("box", "onnxruntime", "ok"),
        ("point", "pytorch", "ok"),
        ("point", "onnxruntime", "invalid"),
    ]
    assert [comparison.gate for comparison in comparisons] == ["pass", "fail"]


def test_notes_warn_where_dice_is_no_evidence() -> None:
    ours, _, _ = collect([record("c1")])
    assert ours.notes == ["one case is no evidence of accuracy"]
    ours, _, _ = collect([record("c1")], make_group(1, "segment", same_case=True), unet={})
    assert ours.notes[0].startswith("trained and tested on the same case")
    # SAM learns from none of the cases.
    ours, _, _ = collect([record("c1")], make_group(1, same_case=True))
    assert ours.notes == ["one case is no evidence of accuracy"]
    ours, _, _ = collect([record("c1"), record("c2")], data={"root": "x", "tasks": ["T"], "slices": 4})
    assert ours.notes == ["Dice over at most 4 slices of each case"]


def test_a_backend_that_lives_in_the_kernel_is_told_and_one_that_computes_is_not() -> None:
    """Half of PyTorch's time on Linux can be page faults; a speedup over it must not pass for one of the backend."""

    def of(backend: str, share: float | None) -> Cell:
        names = {"task": "T", "model": "m", "prompt": "box", "device": "cpu", "precision": "fp32"}
        samples = summarise([1.0] * TURNS)
        return Cell(stage="pseudolabel", backend=backend, status="ok", kernel_share=share, latency_ms=samples, **names)

    (note,) = allocator_notes([of("pytorch", 0.44), of("onnxruntime", 0.01), of("onnxruntime", None)])
    assert note.startswith("Backend pytorch spent up to 44% of its CPU time in the kernel")


def test_a_speedup_is_of_pairs_and_not_of_the_samples_that_they_are_made_of() -> None:
    """Pairs see drift that hit both alike; samples of a lane that had further turns do not."""
    drifting = [(ms, ms / 3) for ms in np.linspace(10, 30, TURNS)]
    _, theirs, comparison = collect([record("c1", lane(), lane(10.0, pairs={"box": drifting}))])
    assert comparison.speedup == pytest.approx(3.0) and comparison.verdict == "faster"
    assert theirs.latency_ms is not None and theirs.latency_ms.p50 == 10.0


def test_a_margin_of_the_machine_decides_and_stands_in_the_comparison() -> None:
    records = [record("c1", lane(), lane(9.6))]
    for margin, verdict in ((0.02, "faster"), (0.05, "equivalent")):
        _, (comparison,) = collect_cells(make_group(1), records, make_spec(), margin)
        assert (comparison.margin, comparison.verdict) == (margin, verdict)


def test_both_clocks_are_in_a_cell() -> None:
    ours, _, _ = collect([record("c1")])
    assert ours.latency_ms is not None and ours.device_latency_ms is not None
    assert (ours.latency_ms.p50, ours.device_latency_ms.p50) == (10.0, 5.0)
    assert len(ours.device_latency_ms.samples) == PAIRS


def test_a_process_tells_its_start_once_and_its_memory_at_the_most() -> None:
    """A resumed run had several processes."""
    memory = [Memory(peak_mib=peak, before_mib=100.0, model_mib=20.0) for peak in (300.0, 500.0, 400.0)]
    first, second, third = (
        lane(
            load_ms=5.0 + number,
            first_call_ms=40.0 + number,
            memory=memory[number],
            warmup=WarmUp(samples_ms=[4.0], steady=True) if number == 0 else None,
            energy=Energy(joules_per_unit=float(number), source="RAPL package"),
            worker=WorkerFacts(affinity=[number], variables={"OMP_NUM_THREADS": "1"}),
            kernel_share=0.01 * number,
        )
        for number in range(3)
    )
    ours, _, _ = collect([record("c1", first), record("c2", second), record("c3", third)])
    assert (ours.load_ms, ours.first_call_ms, ours.memory_mib, ours.memory_reason) == (5.0, 40.0, 500.0, None)
    assert ours.memory == memory[1]
    assert ours.warmup is not None and ours.warmup.samples_ms == [4.0]
    assert ours.energy is not None and ours.energy.joules_per_unit == 2.0, "over all units so far"
    assert ours.worker is not None and ours.worker.affinity == [2]
    assert ours.kernel_share == 0.02


def test_the_server_scenario_is_shown_where_it_was_run() -> None:
    served = Server(bound_ms=40, percentile=99, rate=9.0)
    ours, theirs, _ = collect([record("c1"), record("c2", lane(server=served))])
    assert (ours.server, theirs.server) == (served, None)


def test_an_answer_below_the_gate_shows_nothing_that_is_about_speed() -> None:
    wrong = lane(
        1.0,
        dice=0.5,
        server=Server(bound_ms=40, percentile=99, rate=9.0),
        modules={"encoder": [ShapeCalls(shapes={"image": (1, 3)}, ms=[1.0])]},
        energy=Energy(joules_per_unit=1.0, source="RAPL package"),
    )
    _, theirs, _ = collect([record("c1", None, wrong)])
    assert theirs.status == "invalid" and shows_no_time(theirs)
    assert (theirs.device_latency_ms, theirs.server, theirs.energy, theirs.modules) == (None, None, None, {})


def test_a_modules_calls_of_all_cases_are_one_cost() -> None:
    """2 GFLOP in 100 ms are 20 GFLOP/s, a fifth of a machine's 100."""
    calls = {"encoder": [ShapeCalls(shapes={"image": (1, 3, 8, 8)}, ms=[90.0, 110.0])]}
    costs = ModuleCosts({"encoder": lambda shapes: 2 * 10**9}, Peak(fp32_gflops=100.0))
    records = [record("c1", lane(modules=calls)), record("c2", lane(modules=calls))]
    (ours, theirs), _ = collect_cells(make_group(2), records, make_spec(), costs=costs)
    cost = ours.modules["encoder"]
    assert (cost.calls, cost.p50_ms, cost.gflops_per_call) == (4, 100.0, 2.0)
    assert cost.share_of_peak == pytest.approx(0.2)
    assert theirs.modules == {}
