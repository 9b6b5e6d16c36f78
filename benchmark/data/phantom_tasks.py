"""Phantoms in the layout of the ten official tasks: their names, channels, labels, case names and stray files.

With them a specification for the official tasks can be tried whole before 100 GB are downloaded. dataset.json says that
they are drawn, and so do results and reports.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.msd import PHANTOM_KEY
from benchmark.data.phantom import PhantomSpec, write_nifti
from benchmark.data.phantom_lesions import ABDOMEN, ct_case, mri_case
from benchmark.errors import InputError
from benchmark.files import write_text_atomically

STAND_IN = PhantomSpec(cases=4, size=96, slices=8, spacing_mm=(4.0, 4.0, 22.0))
"""What `sambench fetch msd --phantom` writes: enough to split, small enough for minutes."""

TEST_CASES = 1
"""In imagesTs, which sambench never reads."""


@dataclass(frozen=True)
class Layout:
    """What an official dataset.json says, spelt as there.

    Attributes:
        first: the first case with a label; its digits are counted on for the others.
        modality: of each channel; several are the fourth axis of one file.
        labels: from value 1.
        reference: who made the real task.
        stored: the type of the label's voxels.
    """

    first: str
    modality: tuple[str, ...]
    labels: tuple[str, ...]
    reference: str
    stored: Any = np.uint8


_KING, _MSKCC = "King's College London", "Memorial Sloan Kettering Cancer Center"

LAYOUTS: Mapping[str, Layout] = {
    "Task01_BrainTumour": Layout(
        "BRATS_001",
        ("FLAIR", "T1w", "t1gd", "T2w"),
        ("edema", "non-enhancing tumor", "enhancing tumour"),
        "https://www.med.upenn.edu/sbia/brats2017.html",
    ),
    "Task02_Heart": Layout("la_003", ("MRI",), ("left atrium",), _KING),
    "Task03_Liver": Layout("liver_0", ("CT",), ("liver", "cancer"), "IRCAD Hôpitaux Universitaires"),
    "Task04_Hippocampus": Layout(
        "hippocampus_001", ("MRI",), ("Anterior", "Posterior"), "Vanderbilt University Medical Center"
    ),
    "Task05_Prostate": Layout(
        "prostate_00", ("T2", "ADC"), ("PZ", "TZ"), "Radboud University, Nijmegen Medical Centre"
    ),
    "Task06_Lung": Layout("lung_001", ("CT",), ("cancer",), "The Cancer Imaging Archive"),
    "Task07_Pancreas": Layout("pancreas_001", ("CT",), ("pancreas", "cancer"), _MSKCC),
    "Task08_HepaticVessel": Layout("hepaticvessel_001", ("CT",), ("Vessel", "Tumour"), _MSKCC),
    "Task09_Spleen": Layout("spleen_2", ("CT",), ("spleen",), _MSKCC),
    "Task10_Colon": Layout("colon_001", ("CT",), ("colon cancer primaries",), _MSKCC, np.float32),
}


def write_official_phantom(name: str, root: Path, spec: PhantomSpec = STAND_IN) -> Path:
    """Writes a phantom as an official task: all of it or nothing.

    Args:
        name: such as Task03_Liver.
        root: the folder of task folders.
        spec: how many cases, how large.

    Returns:
        The task folder. One that holds this phantom already is left as it is.

    Raises:
        InputError: no such task, or the folder holds something else.
    """
    if name not in LAYOUTS:
        raise InputError(f"{name!r} is not an official task; choose from {', '.join(LAYOUTS)}")
    folder, made_from = root / name, json.loads(json.dumps(asdict(spec)))
    if os.path.lexists(folder):
        if _phantom_in(folder) != made_from:
            raise InputError(
                f"{folder}: holds something other than this phantom; choose another folder with --out, or delete it"
            )
        return folder
    part = root / f".{name}.{os.getpid()}.part"
    try:
        _fill(part, name, spec)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _phantom_in(folder: Path) -> object:
    """What the phantom in a folder was made from; None if there is none."""
    try:
        return json.loads((folder / "dataset.json").read_text(encoding="utf-8"))[PHANTOM_KEY]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _fill(folder: Path, name: str, spec: PhantomSpec) -> None:
    layout = LAYOUTS[name]
    names = [f"{case}.nii.gz" for case in _case_names(layout.first, spec.cases + TEST_CASES)]
    for index, file in enumerate(names):
        image, label, affine = _case(name, spec, index)
        if index < spec.cases:
            write_nifti(folder / "imagesTr" / file, image, affine)
            write_nifti(folder / "labelsTr" / file, label.astype(layout.stored), affine)
        else:
            write_nifti(folder / "imagesTs" / file, image, affine)
    for path in [*folder.rglob("*.nii.gz")]:  # macOS left a companion beside every file of the real archives
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        ")
    write_text_atomically(folder / "dataset.json", json.dumps(_dataset(name, names, spec), indent=1) + "\n")


def _case(name: str, spec: PhantomSpec, index: int) -> tuple[NDArray[Any], NDArray[np.uint8], NDArray[np.float64]]:
    if name in ABDOMEN:
        return ct_case(name, spec, index)
    return mri_case(name, len(LAYOUTS[name].modality), spec, index)


def _case_names(first: str, count: int) -> list[str]:
    """`la_003`, 2 → `la_003`, `la_004`."""
    prefix, _, digits = first.rpartition("_")
    return [f"{prefix}_{int(digits) + i:0{len(digits)}d}" for i in range(count)]


def _dataset(name: str, names: list[str], spec: PhantomSpec) -> dict[str, Any]:
    layout = LAYOUTS[name]
    training = [{"image": f"./imagesTr/{file}", "label": f"./labelsTr/{file}"} for file in names[: spec.cases]]
    return {
        "name": name.partition("_")[2],
        "description": f"A phantom in the layout of {name}: drawn by sambench, no patient's data",
        "reference": f"layout: {layout.reference}",
        "licence": "Apache-2.0",
        "relase": "1.0",  # misspelt so in most of the real ones
        "tensorImageSize": "4D" if len(layout.modality) > 1 else "3D",
        "modality": {str(i): modality for i, modality in enumerate(layout.modality)},
        "labels": {"0": "background"} | {str(i): label for i, label in enumerate(layout.labels, start=1)},
        "numTraining": spec.cases,
        "numTest": TEST_CASES,
        "training": training,
        "test": [f"./imagesTs/{file}" for file in names[spec.cases :]],
        PHANTOM_KEY: asdict(spec),
    }
