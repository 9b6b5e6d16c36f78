"""Phantoms under official names: what the official files say, and never over somebody's data."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from benchmark.data.msd import open_task
from benchmark.data.phantom import PhantomSpec
from benchmark.data.phantom_tasks import LAYOUTS, TEST_CASES, write_official_phantom
from benchmark.data.volume import load_volume
from benchmark.errors import InputError
from tests.benchmark.data.test_official_tasks import OFFICIAL

TINY = PhantomSpec(cases=2, size=48, slices=6, spacing_mm=(8.0, 8.0, 30.0))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("msd")
    for name in LAYOUTS:
        write_official_phantom(name, folder, TINY)
    return folder


@pytest.mark.parametrize("name", OFFICIAL)
def test_it_says_what_the_official_file_says(name, root):
    official, task = OFFICIAL[name], open_task(root / name)
    assert task.phantom
    assert tuple(task.labels.values()) == tuple(official.labels)
    assert (task.modality, task.channels) == (official.modality[0], len(official.modality))
    assert task.intensity == official.intensity
    assert task.cases[0].case == official.prefix
    stored = nib.load(task.cases[0].label)
    assert stored.get_data_dtype() == official.stored


@pytest.mark.parametrize("name", OFFICIAL)
def test_every_case_has_every_label_and_can_be_told_from_its_surroundings(name, root):
    """What looks like its surroundings would teach a UNet nothing."""
    task = open_task(root / name)
    for files in task.cases:
        volume = load_volume(task, files)
        assert set(np.unique(volume.label)) == {0, *task.labels}
        assert volume.image.std() > 10


def test_stray_files_and_test_images_are_there_and_nobody_takes_them_for_cases(root):
    for name in LAYOUTS:
        folder = root / name
        assert len([*folder.glob("imagesTs/[!.]*.nii.gz")]) == TEST_CASES
        assert len([*folder.glob("*/._*.nii.gz")]) == 2 * TINY.cases + TEST_CASES
        assert len(open_task(folder).cases) == TINY.cases
        listed = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        assert (listed["numTraining"], listed["numTest"]) == (TINY.cases, TEST_CASES)


def test_the_same_phantom_is_left_and_anything_else_is_refused(tmp_path):
    folder = write_official_phantom("Task02_Heart", tmp_path, TINY)
    before = (folder / "dataset.json").stat().st_mtime_ns
    assert write_official_phantom("Task02_Heart", tmp_path, TINY) == folder
    assert (folder / "dataset.json").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="holds something other than this phantom"):
        write_official_phantom("Task02_Heart", tmp_path, PhantomSpec(cases=3, size=48, slices=6))
    real = tmp_path / "Task09_Spleen"
    real.mkdir()
    (real / "dataset.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="holds something other than this phantom"):
        write_official_phantom("Task09_Spleen", tmp_path, TINY)
    assert [path.name for path in real.iterdir()] == ["dataset.json"]
    assert not [*tmp_path.glob(".*.part")]


def test_the_command_draws_it_and_says_so(sambench, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.data.phantom_tasks.write_official_phantom.__defaults__", (TINY,))
    code, out, err = sambench("fetch", "msd", "Task05_Prostate", "--phantom", "--out", tmp_path)
    assert (code, out) == (0, f"{tmp_path / 'Task05_Prostate'}\n")
    assert err.splitlines() == [
        "Task05_Prostate: a phantom in its layout, no patient's data",
        "Task05_Prostate: T2 (channel 0 of 2), shown by percentiles 0.5 to 99.5 of the nonzero voxels; "
        "labels 1 PZ, 2 TZ; 2 cases",
    ]
    code, out, err = sambench("fetch", "msd", "Task05", "--phantom", "--out", tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith("error: 'Task05' is not an official task; choose from Task01_BrainTumour, ")
