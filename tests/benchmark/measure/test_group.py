"""A group: every case measured once, recorded, and not measured again."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.data.slices import Slice
from benchmark.errors import InputError
from benchmark.records import RecordStore
from benchmark.stages.base import Outcome
from tests.benchmark.conftest import MakeTask
from tests.benchmark.measure.fake_group import CASES, FakeGroup, Perfect, make_group
from tests.benchmark.measure.fake_lanes import FakeLanes


@pytest.fixture
def group(make_task: MakeTask, tmp_path: Path, lanes: FakeLanes) -> FakeGroup:
    return make_group(make_task(cases=CASES), tmp_path / "run", lanes)


def test_every_case_is_measured_in_order_and_recorded(group: FakeGroup) -> None:
    records = group.measure()
    assert [record.case for record in records] == group.seen["pytorch"] == list(CASES)
    assert group.files == [f"{case}.json" for case in CASES]
    assert group.lanes.loaded == ["pytorch", "onnxruntime"]  # loading is slow: once for all cases
    for record in records:
        assert record.lanes["onnxruntime"].unit_ms == {"box": [3.0] * 4}  # two of six slices are empty
        assert record.lanes["onnxruntime"].pairs == {"box": [(3.0, 3.0)] * 4}
        assert record.lanes["onnxruntime"].dice["box"] == {"organ": 1.0, "tumour": 1.0}
    assert group.progress == pytest.approx(3)


@pytest.mark.parametrize(
    ("answer", "millimetres"),
    [
        (lambda piece: np.roll(piece.label, 1, axis=0), 3.0),
        (lambda piece: np.roll(piece.label, 1, axis=1), 2.0),
        (lambda piece: piece.label * (piece.index != 4), 4.0),
    ],
)
def test_surfaces_are_scaled_by_the_volumes_own_spacing(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[[Slice], Any],
    millimetres: float, lanes: FakeLanes,
) -> None:  # fmt: skip
    """Voxels of 2 × 3 × 4 mm: a row further is 3 mm, a column 2 mm, a slice too few 4 mm."""
    label = np.zeros((4, 5, 6), np.uint8)
    label[1:3, 1:3, 2:5] = 1
    group = make_group(make_task(label=label), tmp_path / "run", lanes)
    monkeypatch.setattr(
        Perfect, "process", lambda self, unit: Outcome({"box": answer(unit.slices[0])[None]}, {"encode": 2.0}, {})
    )
    (record,) = group.measure()
    found = record.lanes["pytorch"]
    assert found.hd95_mm["box"] == {"organ": pytest.approx(millimetres), "tumour": None}
    # 3 mm are the tolerance of a task that the Decathlon does not know.
    assert found.nsd["box"]["organ"] is not None and (found.nsd["box"]["organ"] == 1.0) == (millimetres <= 3.0)


def test_what_is_recorded_is_read_and_no_worker_is_started(group: FakeGroup, monkeypatch: pytest.MonkeyPatch) -> None:
    first = group.measure()

    def refuse(*_: Any) -> None:
        raise AssertionError("nothing is left to measure")

    monkeypatch.setattr("benchmark.measure.bench.Worker", refuse)
    assert group.measure() == first
    assert group.progress == 3


def test_only_missing_and_damaged_cases_are_measured(group: FakeGroup) -> None:
    first = group.measure()
    (group.folder / "case_2.json").write_bytes(b"\xff half a rec")
    second = group.measure()
    assert group.seen == {"pytorch": ["case_2"], "onnxruntime": ["case_2"]}
    assert [record.case for record in second] == list(CASES)
    assert second[0] == first[0] and second[2] == first[2]
    assert group.progress == pytest.approx(3)


def test_a_case_is_saved_before_the_next_one_is_begun(group: FakeGroup) -> None:
    group.group.cases[1].image.write_bytes(b"no scan")
    with pytest.raises(InputError, match=r"case_2\.nii\.gz"):
        group.measure()
    assert group.files == ["case_1.json"]


def test_the_label_maps_are_handed_on_before_the_record_is_there(group: FakeGroup) -> None:
    told: list[tuple[str, bool]] = []
    store = RecordStore(group.folder)

    def on_case(volume: Any, chosen: Sequence[Slice], predictions: Any) -> None:
        told.append((volume.case, store.load(volume.case) is None))
        assert np.array_equal(predictions["box"]["pytorch"], np.stack([piece.label for piece in chosen]))
        assert set(predictions["box"]) == {"pytorch", "onnxruntime"}

    group.measure(on_case=on_case)
    assert told == [(case, True) for case in CASES]


def test_a_crash_while_the_labels_are_written_leaves_no_record_that_implies_them(group: FakeGroup) -> None:
    def full_disk(volume: Any, *_: Any) -> None:
        if volume.case == "case_2":
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        group.measure(on_case=full_disk)
    assert group.files == ["case_1.json"]
    group.measure()
    assert group.seen["pytorch"] == ["case_2", "case_3"]


def test_a_case_whose_labels_are_gone_is_measured_again(group: FakeGroup) -> None:
    group.measure()
    told: list[str] = []
    group.measure(holds=lambda case: case != "case_3", on_case=lambda volume, *_: told.append(volume.case))
    assert group.seen["pytorch"] == told == ["case_3"]


def test_pictures_are_made_of_the_first_cases_alone(group: FakeGroup) -> None:
    records = group.measure()
    assert [bool(record.pictures) for record in records] == [True, True, False]
    for picture in (picture for record in records for picture in record.pictures):
        for path in (picture.image, picture.reference, *picture.predictions.values()):
            assert (group.run_dir / path).is_file()


def test_a_case_whose_picture_is_gone_is_measured_again(group: FakeGroup) -> None:
    (picture, *_), *_ = (record.pictures for record in group.measure())
    (group.run_dir / picture.image).unlink()
    group.measure()
    assert group.seen["pytorch"] == ["case_1"]


def test_pictures_are_of_test_cases_first_so_that_pseudo_labels_and_unet_share_a_slice(group: FakeGroup) -> None:
    planned = replace(group.group.planned, test=group.group.cases[2:])
    group.group = replace(group.group, planned=planned)
    assert [bool(record.pictures) for record in group.measure()] == [True, False, True]


def test_a_resumed_run_has_the_same_pictures(group: FakeGroup) -> None:
    first = group.measure()
    for name in group.files[1:]:
        (group.folder / name).unlink()
    assert [record.pictures for record in group.measure()] == [record.pictures for record in first]


def test_another_key_takes_up_nothing(group: FakeGroup) -> None:
    group.measure()
    group.group = replace(group.group, key="f" * 64)
    group.measure()
    assert group.seen["pytorch"] == list(CASES)


def test_a_case_without_the_organ_does_not_end_the_run(make_task: MakeTask, group: FakeGroup) -> None:
    """With `data.slices` no slice is chosen of it; it used to be an IndexError."""
    make_task(label=np.zeros((4, 5, 6), np.uint8), cases=CASES)
    group.spec = group.spec.model_copy(update={"data": group.spec.data.model_copy(update={"slices": 2})})
    records = group.measure()
    assert [record.slices for record in records] == [0, 0, 0]
    assert group.progress == pytest.approx(3)
    assert group.measure() == records


def test_the_samples_of_the_specification_are_those_of_all_cases_together(group: FakeGroup) -> None:
    """Three cases share 160 samples: 54 are a third of them, 107 are two. Fewer than 40 pairs would stop no case."""
    group.change(samples=160, budget_s=60)
    records = group.measure()
    assert [len(record.lanes["onnxruntime"].unit_ms["box"]) for record in records] == [54, 53, 53]
    assert group.progress == pytest.approx(3)


def test_starting_reading_and_scoring_are_told_apart_and_the_first_case_bears_the_start(group: FakeGroup) -> None:
    """So that the harness's own share of a run can be shown."""
    first, *others = (record.seconds for record in group.measure())
    assert first.starting > 0
    for seconds in others:
        assert seconds.starting == 0.0
    for seconds in (first, *others):
        assert seconds.data > 0 and seconds.scoring > 0
        assert 0 < seconds.busy <= seconds.wall + 1e-9


def test_memory_does_not_grow_with_the_number_of_cases(make_task: MakeTask, tmp_path: Path, lanes: FakeLanes) -> None:
    """A whole Decathlon task does not fit into memory; one case at a time does."""
    label = np.zeros((48, 48, 40), dtype=np.uint8)
    label[8:40, 8:40] = 1
    image = np.random.default_rng(0).integers(-100, 200, label.shape).astype(np.int16)

    def peak(count: int) -> int:
        folder = make_task(f"Task{count:02d}", image=image, label=label, cases=tuple(f"c{n}" for n in range(count)))
        made = make_group(folder, tmp_path / f"run{count}", lanes)
        tracemalloc.start()
        try:
            made.measure()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # the first pass imports and caches
    # The records stay. A case's label maps, a byte a voxel, do not, nor does its image.
    assert (peak(8) - peak(2)) / 6 < label.nbytes
