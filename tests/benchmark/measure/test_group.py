from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.data.slices import Slice
from benchmark.data.volume import Volume
from benchmark.errors import InputError
from benchmark.lanes import Lane
from benchmark.measure import group as measured
from benchmark.measure.group import Work, measure_group
from benchmark.plan import Group, make_group, plan_lanes, plan_tasks
from benchmark.records import CaseRecord, RecordStore
from benchmark.spec import Spec
from benchmark.stages.base import Outcome, Unit
from tests.benchmark.conftest import MakeTask

CASES = ("case_1", "case_2", "case_3")


class Perfect:
    """A pipeline that answers with the reference label, and notes what it was asked; `broken` cases fail."""

    def __init__(self, seen: list[str], broken: set[str]) -> None:
        self.seen, self.broken = seen, broken

    def process(self, unit: Unit) -> Outcome:
        (piece,) = unit.slices
        if piece.case not in self.seen:
            self.seen.append(piece.case)
        if piece.case in self.broken:
            raise RuntimeError("no memory")
        return Outcome({"box": piece.label[None]}, {"encode": 2.0}, {"box": {"decode": 1.0}})


def by_slice(volume: Volume, chosen: Sequence[Slice]) -> Iterator[Unit]:
    assert all(piece.case == volume.case for piece in chosen), "prompts are derived from the case's own volume"
    return (Unit((piece,), {}) for piece in chosen if piece.label.any())


class Bench:
    """A group of three tiny cases whose lanes are fakes."""

    def __init__(self, run_dir: Path, group: Group, spec: Spec) -> None:
        self.run_dir, self.group, self.spec = run_dir, group, spec
        self.seen: list[str] = []
        self.broken: set[str] = set()
        self.opened = 0
        self.progress = 0.0
        self.work = Work({}, lambda runners: Perfect([], set()), by_slice, group.planned.task.labels)

    @contextmanager
    def open_lanes(self, *_: Any) -> Iterator[Mapping[str, Lane]]:
        self.opened += 1
        yield {
            "pytorch": Lane(Perfect(self.seen, set()), {}, 1.0),
            "onnxruntime": Lane(Perfect([], self.broken), {}, 1.0),
        }

    def measure(self, **changes: Any) -> list[CaseRecord]:
        self.seen.clear()
        self.progress = 0.0
        return measure_group(self.run_dir, self.group, replace(self.work, **changes), self.spec, self._advance)

    def _advance(self, cases: float) -> None:
        self.progress += cases

    @property
    def records(self) -> list[str]:
        return sorted(path.name for path in (self.run_dir / "records" / self.group.folder).glob("*"))


def make_bench(folder: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    spec = Spec.model_validate(
        {
            "name": "run",
            "data": {"root": folder.parent, "tasks": [folder.name]},
            "measure": {"warmup": 0, "pause_ms": 0, "threads": 1, "samples": 1},
        }
    )
    (planned,) = plan_tasks(spec)
    group = make_group(spec, "pseudolabel", planned, "m", ("box",), "cpu", plan_lanes(spec), planned.cases, {})
    made = Bench(run_dir, group, spec)
    monkeypatch.setattr(measured, "open_lanes", made.open_lanes)
    return made


@pytest.fixture
def bench(make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    folder = make_task(cases=CASES)
    return make_bench(folder, tmp_path / "run", monkeypatch)


def test_every_case_is_measured_in_order_and_recorded(bench: Bench) -> None:
    records = bench.measure()
    assert [record.case for record in records] == bench.seen == list(CASES)
    assert bench.records == [f"{case}.json" for case in CASES]
    assert bench.opened == 1  # loading is slow: once for all cases
    for record in records:
        assert record.lanes["onnxruntime"].unit_ms == {"box": [3.0] * 4}  # two of six slices are empty
        assert record.lanes["onnxruntime"].dice["box"] == {"organ": 1.0, "tumour": 1.0}
    assert bench.progress == pytest.approx(3)


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
    millimetres: float,
) -> None:  # fmt: skip
    """Voxels of 2 × 3 × 4 mm: a row further is 3 mm, a column 2 mm, a slice too few 4 mm."""
    label = np.zeros((4, 5, 6), np.uint8)
    label[1:3, 1:3, 2:5] = 1
    bench = make_bench(make_task(label=label), tmp_path / "run", monkeypatch)
    monkeypatch.setattr(
        Perfect, "process", lambda self, unit: Outcome({"box": answer(unit.slices[0])[None]}, {"encode": 2.0}, {})
    )
    (record,) = bench.measure()
    found = record.lanes["pytorch"]
    assert found.hd95_mm["box"] == {"organ": pytest.approx(millimetres), "tumour": None}
    # 3 mm are the tolerance of a task that the Decathlon does not know.
    assert found.nsd["box"]["organ"] is not None and (found.nsd["box"]["organ"] == 1.0) == (millimetres <= 3.0)


def test_what_is_recorded_is_read_and_no_backend_is_loaded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bench.measure()

    def refuse(*_: Any) -> None:
        raise AssertionError("nothing is left to measure")

    monkeypatch.setattr(measured, "open_lanes", refuse)
    assert bench.measure() == first
    assert bench.progress == 3


def test_only_missing_and_damaged_cases_are_measured(bench: Bench) -> None:
    first = bench.measure()
    folder = bench.run_dir / "records" / bench.group.folder
    (folder / "case_2.json").write_bytes(b"\xff half a rec")
    second = bench.measure()
    assert bench.seen == ["case_2"]
    assert [record.case for record in second] == list(CASES)
    assert second[0] == first[0] and second[2] == first[2]
    assert bench.progress == pytest.approx(3)


def test_a_case_in_which_a_backend_failed_is_told_now_and_redone_next_time(bench: Bench) -> None:
    bench.broken = {"case_2"}
    records = bench.measure()
    assert [record.lanes["onnxruntime"].failed for record in records] == [None, "RuntimeError: no memory", None]
    assert all(record.lanes["pytorch"].failed is None for record in records)
    assert bench.progress == pytest.approx(3)
    bench.broken = set()
    records = bench.measure()
    assert bench.seen == ["case_2"]
    assert [record.lanes["onnxruntime"].failed for record in records] == [None, None, None]


def test_a_case_is_saved_before_the_next_one_is_begun(bench: Bench) -> None:
    (bench.group.cases[1].image).write_bytes(b"no scan")
    with pytest.raises(InputError, match=r"case_2\.nii\.gz"):
        bench.measure()
    assert bench.records == ["case_1.json"]


def test_the_label_maps_are_handed_on_before_the_record_is_there(bench: Bench) -> None:
    told: list[tuple[str, bool]] = []
    store = RecordStore(bench.run_dir / "records" / bench.group.folder)

    def on_case(volume: Any, chosen: Sequence[Slice], predictions: Any) -> None:
        told.append((volume.case, store.load(volume.case) is None))
        assert np.array_equal(predictions["box"]["pytorch"], np.stack([piece.label for piece in chosen]))
        assert set(predictions["box"]) == {"pytorch", "onnxruntime"}

    bench.measure(on_case=on_case)
    assert told == [(case, True) for case in CASES]


def test_a_crash_while_the_labels_are_written_leaves_no_record_that_implies_them(bench: Bench) -> None:
    def full_disk(volume: Any, *_: Any) -> None:
        if volume.case == "case_2":
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        bench.measure(on_case=full_disk)
    assert bench.records == ["case_1.json"]
    bench.measure()
    assert bench.seen == ["case_2", "case_3"]


def test_pictures_are_made_of_the_first_cases_alone(bench: Bench) -> None:
    records = bench.measure()
    assert [bool(record.pictures) for record in records] == [True, True, False]
    for picture in (picture for record in records for picture in record.pictures):
        for path in (picture.image, picture.reference, *picture.predictions.values()):
            assert (bench.run_dir / path).is_file()


def test_a_resumed_run_has_the_same_pictures(bench: Bench) -> None:
    first = bench.measure()
    for name in bench.records[1:]:
        (bench.run_dir / "records" / bench.group.folder / name).unlink()
    assert [record.pictures for record in bench.measure()] == [record.pictures for record in first]


def test_another_key_takes_up_nothing(bench: Bench) -> None:
    bench.measure()
    bench.group = replace(bench.group, key="f" * 64)
    bench.measure()
    assert bench.seen == list(CASES)


def test_a_case_without_the_organ_does_not_end_the_run(make_task: MakeTask, bench: Bench) -> None:
    """With `data.slices` no slice is chosen of it; it used to be an IndexError."""
    make_task(label=np.zeros((4, 5, 6), np.uint8), cases=CASES)
    bench.spec = bench.spec.model_copy(update={"data": bench.spec.data.model_copy(update={"slices": 2})})
    records = bench.measure()
    assert [record.slices for record in records] == [0, 0, 0]
    assert bench.progress == pytest.approx(3)
    assert bench.measure() == records


def test_the_samples_of_the_specification_are_those_of_all_cases_together(bench: Bench) -> None:
    """Three cases of four units: four passes each make 48 samples, the fewest that reach 40 in equal shares."""
    bench.spec = bench.spec.model_copy(update={"measure": bench.spec.measure.model_copy(update={"samples": 40})})
    records = bench.measure()
    assert [record.repeats for record in records] == [4, 4, 4]
    assert bench.progress == pytest.approx(3)


def test_memory_does_not_grow_with_the_number_of_cases(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole Decathlon task does not fit into memory; one case at a time does."""
    label = np.zeros((48, 48, 40), dtype=np.uint8)
    label[8:40, 8:40] = 1
    image = np.random.default_rng(0).integers(-100, 200, label.shape).astype(np.int16)

    def peak(count: int) -> int:
        folder = make_task(f"Task{count:02d}", image=image, label=label, cases=tuple(f"c{n}" for n in range(count)))
        made = make_bench(folder, tmp_path / f"run{count}", monkeypatch)
        tracemalloc.start()
        try:
            made.measure()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # the first pass imports and caches
    assert peak(8) <= 1.1 * peak(2)
