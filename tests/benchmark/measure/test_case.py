from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from benchmark.data.slices import Slice
from benchmark.lanes import Lane
from benchmark.measure import case as measured
from benchmark.measure.case import Predictions, measure_case
from benchmark.measure.extent import Extent
from benchmark.measured import Attested
from benchmark.metrics import Scale
from benchmark.prompts import Effort, ObjectPrompt, tight_box
from benchmark.records import CaseRecord
from benchmark.results import Effort as Recorded
from benchmark.sections import MeasureSpec
from benchmark.stages.base import Outcome, Unit

LABELS = {1: "organ", 2: "tumour"}
ONCE = Extent()


def make_slices(depth: int = 5, empty: Sequence[int] = (), first: int = 20) -> list[Slice]:
    """Slices numbered from `first`, whose labels all differ."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(depth):
        label = rng.integers(0, 3, (4, 3)).astype(np.uint8)
        label[0] = [1, 2, 0]
        if number in empty:
            label[:] = 0
        made.append(Slice("c1", first + number, np.zeros((4, 3), np.float32), label, (1.0, 1.0)))
    return made


class Fake:
    """A pipeline that answers with a function of the reference label and says that it took known times."""

    def __init__(
        self,
        answer: Callable[[np.ndarray], np.ndarray] = lambda label: label,
        ms: float = 10.0,
        fails_at: int | None = None,
        variants: Sequence[str] = ("box",),
    ) -> None:
        self.answer, self.ms, self.fails_at, self.variants = answer, ms, fails_at, variants
        self.calls = 0

    def process(self, unit: Unit) -> Outcome:
        self.calls += 1
        if self.calls - 1 == self.fails_at:
            raise RuntimeError("no memory")
        labels = np.stack([self.answer(piece.label) for piece in unit.slices])
        return Outcome(
            dict.fromkeys(self.variants, labels),
            {"preprocess": 1.0, "encode": self.ms},
            {variant: {"decode": 2.0 * number} for number, variant in enumerate(self.variants, start=1)},
        )


def lane(pipeline: Fake) -> Lane:
    attested = Attested(
        backend="b", version="1", device="cpu", precision="fp32", providers=["p"], nodes_per_provider=None, threads=1
    )
    return Lane(pipeline, {"encoder": attested}, load_ms=7.0)


def by_slice(chosen: Sequence[Slice]) -> Iterator[Unit]:
    """As the pseudo-label stage does: no unit for a slice without any label."""
    for piece in chosen:
        if piece.label.any():
            yield Unit((piece,), {})


def by_batch(chosen: Sequence[Slice], size: int = 2) -> Iterator[Unit]:
    for start in range(0, len(chosen), size):
        yield Unit(tuple(chosen[start : start + size]), {})


def measure(
    chosen: Sequence[Slice],
    units: Callable[[Sequence[Slice]], Iterator[Unit]] = by_slice,
    extent: Extent = ONCE,
    variants: Sequence[str] = ("box",),
    on_progress: Callable[[float], None] = lambda share: None,
    **pipelines: Fake,
) -> tuple[CaseRecord, Predictions]:
    lanes = {name: lane(pipeline) for name, pipeline in pipelines.items()}
    return measure_case("c1", lanes, chosen, lambda: units(chosen), variants, LABELS, extent, on_progress)


def reference(chosen: Sequence[Slice]) -> np.ndarray:
    return np.stack([piece.label for piece in chosen])


def without_tumour(label: np.ndarray) -> np.ndarray:
    return np.where(label == 2, 0, label).astype(np.uint8)


def test_times_are_the_sums_of_the_phases_that_the_pipeline_told() -> None:
    chosen = make_slices()
    record, _ = measure(chosen, pytorch=Fake(ms=10.0), onnxruntime=Fake(ms=4.0))
    assert (record.case, record.slices, record.repeats) == ("c1", 5, 1)
    ours, theirs = record.lanes["pytorch"], record.lanes["onnxruntime"]
    assert ours.unit_ms == {"box": [13.0] * 5}
    assert theirs.unit_ms == {"box": [7.0] * 5}
    assert (ours.volume_ms, theirs.volume_ms) == ({"box": [65.0]}, {"box": [35.0]})
    assert ours.phase_ms == {"box": {"preprocess": 5.0, "encode": 50.0, "decode": 10.0}}
    assert list(ours.phase_ms["box"]) == ["preprocess", "encode", "decode"]
    assert ours.load_ms == 7.0 and ours.first_call_ms is not None and ours.first_call_ms >= 0
    assert set(ours.attestation) == {"encoder"}


def test_a_variant_bears_the_shared_phases_as_if_it_had_run_alone() -> None:
    variants = ("box", "point")
    record, _ = measure(make_slices(2), variants=variants, pytorch=Fake(variants=variants))
    assert record.lanes["pytorch"].unit_ms == {"box": [13.0, 13.0], "point": [15.0, 15.0]}
    assert record.lanes["pytorch"].volume_ms == {"box": [26.0], "point": [30.0]}
    assert record.lanes["pytorch"].phase_ms["point"]["encode"] == 20.0


def test_repeats_add_passes_and_the_order_alternates_between_them() -> None:
    begun: list[str] = []

    class Telling(Fake):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def process(self, unit: Unit) -> Outcome:
            begun.append(self.name)
            return super().process(unit)

    extent = Extent(repeats=3)
    record, _ = measure(make_slices(2), extent=extent, pytorch=Telling("A"), onnxruntime=Telling("B"))
    # A backend's first pass over a shape is its own affair, and in no time.
    assert "".join(begun) == "A" + "A" + "B" + "BBA" + "BAAB" + "ABBA"
    assert (record.slices, record.repeats) == (2, 3)
    assert record.lanes["pytorch"].unit_ms == {"box": [13.0] * 6}
    assert record.lanes["pytorch"].volume_ms == {"box": [26.0] * 3}
    assert record.lanes["pytorch"].phase_ms["box"]["encode"] == 60.0


def test_the_warm_up_is_run_once_and_leaves_no_time() -> None:
    fake = Fake()
    extent = Extent(warmup=2, repeats=2)
    record, _ = measure(make_slices(3), extent=extent, pytorch=fake)
    assert fake.calls == 2 + 2 * 3
    assert len(record.lanes["pytorch"].unit_ms["box"]) == 6


def test_the_first_pass_over_a_new_shape_is_kept_apart_without_a_warm_up_too() -> None:
    """Five slices in batches of two: the last batch has another shape."""
    fake = Fake()
    record, _ = measure(make_slices(5), by_batch, extent=Extent(repeats=2), pytorch=fake)
    found = record.lanes["pytorch"]
    assert fake.calls == 2 + 2 * 3
    assert len(found.unit_ms["box"]) == 6
    rows, columns = make_slices(1)[0].image.shape
    assert list(found.first_shape_ms) == [f"2×{rows}×{columns}", f"1×{rows}×{columns}"]
    assert all(milliseconds >= 0 for milliseconds in found.first_shape_ms.values())


def test_a_window_takes_its_share_of_the_network_time() -> None:
    fake = Fake()
    plain = fake.process

    def windowed(unit: Unit) -> Outcome:
        outcome = plain(unit)
        return replace(outcome, own_ms={"box": {"infer": 12.0, "postprocess": 5.0}}, windows=4)

    fake.process = windowed  # type: ignore[method-assign]
    record, _ = measure(make_slices(2), pytorch=fake)
    assert record.lanes["pytorch"].window_ms == {"box": [3.0, 3.0]}


def test_label_maps_lie_at_the_place_of_their_slice() -> None:
    chosen = make_slices(6, empty=(0, 3), first=40)
    _, predictions = measure(chosen, pytorch=Fake())
    assert np.array_equal(predictions["box"]["pytorch"], reference(chosen))
    assert predictions["box"]["pytorch"].dtype == np.uint8


def test_batches_are_laid_out_slice_by_slice() -> None:
    chosen = make_slices(5)
    record, predictions = measure(chosen, by_batch, pytorch=Fake())
    assert np.array_equal(predictions["box"]["pytorch"], reference(chosen))
    assert record.slices == 5
    assert len(record.lanes["pytorch"].unit_ms["box"]) == 3


def test_what_a_later_pass_answers_does_not_replace_the_first() -> None:
    chosen = make_slices(2)
    fake = Fake()
    fake.answer = lambda label: label if fake.calls <= 3 else np.zeros_like(label)
    record, predictions = measure(chosen, extent=Extent(repeats=2), pytorch=fake)
    assert np.array_equal(predictions["box"]["pytorch"], reference(chosen))
    assert record.lanes["pytorch"].dice["box"] == {"organ": 1.0, "tumour": 1.0}


def test_dice_is_against_the_labels_and_parity_against_the_reference_backend() -> None:
    chosen = make_slices()
    record, _ = measure(chosen, pytorch=Fake(without_tumour), onnxruntime=Fake())
    ours, theirs = record.lanes["pytorch"], record.lanes["onnxruntime"]
    assert ours.dice == {"box": {"organ": 1.0, "tumour": 0.0}}
    assert ours.parity == {"box": {"organ": 1.0, "tumour": None}}
    assert theirs.dice == {"box": {"organ": 1.0, "tumour": 1.0}}
    assert theirs.parity == {"box": {"organ": 1.0, "tumour": None}}  # the reference backend found no tumour


def test_dice_is_over_the_whole_case_and_not_a_mean_of_slices() -> None:
    chosen = make_slices()
    wanted = reference(chosen) == 1
    shifted = np.stack([np.roll(piece.label, 1, axis=0) for piece in chosen]) == 1
    record, _ = measure(chosen, pytorch=Fake(lambda label: np.roll(label, 1, axis=0)))
    expected = 2 * np.count_nonzero(wanted & shifted) / (np.count_nonzero(wanted) + np.count_nonzero(shifted))
    assert record.lanes["pytorch"].dice["box"]["organ"] == pytest.approx(expected, abs=1e-6)


def test_surfaces_are_measured_in_millimetres_where_a_scale_is_given() -> None:
    label = np.zeros((6, 8, 8), np.uint8)
    label[2:4, 2:6, 2:6] = 1
    chosen = [Slice("c1", k, np.zeros((8, 8), np.float32), plane, (1.0, 1.0)) for k, plane in enumerate(label)]

    def one_column_further(plane: np.ndarray) -> np.ndarray:
        return np.roll(plane, 1, axis=1)

    lanes = {"pytorch": lane(Fake()), "onnxruntime": lane(Fake(one_column_further))}
    scale = Scale((5.0, 1.0, 0.5), tolerance_mm=0.4)
    record, _ = measure_case(
        "c1", lanes, chosen, lambda: by_slice(chosen), ("box",), LABELS, ONCE, lambda share: None, scale
    )
    ours, theirs = record.lanes["pytorch"], record.lanes["onnxruntime"]
    assert (ours.nsd, ours.hd95_mm) == (
        {"box": {"organ": 1.0, "tumour": None}},
        {"box": {"organ": 0.0, "tumour": None}},
    )
    assert theirs.hd95_mm["box"]["organ"] == pytest.approx(0.5)
    assert 0 < (theirs.nsd["box"]["organ"] or 0) < 1
    plain, _ = measure(make_slices(), pytorch=Fake())
    assert (plain.lanes["pytorch"].nsd, plain.lanes["pytorch"].hd95_mm) == ({}, {})


def test_without_the_reference_backend_there_is_no_parity() -> None:
    record, _ = measure(make_slices(), onnxruntime=Fake())
    assert record.lanes["onnxruntime"].parity == {}
    assert record.lanes["onnxruntime"].dice["box"]["organ"] == 1.0


@pytest.mark.parametrize("at", [0, 2])
def test_a_backend_that_fails_gives_nothing_and_the_other_is_whole(at: int) -> None:
    chosen = make_slices()
    record, predictions = measure(chosen, pytorch=Fake(), onnxruntime=Fake(fails_at=at))
    broken, whole = record.lanes["onnxruntime"], record.lanes["pytorch"]
    assert broken.failed == "RuntimeError: no memory"
    assert (broken.unit_ms, broken.volume_ms, broken.phase_ms, broken.dice, broken.parity) == ({}, {}, {}, {}, {})
    assert broken.load_ms == 7.0 and set(broken.attestation) == {"encoder"}
    assert whole.failed is None
    assert whole.unit_ms == {"box": [13.0] * 5}
    assert whole.dice["box"]["organ"] == 1.0
    assert list(predictions["box"]) == ["pytorch"]
    # Throughput is made of it: what the other backend did not do must not make this one slower.
    assert record.slices == 5


def test_a_reference_backend_that_fails_takes_the_parity_with_it() -> None:
    record, predictions = measure(make_slices(), pytorch=Fake(fails_at=1), onnxruntime=Fake())
    assert record.lanes["onnxruntime"].failed is None
    assert record.lanes["onnxruntime"].parity == {}
    assert list(predictions["box"]) == ["onnxruntime"]


def test_effort_is_that_of_one_pass_of_each_backend_and_objects_are_pairs_of_slice_and_label() -> None:
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

    lanes = {"pytorch": Clicking(2), "onnxruntime": Clicking(3)}
    record, _ = measure(make_slices(4), prompted, Extent(repeats=3, warmup=1), **lanes)
    assert record.lanes["pytorch"].effort == {"box": Recorded(clicks=8, boxes=2, objects=8)}
    assert record.lanes["onnxruntime"].effort == {"box": Recorded(clicks=12, boxes=2, objects=8)}
    assert CaseRecord.model_validate_json(record.model_dump_json()) == record
    plain, _ = measure(make_slices(2), pytorch=Fake())
    assert plain.lanes["pytorch"].effort == {}, "a stage without prompts has none"


def test_a_backend_that_fails_in_a_later_pass_gets_no_further_turn() -> None:
    fake = Fake(fails_at=3)
    record, _ = measure(make_slices(2), extent=Extent(repeats=4), pytorch=Fake(), onnxruntime=fake)
    assert fake.calls == 4
    assert record.lanes["onnxruntime"].failed
    assert (record.slices, record.repeats) == (2, 4)
    assert len(record.lanes["pytorch"].unit_ms["box"]) == 8


def test_slices_without_an_organ_are_not_counted_as_worked_on() -> None:
    record, _ = measure(make_slices(6, empty=(0, 3)), pytorch=Fake(), onnxruntime=Fake())
    assert record.slices == 4


@pytest.mark.parametrize("chosen", [make_slices(3, empty=(0, 1, 2)), []])
def test_a_case_without_the_organ_is_recorded_with_nothing_measured(chosen: list[Slice]) -> None:
    """Never a time of 0 ms, and no error where `data.slices` chooses none."""
    record, predictions = measure(chosen, pytorch=Fake())
    found = record.lanes["pytorch"]
    assert record.slices == 0
    assert (found.unit_ms, found.volume_ms, found.phase_ms) == ({}, {}, {})
    assert found.dice == {"box": {"organ": None, "tumour": None}}
    assert found.failed is None
    assert len(predictions["box"]["pytorch"]) == len(chosen)
    assert CaseRecord.model_validate_json(record.model_dump_json()) == record


def test_progress_adds_up_to_the_share_of_slices_that_hold_something() -> None:
    shares: list[float] = []
    extent = Extent(repeats=2)
    measure(make_slices(4), extent=extent, on_progress=shares.append, pytorch=Fake(), onnxruntime=Fake())
    assert sum(shares) == pytest.approx(1.0)
    assert all(share > 0 for share in shares) and len(shares) == 16


def passes(record: CaseRecord) -> tuple[int, int]:
    return record.repeats, len(record.lanes["pytorch"].unit_ms["box"])


def test_passes_are_added_until_there_are_samples_enough() -> None:
    fakes = {"pytorch": Fake(), "onnxruntime": Fake()}
    record, _ = measure(make_slices(5), extent=Extent(samples=12, budget_s=600), **fakes)
    assert passes(record) == (3, 15)
    assert [len(found.volume_ms["box"]) for found in record.lanes.values()] == [3, 3]
    assert record.slices == 5
    enough, _ = measure(make_slices(5), extent=Extent(samples=5, budget_s=600), pytorch=Fake())
    assert passes(enough) == (1, 5)


def test_no_further_pass_begins_after_the_budget_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 10))  # ten seconds a look
    monkeypatch.setattr(measured.time, "monotonic", lambda: float(next(clock)))
    record, _ = measure(make_slices(2), extent=Extent(samples=999, budget_s=35), pytorch=Fake())
    assert passes(record) == (3, 6)


def test_the_repeats_asked_for_are_made_whatever_the_budget() -> None:
    record, _ = measure(make_slices(2), extent=Extent(repeats=3, samples=1, budget_s=0), pytorch=Fake())
    assert passes(record) == (3, 6)


def test_a_case_without_work_is_not_passed_over_again_and_again() -> None:
    calls: list[int] = []

    def none(chosen: Sequence[Slice]) -> Iterator[Unit]:
        calls.append(1)
        return iter(())

    measure(make_slices(2), none, Extent(samples=64, budget_s=600), pytorch=Fake())
    assert len(calls) == 1


def test_when_every_backend_failed_the_case_ends() -> None:
    record, predictions = measure(make_slices(2), extent=Extent(samples=64, budget_s=600), pytorch=Fake(fails_at=0))
    assert record.lanes["pytorch"].failed
    assert predictions == {"box": {}}


def test_samples_and_budget_are_shared_evenly_among_the_cases_and_never_too_few() -> None:
    measure_spec = MeasureSpec(repeats=2, samples=64, budget_s=60, warmup=3, pause_ms=5)
    extent = Extent.of_case(measure_spec, 6)
    assert extent == Extent(repeats=2, samples=11, budget_s=10.0, warmup=3, pause_s=0.005)
    assert 6 * extent.samples >= 64
    assert Extent.of_case(measure_spec, 1).samples == 64
