"""The ten official tasks, with the layout of their own files, are read right without any setting."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, ornt_transform

from benchmark.data.intensity import CTWindow, Intensity, Percentiles, describe, normalise
from benchmark.data.msd import Task, TaskOverride, open_task
from benchmark.data.phantom import PhantomSpec, phantom_case
from benchmark.data.tasks import OFFICIAL_TASKS
from benchmark.data.volume import load_labels, load_volume, save_labels
from tests.conftest import MSD_REAL, REPOSITORY

SOFT, LUNG, MRI = CTWindow(40, 400), CTWindow(-160, 1500), Percentiles(0.5, 99.5)


@dataclass(frozen=True)
class Official:
    """What the official archive's dataset.json says, spelt as there, and how the files are stored.

    Attributes:
        modality: of each channel; several are the fourth axis of one file.
        labels: from value 1.
        intensity: how the task must be shown.
        prefix: of the case files.
        cases: how many have labels.
        axes: some orientation of the stored axes; they differ from task to task.
        stored: the label's type; Task10 has floats.
    """

    modality: Sequence[str]
    labels: Sequence[str]
    intensity: Intensity
    prefix: str
    cases: int
    axes: str = "LAS"
    stored: Any = np.uint8


OFFICIAL: Mapping[str, Official] = {
    "Task01_BrainTumour": Official(
        ("FLAIR", "T1w", "t1gd", "T2w"),
        ("edema", "non-enhancing tumor", "enhancing tumour"),
        MRI,
        "BRATS_001",
        484,
        "RAS",
    ),
    "Task02_Heart": Official(("MRI",), ("left atrium",), MRI, "la_003", 20, "RAS"),
    "Task03_Liver": Official(("CT",), ("liver", "cancer"), SOFT, "liver_0", 131),
    "Task04_Hippocampus": Official(("MRI",), ("Anterior", "Posterior"), MRI, "hippocampus_001", 260, "RAS"),
    "Task05_Prostate": Official(("T2", "ADC"), ("PZ", "TZ"), MRI, "prostate_00", 32, "RAS"),
    "Task06_Lung": Official(("CT",), ("cancer",), LUNG, "lung_001", 63),
    "Task07_Pancreas": Official(("CT",), ("pancreas", "cancer"), SOFT, "pancreas_001", 281, "RAS"),
    "Task08_HepaticVessel": Official(("CT",), ("Vessel", "Tumour"), SOFT, "hepaticvessel_001", 303, "LPS"),
    "Task09_Spleen": Official(("CT",), ("spleen",), SOFT, "spleen_2", 41, "PIR"),
    "Task10_Colon": Official(("CT",), ("colon cancer primaries",), SOFT, "colon_001", 126, stored=np.float32),
}
PAPER_LEFT_OUT = ("Task01_BrainTumour", "Task02_Heart", "Task04_Hippocampus", "Task05_Prostate")
each = pytest.mark.parametrize("name", OFFICIAL)


@pytest.fixture(scope="module")
def patient() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A phantom's image in HU, its label and its affine, RAS: no two axes have the same length."""
    image, label, affine = phantom_case(PhantomSpec(cases=1, size=48, slices=8, spacing_mm=(8.0, 8.0, 18.0)), 0)
    return image[:, :44], label[:, :44], affine


def channels(official: Official, hu: np.ndarray) -> np.ndarray:
    """[X, Y, Z] or [X, Y, Z, C] as stored: HU, or for MRI a scale of its own in each channel and 0 outside the body."""
    if isinstance(official.intensity, CTWindow):
        return hu
    body = np.where(hu > -300, hu + 1000, 0).astype(np.float32)
    scaled = [(body ** (1 + 0.2 * i)) * (1 + i) for i in range(len(official.modality))]
    return np.stack(scaled, axis=-1) if len(scaled) > 1 else scaled[0]


def write(root: Path, name: str, patient: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Path:
    """The task with one case, stored along the official axes."""
    official, (hu, organs, affine), folder = OFFICIAL[name], patient, root / name
    label = np.where(organs <= len(official.labels), organs, 0)
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(official.axes))
    for sub, volume in (("imagesTr", channels(official, hu)), ("labelsTr", label.astype(official.stored))):
        (folder / sub).mkdir(parents=True)
        stored = nib.Nifti1Image(volume, affine).as_reoriented(turn)
        stored.header.set_xyzt_units("mm")
        nib.save(stored, folder / sub / f"{official.prefix}.nii.gz")
    pair = {key: f"./{key}sTr/{official.prefix}.nii.gz" for key in ("image", "label")}
    content = {
        "name": name.partition("_")[2],
        "relase": "1.0 04/05/2018",
        "tensorImageSize": "4D" if len(official.modality) > 1 else "3D",
        "modality": {str(i): modality for i, modality in enumerate(official.modality)},
        "labels": {"0": "background"} | {str(i + 1): label for i, label in enumerate(official.labels)},
        "numTraining": official.cases,
        "training": [pair],
        "test": ["./imagesTs/not_there.nii.gz"],
    }
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def lps(stored: nib.Nifti1Image) -> np.ndarray:
    """What nibabel alone makes of a file: RAS, and its first two axes turned round."""
    return np.asarray(nib.as_closest_canonical(stored).dataobj)[::-1, ::-1]


def check_voxels(task: Task, tmp_path: Path) -> None:
    """Image, label and the round trip of labels, against nibabel's own reading of the files."""
    files = task.cases[0]
    volume = load_volume(task, files)
    stored_image, stored_label = nib.load(files.image), nib.load(files.label)
    voxels = lps(stored_image)
    shown = voxels[..., task.channel] if voxels.ndim == 4 else voxels
    assert volume.image.shape == volume.label.shape == shown.shape
    np.testing.assert_allclose(volume.image, normalise(shown.astype(np.float32), task.intensity), atol=1e-3)
    assert volume.image.min() == 0
    assert 200 < volume.image.max() <= 255
    np.testing.assert_array_equal(volume.label, lps(stored_label).astype(np.uint8))

    save_labels(volume.label, volume.geometry, tmp_path / "saved.nii.gz")
    saved = nib.load(tmp_path / "saved.nii.gz")
    assert saved.shape == stored_image.shape[:3]
    np.testing.assert_allclose(saved.affine, stored_image.affine, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(saved.dataobj), np.asarray(stored_label.dataobj).astype(np.uint8))
    again = load_labels(task, tmp_path / "saved.nii.gz", volume.geometry)
    np.testing.assert_array_equal(again, volume.label)


def test_the_ten_are_all_here_and_the_papers_four_among_them() -> None:
    assert list(OFFICIAL) == list(OFFICIAL_TASKS)
    assert set(PAPER_LEFT_OUT) == {name for name in OFFICIAL if OFFICIAL[name].intensity == MRI}


@each
def test_an_official_task_is_understood_without_settings(name, patient, tmp_path):
    official = OFFICIAL[name]
    task = open_task(write(tmp_path, name, patient))
    assert (task.modality, task.channel, task.channels) == (official.modality[0], 0, len(official.modality))
    assert dict(task.labels) == dict(enumerate(official.labels, start=1))
    assert task.known_values == frozenset(range(len(official.labels) + 1))
    assert task.intensity == official.intensity
    assert [files.case for files in task.cases] == [official.prefix]


@each
def test_its_voxels_are_read_and_labels_go_back_into_its_own_grid(name, patient, tmp_path):
    task = open_task(write(tmp_path, name, patient))
    volume = load_volume(task, task.cases[0])
    assert set(np.unique(volume.label)) == {0, *task.labels}
    assert sorted(volume.spacing) == pytest.approx([8, 8, 18])
    assert volume.spacing[2] == pytest.approx(18), "a slice is axial wherever the file keeps its axes"
    check_voxels(task, tmp_path)


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        (name, i)
        for name, official in OFFICIAL.items()
        for i in range(len(official.modality))
        if len(official.modality) > 1
    ],
)
def test_every_channel_can_be_chosen_and_is_scaled_by_itself(name, channel, patient, tmp_path):
    """No two channels of these volumes have the same scale."""
    task = open_task(write(tmp_path, name, patient), TaskOverride(channel=channel))
    assert (task.channel, task.modality) == (channel, OFFICIAL[name].modality[channel])
    assert task.intensity == MRI
    check_voxels(task, tmp_path)


@each
def test_one_label_alone_can_be_segmented(name, patient, tmp_path):
    last = OFFICIAL[name].labels[-1]
    task = open_task(write(tmp_path, name, patient), TaskOverride(labels=(last,)))
    value = len(OFFICIAL[name].labels)
    assert dict(task.labels) == {value: last}
    assert set(np.unique(load_volume(task, task.cases[0]).label)) == {0, value}


@each
def test_the_docs_table_says_what_the_code_does(name):
    official = OFFICIAL[name]
    lines = (REPOSITORY / "docs" / "tasks.md").read_text(encoding="utf-8").splitlines()
    (row,) = [line for line in lines if line.startswith(f"| `{name}` |")]
    modality, labels, channel, intensity, tolerance, cases = [cell.strip() for cell in row.split("|")[2:-1]]
    assert modality == official.modality[0] or modality == f"MRI: {', '.join(official.modality)}"
    assert labels == ", ".join(f"{value} {label}" for value, label in enumerate(official.labels, start=1))
    shown = OFFICIAL_TASKS[name].channel
    assert channel == (f"{shown} {official.modality[shown]}" if len(official.modality) > 1 else str(shown))
    assert intensity == describe(OFFICIAL_TASKS[name].intensity)
    assert tolerance == f"{OFFICIAL_TASKS[name].nsd_tolerance_mm:g} mm"
    assert cases == str(official.cases)


@pytest.mark.parametrize(
    ("name", "intensity"),
    [("Task03_Liver", SOFT), ("Task09_Spleen", SOFT), ("Task101_AbdomenCT", SOFT), ("Task102_BrainMRI", MRI)],
)
def test_a_real_scan_is_read_and_its_labels_go_back_into_its_own_grid(name, intensity, tmp_path):
    if not MSD_REAL.is_dir():
        pytest.skip("the real volumes are not here: ../shared/msd-real is absent")
    task = open_task(MSD_REAL / name)
    assert task.intensity == intensity
    check_voxels(task, tmp_path)
