"""One case: whose times are whose, what is kept apart, and where label maps lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmark.data.slices import Slice
from benchmark.measure.tally import Predictions
from benchmark.metrics import Scale
from benchmark.prompts import Effort, ObjectPrompt, tight_box
from benchmark.records import CaseRecord
from benchmark.results import Effort as Recorded
from benchmark.stages.base import Outcome, Unit
from tests.benchmark.measure.fake_lanes import Fake, FakeLanes, by_batch, by_slice, make_slices, measure_on, spec

Measure = Callable[..., tuple[CaseRecord, Predictions]]


@pytest.fixture
def measure(lanes: FakeLanes) -> Measure:
    """Measures a case with these lanes: `measure(chosen, units, {"repeats": 2}, pytorch=Fake())`."""

    def run(
        chosen: Sequence[Slice],
        units: Any = by_slice,
        how: dict[str, Any] | None = None,
        work: Any = None,
        **fakes: Fake,
    ) -> tuple[CaseRecord, Predictions]:
        return measure_on(lanes.bench(spec(**(how or {})), **fakes), chosen, units, **(work or {}))

    return run


def reference(chosen: Sequence[Slice]) -> np.ndarray:
    return np.stack([piece.label for piece in chosen])


def without_tumour(label: np.ndarray) -> np.ndarray:
    return np.where(label == 2, 0, label).astype(np.uint8)


def test_times_are_the_sums_of_the_phases_that_the_pipeline_told(measure: Measure) -> None:
    record, _ = measure(make_slices(), pytorch=Fake(ms=10.0), onnxruntime=Fake(ms=4.0))
    assert (record.case, record.slices, record.passes) == ("c1", 5, 1)
    ours, theirs = record.lanes["pytorch"], record.lanes["onnxruntime"]
    assert ours.unit_ms == {"box": [13.0] * 5}
    assert theirs.unit_ms == {"box": [7.0] * 5}
    assert (ours.volume_ms, theirs.volume_ms) == ({"box": [65.0]}, {"box": [35.0]})
    assert ours.phase_ms == {"box": {"preprocess": 5.0, "encode": 50.0, "decode": 10.0}}
    assert list(ours.phase_ms["box"]) == ["preprocess", "encode", "decode"]
    assert ours.timed_slices == 5
    assert ours.load_ms == 7.0 and ours.first_call_ms is not None and ours.first_call_ms >= 0
    assert set(ours.attestation) == {"encoder"}


def test_both_clocks_stand_beside_one_another_for_every_pass(measure: Measure) -> None:
    """The fake tells 9 ms on the device for the shared part, and 1.5 or 3 ms for a variant's own."""
    variants = ("box", "point")
    record, _ = measure(
        make_slices(2), how={"repeats": 2}, work={"variants": variants}, pytorch=Fake(variants=variants)
    )
    found = record.lanes["pytorch"]
    assert found.device_ms == {"box": [10.5] * 4, "point": [12.0] * 4}
    assert {name: len(samples) for name, samples in found.unit_ms.items()} == {"box": 4, "point": 4}


def test_a_variant_bears_the_shared_phases_as_if_it_had_run_alone(measure: Measure) -> None:
    variants = ("box", "point")
    record, _ = measure(make_slices(2), work={"variants": variants}, pytorch=Fake(variants=variants))
    assert record.lanes["pytorch"].unit_ms == {"box": [13.0, 13.0], "point": [15.0, 15.0]}
    assert record.lanes["pytorch"].volume_ms == {"box": [26.0], "point": [30.0]}
    assert record.lanes["pytorch"].phase_ms["point"]["encode"] == 20.0


def test_repeats_add_passes_and_every_order_is_followed_by_its_reverse(measure: Measure, lanes: FakeLanes) -> None:
    record, _ = measure(make_slices(2), how={"repeats": 3}, pytorch=Fake(), onnxruntime=Fake())
    # The first pass of a lane over a shape is its own affair, and in no time.
    first, rest = lanes.begun[:4], lanes.begun[4:]
    assert first[0] == first[1] != first[2] == first[3]
    rounds = [[first[0], first[2]], *(rest[place : place + 2] for place in range(0, 10, 2))]
    for forward, backward in zip(rounds[::2], rounds[1::2], strict=True):
        assert sorted(forward) == ["onnxruntime", "pytorch"]
        assert backward == forward[::-1]
    assert (record.slices, record.passes) == (2, 3)
    found = record.lanes["pytorch"]
    assert found.unit_ms == {"box": [13.0] * 6}
    assert found.volume_ms == {"box": [26.0] * 3}
    assert found.phase_ms["box"]["encode"] == 60.0
    assert found.timed_slices == 6


def test_the_first_pass_over_a_new_shape_is_kept_apart_without_a_warm_up_too(measure: Measure) -> None:
    """Five slices in batches of two: the last batch has another shape."""
    fake = Fake(ms=lambda call: 500.0 if call in (0, 3) else 10.0)
    record, _ = measure(make_slices(5), by_batch, {"repeats": 2}, pytorch=fake)
    found = record.lanes["pytorch"]
    assert fake.calls == 2 + 2 * 3
    assert found.unit_ms["box"] == [13.0] * 6, "what a shape's first pass took is in no time"
    rows, columns = make_slices(1)[0].image.shape
    assert list(found.first_shape_ms) == [f"2×{rows}×{columns}", f"1×{rows}×{columns}"]
    assert all(milliseconds >= 0 for milliseconds in found.first_shape_ms.values())


def test_a_window_takes_its_share_of_the_network_time(measure: Measure) -> None:
    fake = Fake()
    plain = fake.process

    def windowed(unit: Unit) -> Outcome:
        outcome = plain(unit)
        return replace(outcome, own_ms={"box": {"infer": 12.0, "postprocess": 5.0}}, windows=4)

    fake.process = windowed  # type: ignore[method-assign]
    record, _ = measure(make_slices(2), pytorch=fake)
    assert record.lanes["pytorch"].window_ms == {"box": [3.0, 3.0]}


def test_label_maps_lie_at_the_place_of_their_slice(measure: Measure) -> None:
    chosen = make_slices(6, empty=(0, 3), first=40)
    record, predictions = measure(chosen, pytorch=Fake())
    assert np.array_equal(predictions["box"]["pytorch"], reference(chosen))
    assert predictions["box"]["pytorch"].dtype == np.uint8
    assert record.slices == 4, "a slice without an organ is not counted as worked on"


def test_batches_are_laid_out_slice_by_slice(measure: Measure) -> None:
    chosen = make_slices(5)
    record, predictions = measure(chosen, by_batch, pytorch=Fake())
    assert np.array_equal(predictions["box"]["pytorch"], reference(chosen))
    assert record.slices == record.lanes["pytorch"].timed_slices == 5
    assert len(record.lanes["pytorch"].unit_ms["box"]) == 3


def test_what_a_later_pass_answers_does_not_replace_the_first(measure: Measure) -> None:
    chosen = make_slices(2)
    fake = Fake()
    fake.answer = lambda label: label if fake.calls <= 3 else np.zeros_like(label)
    record, predictions = measure(chosen, how={"repeats": 2}, pytorch=fake)
    assert np.array_equal(predictions["box"]["pytorch"], reference(chosen))
    assert record.lanes["pytorch"].dice["box"] == {"organ": 1.0, "tumour": 1.0}


def test_dice_is_against_the_labels_and_parity_against_the_reference_backend(measure: Measure) -> None:
    record, _ = measure(make_slices(), pytorch=Fake(without_tumour), onnxruntime=Fake())
    ours, theirs = record.lanes["pytorch"], record.lanes["onnxruntime"]
    assert ours.dice == {"box": {"organ": 1.0, "tumour": 0.0}}
    assert ours.parity == {"box": {"organ": 1.0, "tumour": None}}
    assert theirs.dice == {"box": {"organ": 1.0, "tumour": 1.0}}
    assert theirs.parity == {"box": {"organ": 1.0, "tumour": None}}  # the reference backend found no tumour


def test_dice_is_over_the_whole_case_and_not_a_mean_of_slices(measure: Measure) -> None:
    chosen = make_slices()
    wanted = reference(chosen) == 1
    shifted = np.stack([np.roll(piece.label, 1, axis=0) for piece in chosen]) == 1
    record, _ = measure(chosen, pytorch=Fake(lambda label: np.roll(label, 1, axis=0)))
    expected = 2 * np.count_nonzero(wanted & shifted) / (np.count_nonzero(wanted) + np.count_nonzero(shifted))
    assert record.lanes["pytorch"].dice["box"]["organ"] == pytest.approx(expected, abs=1e-6)


def test_surfaces_are_measured_in_millimetres_where_a_scale_is_given(measure: Measure) -> None:
    label = np.zeros((6, 8, 8), np.uint8)
    label[2:4, 2:6, 2:6] = 1
    chosen = [Slice("c1", k, np.zeros((8, 8), np.float32), plane, (1.0, 1.0)) for k, plane in enumerate(label)]
    further = Fake(lambda plane: np.roll(plane, 1, axis=1))
    scale = Scale((5.0, 1.0, 0.5), tolerance_mm=0.4)
    record, _ = measure(chosen, work={"scale": scale}, pytorch=Fake(), onnxruntime=further)
    ours, theirs = record.lanes["pytorch"], record.lanes["onnxruntime"]
    assert (ours.nsd, ours.hd95_mm) == (
        {"box": {"organ": 1.0, "tumour": None}},
        {"box": {"organ": 0.0, "tumour": None}},
    )
    assert theirs.hd95_mm["box"]["organ"] == pytest.approx(0.5), "one column further"
    assert 0 < (theirs.nsd["box"]["organ"] or 0) < 1
    plain, _ = measure(make_slices(), pytorch=Fake())
    assert (plain.lanes["pytorch"].nsd, plain.lanes["pytorch"].hd95_mm) == ({}, {})


def test_without_the_reference_backend_there_is_neither_parity_nor_a_pair(measure: Measure) -> None:
    record, _ = measure(make_slices(), **{"onnxruntime": Fake(), "onnxruntime int8": Fake()})
    for found in record.lanes.values():
        assert (found.parity, found.pairs) == ({}, {})
        assert found.dice["box"]["organ"] == 1.0


def test_effort_is_that_of_one_pass_of_each_backend_and_objects_are_pairs_of_slice_and_label(measure: Measure) -> None:
    """Corrections follow a backend's own masks, and a person does them once however often they are timed."""

    class Clicking(Fake):
        def __init__(self, clicks: int) -> None:
            super().__init__()
            self.clicks = clicks

        def process(self, unit: Unit) -> Outcome:
            return replace(super().process(unit), effort={"box": Effort(clicks=self.clicks, boxes=0.5)})

    def prompted(chosen: Sequence[Slice]) -> Iterator[Unit]:
        for piece in chosen:
            component, other = (
                ObjectPrompt(value, tight_box(piece.label == value), piece.label == value) for value in (1, 2)
            )
            yield Unit((piece,), {"box": (component, component, other)})

    how = {"repeats": 3, "warmup": 1}
    record, _ = measure(make_slices(4), prompted, how, pytorch=Clicking(2), onnxruntime=Clicking(3))
    assert record.lanes["pytorch"].effort == {"box": Recorded(clicks=8, boxes=2, objects=8)}
    assert record.lanes["onnxruntime"].effort == {"box": Recorded(clicks=12, boxes=2, objects=8)}
    assert CaseRecord.model_validate_json(record.model_dump_json()) == record
    plain, _ = measure(make_slices(2), pytorch=Fake())
    assert plain.lanes["pytorch"].effort == {}, "a stage without prompts has none"


@pytest.mark.parametrize("chosen", [make_slices(3, empty=(0, 1, 2)), []])
def test_a_case_without_the_organ_is_recorded_with_nothing_measured(measure: Measure, chosen: list[Slice]) -> None:
    """Never a time of 0 ms, and no error where `data.slices` chooses none; no scenario either."""
    how = {"scenarios": ("single-stream", "offline"), "samples": 64, "budget_s": 600, "warmup": 1}
    record, predictions = measure(chosen, how=how, pytorch=Fake())
    found = record.lanes["pytorch"]
    assert record.slices == 0
    assert (found.unit_ms, found.volume_ms, found.phase_ms, found.modules) == ({}, {}, {}, {})
    assert (found.offline, found.warmup, found.timed_slices) == (None, None, 0)
    assert found.dice == {"box": {"organ": None, "tumour": None}}
    assert found.failed is None
    assert len(predictions["box"]["pytorch"]) == len(chosen)
    assert CaseRecord.model_validate_json(record.model_dump_json()) == record


def test_progress_adds_up_to_the_share_of_slices_that_hold_something(measure: Measure) -> None:
    shares: list[float] = []
    how = {"repeats": 2, "samples": 30, "budget_s": 600}
    record, _ = measure(make_slices(4), how=how, work={"on_progress": shares.append}, pytorch=Fake())
    assert record.passes == 7 and len(record.lanes["pytorch"].unit_ms["box"]) == 30, "further turns are no share"
    assert sum(shares) == pytest.approx(1.0)
    assert all(share > 0 for share in shares) and len(shares) == 8
