from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from benchmark.data.volume import load_volume
from benchmark.plan import PlannedTask, chosen_slices, make_group, plan_lanes, plan_tasks
from benchmark.spec import Spec
from benchmark.supervision import LabelStore, Supervision, train_on
from tests.benchmark.conftest import MakeTask

# Stored as (superior, left, posterior) and oblique by a hair: neither RAS nor LPS order.
AFFINE = np.array([[0, -2.0, 0.01, 7], [0, 0.01, -3.0, 8], [4.0, 0, 0, 9], [0, 0, 0, 1]])
SHAPE = (6, 4, 5)


@pytest.fixture
def folder(make_task: MakeTask) -> Path:
    rng = np.random.default_rng(0)
    image = rng.integers(-200, 300, SHAPE).astype(np.int16)
    label = rng.integers(0, 3, SHAPE).astype(np.uint8)
    label[2] = 0  # an axial slice without any label
    return make_task(image=image, label=label, affine=AFFINE, cases=("case_1", "case_2", "case_3", "case_4"))


def plan(folder: Path, unet: Mapping[str, Any] | None = None, **changes: Any) -> tuple[Spec, PlannedTask]:
    data = {"root": folder.parent, "tasks": [folder.name], **changes.pop("data", {})}
    spec = Spec.model_validate({"name": "run", "data": data, "unet": unet or {}, **changes})
    return spec, plan_tasks(spec)[0]


def make_store(run_dir: Path, spec: Spec, planned: PlannedTask, checkpoint: str = "a") -> LabelStore:
    group = make_group(
        spec, "pseudolabel", planned, "m", ("box",), "cpu", plan_lanes(spec), planned.cases, {"checkpoint": checkpoint}
    )
    return LabelStore(run_dir, group)


def guesses(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, (count, 5, 4)).astype(np.uint8)


def test_pseudo_labels_are_written_in_the_images_own_grid(folder: Path, tmp_path: Path) -> None:
    spec, planned = plan(folder)
    files = planned.cases[0]
    volume = load_volume(planned.task, files)
    chosen = chosen_slices(volume, spec)
    store = make_store(tmp_path / "run", spec, planned)
    maps = np.stack([piece.label for piece in chosen])
    store.save(volume, chosen, {"box": {"pytorch": maps}})
    # A perfect prediction, so the file must equal the reference voxel for voxel, without any knowledge of LPS here.
    written, reference = nib.load(store.path("box", "case_1")), nib.load(files.label)
    assert np.array_equal(np.asarray(written.dataobj), np.asarray(reference.dataobj))
    assert np.allclose(written.affine, nib.load(files.image).affine, atol=1e-6)
    assert written.get_data_dtype() == np.uint8


def test_slices_that_were_not_chosen_hold_no_label(folder: Path, tmp_path: Path) -> None:
    spec, planned = plan(folder, data={"slices": 2})
    volume = load_volume(planned.task, planned.cases[0])
    chosen = chosen_slices(volume, spec)
    store = make_store(tmp_path / "run", spec, planned)
    store.save(volume, chosen, {"box": {"pytorch": np.ones((2, 5, 4), np.uint8)}})
    stored = np.asarray(nib.load(store.path("box", "case_1")).dataobj)
    assert sorted(np.flatnonzero(stored.any(axis=(1, 2)))) == [piece.index for piece in chosen]
    assert np.count_nonzero(stored) == 2 * 5 * 4


def test_the_reference_backends_masks_are_learned_from_else_the_first_ones(folder: Path, tmp_path: Path) -> None:
    spec, planned = plan(folder)
    volume = load_volume(planned.task, planned.cases[0])
    chosen = chosen_slices(volume, spec)
    store = make_store(tmp_path / "run", spec, planned)
    ours, theirs = np.full((6, 5, 4), 1, np.uint8), np.full((6, 5, 4), 2, np.uint8)

    def stored(predictions: dict[str, np.ndarray]) -> set[int]:
        store.save(volume, chosen, {"box": predictions})
        return set(np.unique(np.asarray(nib.load(store.path("box", "case_1")).dataobj)).tolist())

    assert stored({"onnxruntime": theirs, "pytorch": ours}) == {1}
    assert stored({"onnxruntime": theirs}) == {2}
    # Labels are better learned from full precision, whichever lane stands first.
    assert stored({"onnxruntime int8": ours, "onnxruntime": theirs}) == {2}
    assert stored({"onnxruntime int8": ours, "onnxruntime fp16": theirs}) == {1}


def test_where_every_backend_failed_no_label_file_is_left(folder: Path, tmp_path: Path) -> None:
    spec, planned = plan(folder)
    volume = load_volume(planned.task, planned.cases[0])
    store = make_store(tmp_path / "run", spec, planned)
    store.save(volume, chosen_slices(volume, spec), {"box": {}})
    assert not store.path("box", "case_1").exists()


def test_a_unet_sees_the_pseudo_labels_on_the_very_slices_they_belong_to(folder: Path, tmp_path: Path) -> None:
    spec, planned = plan(folder)
    files = planned.cases[0]
    volume = load_volume(planned.task, files)
    chosen = chosen_slices(volume, spec)
    store = make_store(tmp_path / "run", spec, planned)
    maps = guesses(6)
    store.save(volume, chosen, {"box": {"pytorch": maps}})
    images, labels = Supervision(planned, "box", store, spec, tmp_path).job.arrays(files)
    assert np.array_equal(labels, maps)
    assert np.allclose(images[:, 0], np.stack([piece.image for piece in chosen]) / 255)
    assert (images.dtype, labels.dtype) == (np.float32, np.uint8)


def test_full_supervision_sees_the_reference_labels_though_there_are_pseudo_labels(
    folder: Path, tmp_path: Path
) -> None:
    spec, planned = plan(folder)
    files = planned.cases[0]
    volume = load_volume(planned.task, files)
    chosen = chosen_slices(volume, spec)
    store = make_store(tmp_path / "run", spec, planned)
    store.save(volume, chosen, {"box": {"pytorch": guesses(6)}})
    for stored in (store, None):
        images, labels = Supervision(planned, "reference", stored, spec, tmp_path).job.arrays(files)
        assert np.array_equal(labels, np.stack([piece.label for piece in chosen]))
        assert np.allclose(images[:, 0], np.stack([piece.image for piece in chosen]) / 255)


def test_with_a_limit_only_the_chosen_slices_are_learned_from(folder: Path, tmp_path: Path) -> None:
    spec, planned = plan(folder, data={"slices": 2})
    files = planned.cases[0]
    volume = load_volume(planned.task, files)
    chosen = chosen_slices(volume, spec)
    store = make_store(tmp_path / "run", spec, planned)
    maps = guesses(2)
    store.save(volume, chosen, {"box": {"pytorch": maps}})
    images, labels = Supervision(planned, "box", store, spec, tmp_path).job.arrays(files)
    assert (images.shape, labels.shape) == ((2, 1, 5, 4), (2, 5, 4))
    assert np.array_equal(labels, maps)


def test_a_case_without_any_label_adds_no_slice_and_is_no_error(make_task: MakeTask, tmp_path: Path) -> None:
    folder = make_task(label=np.zeros((4, 5, 6), np.uint8), cases=("case_1", "case_2"))
    spec, planned = plan(folder, data={"slices": 2})
    images, labels = Supervision(planned, "reference", None, spec, tmp_path).job.arrays(planned.cases[0])
    assert (images.shape, labels.shape) == ((0, 1, 5, 4), (0, 5, 4))


@pytest.mark.parametrize(
    "changes",
    [
        {"unet": {"epochs": 3}},
        {"unet": {"batch_size": 3}},
        {"unet": {"learning_rate": 1e-4}},
        {"unet": {"patch": [64, 64]}},
        {"unet": {"channels": [8, 16, 32, 64]}},
        {"unet": {"strides": [2, 2, 1]}},
        {"unet": {"res_units": 1}},
        {"unet": {"validate_every": 2}},
        {"unet": {"windows_per_case": 2}},
        {"unet": {"spacing": [1, 1, 1], "patch": [16, 16, 16]}},
        {"unet": {"amp": False}},
        {"unet": {"test_share": 0.67}},
        {"unet": {"validation_share": 0}},
        {"data": {"seed": 1}},
        {"data": {"slices": 2}},
        {"data": {"cases": 2}},
    ],
)
def test_what_could_change_the_weights_is_trained_again(folder: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    keys = set()
    for spec, planned in (plan(folder), plan(folder, **changes)):
        keys.add(Supervision(planned, "reference", None, spec, tmp_path).key)
    assert len(keys) == 2


@pytest.mark.parametrize(
    "changes",
    [{"name": "other"}, {"unet": {"overlap": 0.5}}, {"unet": {"windows_per_batch": 2}}, {"devices": ["cuda"]}],
)
def test_what_only_concerns_measuring_is_not_trained_again(
    folder: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    keys = set()
    for spec, planned in (plan(folder), plan(folder, **changes)):
        keys.add(Supervision(planned, "reference", None, spec, tmp_path).key)
    assert len(keys) == 1


def test_weights_depend_on_what_the_pseudo_labels_hold(folder: Path, tmp_path: Path) -> None:
    spec, planned = plan(folder)
    one, two = (make_store(tmp_path, spec, planned, checkpoint) for checkpoint in "ab")
    assert Supervision(planned, "box", one, spec, tmp_path).missing == [
        files.case for files in (*planned.train, *planned.validation)
    ], "who validates needs pseudo labels too"
    for number, store in enumerate((one, two)):
        for strategy in ("box", "point"):
            for files in (*planned.train, *planned.validation):
                path = store.path(strategy, files.case)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"{number} {strategy}", encoding="utf-8")
    assert Supervision(planned, "box", one, spec, tmp_path).missing == []
    keys = {
        Supervision(planned, labels, store, spec, tmp_path).key
        for labels, store in [("box", one), ("box", two), ("point", one), ("reference", one)]
    }
    assert len(keys) == 4
    # The reference labels are the same whichever SAM ran.
    assert len({Supervision(planned, "reference", store, spec, tmp_path).key for store in (one, two, None)}) == 1


def test_a_changed_training_case_is_trained_on_again_and_a_changed_test_case_is_not(
    folder: Path, tmp_path: Path
) -> None:
    spec, planned = plan(folder)

    def key() -> str:
        return Supervision(planned, "reference", None, spec, tmp_path).key

    def change(path: Path) -> None:
        stored = nib.load(path)
        voxels = np.asarray(stored.dataobj).copy()
        voxels[0, 0, 0] = 1 - voxels[0, 0, 0]
        nib.save(nib.Nifti1Image(voxels, stored.affine), path)

    before = key()
    change(planned.test[0].label)
    assert key() == before
    for cases in (planned.train, planned.validation):
        os.utime(cases[0].label, ns=(0, 0))
        assert key() == before, "the content counts, and not when it was written"
        change(cases[0].label)
        assert key() != before
        before = key()


TINY = {"epochs": 2, "patch": [16, 16], "channels": [4, 8], "strides": [2], "res_units": 0, "batch_size": 4}


def test_a_finished_training_is_taken_up_and_a_damaged_one_is_repeated(folder: Path, tmp_path: Path) -> None:
    spec, planned = plan(folder, unet=TINY)
    source = Supervision(planned, "reference", None, spec, tmp_path / "run")
    told: list[float] = []

    def train() -> tuple[Path, Any]:
        told.clear()
        return train_on(source, lambda epochs, note: told.extend([epochs] if epochs else []))  # reading is told too

    checkpoint, first = train()
    assert told == [1, 1]
    assert first.cases == [files.case for files in planned.train]
    assert first.validation_cases == [files.case for files in planned.validation] != []
    assert [found.epoch for found in first.validation] == [2] and first.best_epoch == 2
    assert (first.device, first.amp) == ("cpu", False)
    assert (first.slices, first.epochs, len(first.loss), first.labels) == (12, 2, 2, "reference")
    assert all(np.isfinite(first.loss))
    assert not list((tmp_path / "run" / "scratch").iterdir())
    written = checkpoint.stat().st_mtime_ns
    again, second = train()
    assert (again, second, told) == (checkpoint, first, [2])
    assert checkpoint.stat().st_mtime_ns == written
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    _, third = train()
    assert told == [1, 1]
    assert third.loss == first.loss
