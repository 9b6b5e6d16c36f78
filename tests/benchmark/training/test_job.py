"""What a UNet is shown of a task: which labels, on which grid, in which set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from benchmark.data.msd import CaseFiles, open_task
from benchmark.data.volume import load_volume
from benchmark.errors import InputError
from benchmark.sections import TrainSpec
from benchmark.training.job import TrainingJob
from benchmark.training.labels import LabelSource, label_folder
from benchmark.training.split import Split, draw_cases, split_cases
from runners.device import Device
from tests.benchmark.training.conftest import CASES, write_pseudo_labels

TINY: dict[str, Any] = {"patch": (16, 16), "channels": (4, 8), "strides": (2,), "res_units": 0, "epochs": 2}
REFERENCE = LabelSource("reference")


def make_job(folder: Path, labels: LabelSource = REFERENCE, split: Split | None = None, **changes: Any) -> TrainingJob:
    task, spec = open_task(folder), TrainSpec(**{**TINY, **changes})
    made = split or split_cases(draw_cases(task.cases, 0), spec.test_share, spec.validation_share, False, "task")
    return TrainingJob(task, made, labels, spec, 0, Device("cpu"))


def case(folder: Path, name: str) -> CaseFiles:
    return next(files for files in open_task(folder).cases if files.case == name)


def test_a_2d_unet_sees_every_slice_in_its_own_grid(organ_task: Path) -> None:
    job = make_job(organ_task)
    files = case(organ_task, "case_2")
    image, label = job.arrays(files)
    volume = load_volume(job.task, files)
    assert (image.shape, label.shape) == ((6, 1, 20, 24), (6, 20, 24))
    assert np.array_equal(label, volume.label.T)
    assert np.allclose(image[:, 0], volume.image.T / 255)


def test_a_3d_unet_sees_the_volume_at_the_spacing_that_was_asked_for(organ_task: Path) -> None:
    job = make_job(organ_task, patch=(16, 16, 8), spacing=(4, 4, 4))
    image, label = job.arrays(case(organ_task, "case_2"))
    assert image.shape == (1, 1, 12, 10, 6) and label.shape == (1, 12, 10, 6)
    reference = np.asarray(nib.load(organ_task / "labelsTr" / "case_2.nii.gz").dataobj)
    # Of two voxels one is left along X and Y, so a quarter of each label's.
    for value in (1, 2):
        assert np.count_nonzero(label == value) == pytest.approx(np.count_nonzero(reference == value) / 4, rel=0.35)
    assert job.config.preprocessing.kind == "volumes"


def test_pseudo_labels_are_learned_and_validated_on(organ_task: Path, tmp_path: Path) -> None:
    """Who has weak supervision alone has no reference labels to choose an epoch by."""
    folder = write_pseudo_labels(organ_task, tmp_path / "pseudo", value=2)
    job = make_job(organ_task, label_folder(folder, open_task(organ_task).cases))
    for files in (*job.split.train, *job.split.validation):
        _, label = job.arrays(files)
        assert set(np.unique(label)) == {0, 2}
        assert np.count_nonzero(label) == 6 * 6 * 6
    training = job.run(tmp_path / "unet.pt", tmp_path / "scratch", lambda epochs, note: None)
    assert training.labels == "pseudo"
    assert any("against the pseudo labels of the validation cases" in note for note in training.notes)
    assert training.validation[-1].labels["organ"] is None, "the pseudo labels hold no organ"


def test_labels_without_a_voxel_are_refused_rather_than_learned(organ_task: Path, tmp_path: Path) -> None:
    folder = write_pseudo_labels(organ_task, tmp_path / "pseudo", value=0)
    job = make_job(organ_task, label_folder(folder, open_task(organ_task).cases))
    with pytest.raises(InputError, match="no training case holds any label of the task in the pseudo labels"):
        job.run(tmp_path / "unet.pt", tmp_path / "scratch", lambda epochs, note: None)
    assert not (tmp_path / "unet.pt").exists()


def test_values_that_are_not_among_the_labels_become_background(organ_task: Path) -> None:
    """Value 2 must not be taken for channel 2 where the network knows the tumour alone."""
    job = make_job(organ_task)
    from dataclasses import replace

    alone = replace(job, task=replace(job.task, labels={2: "tumour"}))
    _, both = job.arrays(job.split.train[0])
    _, label = alone.arrays(job.split.train[0])
    assert np.array_equal(label == 1, both == 2) and set(np.unique(label)) == {0, 1}


@pytest.mark.parametrize("changes", [{}, {"patch": (16, 16, 8)}])
def test_the_record_says_what_was_done_and_the_arrays_are_removed(
    organ_task: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    notes: list[str] = []
    job = make_job(organ_task, validate_every=1, windows_per_case=2, **changes)
    training = job.run(tmp_path / "unet.pt", tmp_path / "scratch", lambda epochs, note: notes.append(note))
    assert not (tmp_path / "scratch").exists()
    assert [files.case for files in job.split.train] == training.cases
    assert [files.case for files in job.split.validation] == training.validation_cases
    assert [found.epoch for found in training.validation] == [1, 2]
    best = max(training.validation, key=lambda found: (found.dice or 0, -found.epoch))
    assert training.best_epoch == best.epoch
    assert (training.epochs, len(training.loss), training.device, training.amp) == (2, 2, "cpu", False)
    assert training.model == ("unet-3d" if changes else "unet-2d")
    assert f"loss {training.loss[-1]:.3f}, validation Dice {training.validation[-1].dice:.3f}" == notes[-1]


def test_what_a_reader_must_know_of_the_split_stands_in_the_record(organ_task: Path, tmp_path: Path) -> None:
    cases = open_task(organ_task).cases
    for name, split, told in (
        ("same", Split(cases[:1], cases[:1], cases[:1], same_case=True), "on the same case"),
        ("none", Split(cases[:2], (), cases[2:]), "too few cases to validate, so the last epoch's weights were taken"),
    ):
        job = make_job(organ_task, split=split)
        training = job.run(tmp_path / f"{name}.pt", tmp_path / name, lambda epochs, note: None)
        assert any(told in note for note in training.notes), training.notes


# Folders of pseudo labels.


def test_labels_are_found_in_an_msd_task_and_in_a_plain_folder(organ_task: Path, tmp_path: Path) -> None:
    cases = open_task(organ_task).cases
    write_pseudo_labels(organ_task, tmp_path / "task" / "labelsTr", value=1)
    plain = write_pseudo_labels(organ_task, tmp_path / "plain", value=1)
    (plain / "case_1.nii.gz").unlink()
    nib.save(nib.load(plain / "case_2.nii.gz"), plain / "case_1.nii")
    for folder, home in ((tmp_path / "task", tmp_path / "task" / "labelsTr"), (plain, plain)):
        source = label_folder(folder, cases)
        assert source.files is not None
        assert set(source.files) == set(CASES)
        assert all(path.parent == home for path in source.files.values())
        assert (source.name, source.missing(cases)) == (folder.name, [])


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ('{"provenance": {"prompt": "box", "model": "litemedsam"}}', "box"),  # as `sambench label` writes it
        ('{"provenance": {"generator": "somebody"}}', "pseudo"),
        ('{"provenance": 3}', "pseudo"),
        ("[]", "pseudo"),
        ("{", "pseudo"),
        (None, "pseudo"),
    ],
)
def test_labels_of_sambench_are_named_by_their_prompt_and_others_by_their_folder(
    organ_task: Path, tmp_path: Path, dataset: str | None, name: str
) -> None:
    folder = tmp_path / "pseudo"
    write_pseudo_labels(organ_task, folder / "labelsTr", value=1)
    if dataset is not None:
        (folder / "dataset.json").write_text(dataset, encoding="utf-8")
    assert label_folder(folder, open_task(organ_task).cases).name == name


def test_cases_without_labels_are_named_and_only_those_that_are_needed(organ_task: Path, tmp_path: Path) -> None:
    cases = open_task(organ_task).cases
    folder = write_pseudo_labels(organ_task, tmp_path / "pseudo", 1, cases=CASES[:4])
    with pytest.raises(InputError, match=r"no labels for 2 of the 6 cases .*\(case_5, case_6\); add CASE.nii.gz"):
        label_folder(folder, cases)
    assert label_folder(folder, cases[:4]).missing(cases[:4]) == []
    with pytest.raises(InputError, match=r"--labels .*: is no folder"):
        label_folder(tmp_path / "nowhere", cases)


def test_pseudo_labels_of_another_grid_are_refused_by_name(organ_task: Path, tmp_path: Path) -> None:
    folder = write_pseudo_labels(organ_task, tmp_path / "pseudo", 1)
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4)), folder / "case_2.nii.gz")
    job = make_job(organ_task, label_folder(folder, open_task(organ_task).cases))
    with pytest.raises(InputError, match=r"case_2\.nii\.gz: shape \(3, 4, 5\) differs from its image's"):
        job.arrays(case(organ_task, "case_2"))
