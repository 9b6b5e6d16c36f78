from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.benchmark.conftest import MakeTask

CASES = tuple(f"case_{number}" for number in range(1, 7))


@pytest.fixture
def organ_task(make_task: MakeTask) -> Path:
    """Six cases of 24 × 20 × 6 with a bright organ and a dark tumour, each in another place; 3 / 1 / 2 by default."""
    folder = make_task(cases=CASES)
    affine = np.diag([2.0, 2.0, 4.0, 1.0])
    for number, case in enumerate(CASES):
        rng = np.random.default_rng(number)
        x, y = rng.integers(2, 8, 2)
        label = np.zeros((24, 20, 6), np.uint8)
        label[x : x + 10, y : y + 8, 1:5] = 1
        label[x + 3 : x + 7, y + 2 : y + 6, 2:4] = 2
        image = (rng.normal(0, 8, label.shape) + 200 * (label == 1) - 150 * (label == 2)).astype(np.int16)
        nib.save(nib.Nifti1Image(image, affine), folder / "imagesTr" / f"{case}.nii.gz")
        nib.save(nib.Nifti1Image(label, affine), folder / "labelsTr" / f"{case}.nii.gz")
    return folder


def write_pseudo_labels(task: Path, folder: Path, value: int, cases: tuple[str, ...] = CASES) -> Path:
    """Labels that hold `value` in a corner and nothing else, in each image's grid."""
    folder.mkdir(parents=True)
    for case in cases:
        reference = nib.load(task / "labelsTr" / f"{case}.nii.gz")
        label = np.zeros(reference.shape, np.uint8)
        label[:6, :6] = value
        nib.save(nib.Nifti1Image(label, reference.affine), folder / f"{case}.nii.gz")
    return folder
