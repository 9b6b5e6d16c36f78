"""A small MSD task of synthetic abdominal CT, so that everything can be tried without downloading patients.

The anatomy is defined in millimetres and Hounsfield units: `phantom_shapes` draws; `phantom_body`, `phantom_organs` and
`phantom_bowel` know the anatomy. It looks like a portal-venous CT and is no substitute for one: Dice on it says whether
a pipeline works and whether two backends agree, not how well a model segments patients.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from benchmark.data.phantom_body import Patient, draw_body
from benchmark.data.phantom_bowel import draw_bowel
from benchmark.data.phantom_organs import draw_organs
from benchmark.data.phantom_shapes import Canvas, Space
from benchmark.errors import InputError
from benchmark.files import atomic_path, sha256_text, write_text_atomically

PHANTOM_TASK = "Task201_Phantom"
PHANTOM_LABELS = {1: "liver", 2: "spleen", 3: "right kidney", 4: "left kidney", 5: "aorta", 6: "stomach"}

# A slice is thicker than a voxel is wide: two layers averaged give the partial volume that a thick slice has.
_LAYERS_PER_SLICE = 2
_WARP_MM = 4.0
_SOURCES = ("phantom.py", "phantom_shapes.py", "phantom_body.py", "phantom_organs.py", "phantom_bowel.py")


@dataclass(frozen=True)
class PhantomSpec:
    """Which phantom.

    Attributes:
        cases: how many volumes.
        seed: another seed, other patients.
        size: voxels along x and along y.
        slices: axial slices.
        spacing_mm: of the voxels in x, y and z. The patient keeps his size: a smaller field of view cuts him off.
    """

    cases: int = 6
    seed: int = 0
    size: int = 128
    slices: int = 24
    spacing_mm: tuple[float, float, float] = (3.0, 3.0, 6.0)

    def __post_init__(self) -> None:
        if self.cases < 1 or self.seed < 0 or self.size < 8 or self.slices < 1 or min(self.spacing_mm) <= 0:
            raise InputError(
                f"{self}: a phantom needs at least 1 case, 8 voxels a side and 1 slice, a seed that is not negative, "
                "and spacings above 0 mm."
            )


def phantom_case(spec: PhantomSpec, index: int) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.float64]]:
    """Draws one case; the same for a given seed, grid and index, however many cases there are.

    Args:
        spec: the grid and the seed.
        index: which case, from 0.

    Returns:
        The image [X, Y, Z] in HU; the label [X, Y, Z], keys of `PHANTOM_LABELS` or 0; the affine [4, 4] in mm, RAS+,
        with the origin in the middle of the volume.
    """
    rng = np.random.default_rng([spec.seed, index])
    shape = (spec.size, spec.size, spec.slices)
    layers = (spec.size, spec.size, spec.slices * _LAYERS_PER_SLICE)
    steps = (*spec.spacing_mm[:2], spec.spacing_mm[2] / _LAYERS_PER_SLICE)
    x, y, z = ((np.arange(n) - (n - 1) / 2) * step for n, step in zip(layers, steps, strict=True))

    canvas = Canvas(Space.warped((x, y, z), rng, _WARP_MM), labels=len(PHANTOM_LABELS))
    patient = Patient(rng)
    room = draw_body(canvas, patient)
    draw_organs(canvas, patient, room)
    draw_bowel(canvas, patient, room)

    hu = canvas.hu.reshape(*shape, _LAYERS_PER_SLICE).mean(axis=-1)
    share = canvas.share.reshape(len(PHANTOM_LABELS), *shape, _LAYERS_PER_SLICE).mean(axis=-1)
    label = np.where(share.max(axis=0) > 0.5, share.argmax(axis=0) + 1, 0).astype(np.uint8)
    image = np.clip(np.rint(hu + _noise(shape, patient)), -1024, 3071).astype(np.int16)
    affine = np.diag([*spec.spacing_mm, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * step for n, step in zip(shape, spec.spacing_mm, strict=True)]
    return image, label, affine


def _noise(shape: tuple[int, int, int], patient: Patient) -> NDArray[np.float64]:
    """Noise in HU whose grain is coarser than a voxel, as a CT's reconstruction kernel leaves it."""
    grain = gaussian_filter(patient.rng.standard_normal(shape), (0.6, 0.6, 0.3))
    return np.asarray(patient.vary(12.0, 0.1) * grain / grain.std())


def write_phantom(root: Path, spec: PhantomSpec, progress: Callable[[int, int], None] | None = None) -> Path:
    """Writes the phantom as an MSD task folder, or completes one that an earlier call left.

    `provenance.json` is written first and says which phantom the volumes belong to; `dataset.json` is written last, so
    a folder that has it is complete. Volumes of the same phantom are kept, those of another are replaced.

    Args:
        root: the folder of task folders.
        spec: what to write.
        progress: called with the number of cases done, and of all, after each.

    Returns:
        The task folder, `root / PHANTOM_TASK`.

    Raises:
        InputError: the task folder exists and holds something else.
    """
    folder = root / PHANTOM_TASK
    provenance = _provenance(spec)
    _make_way(folder, provenance)
    write_text_atomically(folder / "provenance.json", json.dumps(provenance, indent=2) + "\n")
    names = [f"phantom_{index + 1:03d}.nii.gz" for index in range(spec.cases)]
    for index, name in enumerate(names):
        image_path, label_path = folder / "imagesTr" / name, folder / "labelsTr" / name
        if not (image_path.is_file() and label_path.is_file()):
            image, label, affine = phantom_case(spec, index)
            write_nifti(image_path, image, affine)
            write_nifti(label_path, label, affine)
        if progress is not None:
            progress(index + 1, spec.cases)
    dataset = json.dumps(_dataset(names, provenance), indent=2) + "\n"
    if not (folder / "dataset.json").is_file() or (folder / "dataset.json").read_text(encoding="utf-8") != dataset:
        write_text_atomically(folder / "dataset.json", dataset)
    return folder


def _provenance(spec: PhantomSpec) -> dict[str, Any]:
    """What decides the volumes: the specification but for the number of cases, and the code that draws."""
    chosen = {name: value for name, value in asdict(spec).items() if name != "cases"}
    sources = [Path(__file__).with_name(name).read_text(encoding="utf-8") for name in _SOURCES]
    return {
        "generator": "benchmark.data.phantom",
        "code": sha256_text(*sources),
        "spec": json.loads(json.dumps(chosen)),
    }


def _make_way(folder: Path, provenance: dict[str, Any]) -> None:
    """Removes another phantom's files from the folder, and refuses if they are not a phantom's."""
    record = folder / "provenance.json"
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        is_phantom = found["generator"] == provenance["generator"]
    except (OSError, ValueError, KeyError, TypeError):
        is_phantom = False
    if not is_phantom:
        raise InputError(f"{folder}: holds something other than a phantom; choose another data root or move it away.")
    if found != provenance:
        # dataset.json goes first: without it nobody takes the rest for a task.
        for path in (folder / "dataset.json", *folder.glob("*Tr/phantom_*.nii.gz")):
            path.unlink(missing_ok=True)


def write_nifti(path: Path, volume: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """Writes a compressed NIfTI whose bytes depend on its content alone: gzip gets no time and no name.

    Args:
        path: ends in .nii.gz; its folder is made.
        volume: [X, Y, Z] or [X, Y, Z, C], stored in its own type.
        affine: [4, 4] in mm.
    """
    image = nib.Nifti1Image(volume, affine, dtype=volume.dtype)
    image.header.set_xyzt_units("mm")
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(image.to_bytes(), compresslevel=6, mtime=0))


def _dataset(names: list[str], provenance: dict[str, Any]) -> dict[str, Any]:
    """The content of `dataset.json`."""
    return {
        "name": "Phantom",
        "description": "Synthetic abdominal CT in Hounsfield units, portal-venous contrast. No patient's data.",
        "reference": "sambench, benchmark/data/phantom.py",
        "licence": "Apache-2.0",
        "release": "1.0",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "labels": {"0": "background"} | {str(number): name for number, name in PHANTOM_LABELS.items()},
        "numTraining": len(names),
        "numTest": 0,
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
        "test": [],
        "provenance": provenance,
    }
