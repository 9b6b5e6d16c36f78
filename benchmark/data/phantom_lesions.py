"""Small drawn volumes for the official tasks: the CT ones from the phantom's abdomen, the MRI ones from ellipsoids.

They have a task's labels, channels and units, and no patient's anatomy: what the phantom does not label itself – a
tumour, a vessel, a pancreas – is a blob or another organ in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, label

from benchmark.data.phantom import PHANTOM_LABELS, PhantomSpec, phantom_case

Mask = NDArray[np.bool_]

LIVER, SPLEEN, AORTA, STOMACH = (
    next(value for value, name in PHANTOM_LABELS.items() if name == organ)
    for organ in ("liver", "spleen", "aorta", "stomach")
)
LUNG = -1
"""What no label of the phantom is, but can be found by its air."""

TUMOUR_MM = 14.0
"""Radius of a tumour, where its organ has room for it."""


@dataclass(frozen=True)
class Part:
    """What is drawn for a label.

    Attributes:
        inside: the phantom's organ, or LUNG.
        tumour: a blob of other density within it, instead of the organ itself.
    """

    inside: int
    tumour: bool = False


ABDOMEN: Mapping[str, Sequence[Part]] = {
    "Task03_Liver": (Part(LIVER), Part(LIVER, tumour=True)),
    "Task06_Lung": (Part(LUNG, tumour=True),),
    "Task07_Pancreas": (Part(STOMACH), Part(STOMACH, tumour=True)),
    "Task08_HepaticVessel": (Part(AORTA), Part(LIVER, tumour=True)),
    "Task09_Spleen": (Part(SPLEEN),),
    "Task10_Colon": (Part(STOMACH, tumour=True),),
}
"""CT task → what stands for its labels, from value 1."""

HEADS: Mapping[str, Sequence[tuple[float, float]]] = {
    "Task01_BrainTumour": ((0.0, 0.5), (0.0, 0.34), (0.0, 0.2)),
    "Task02_Heart": ((0.1, 0.4),),
    "Task04_Hippocampus": ((-0.3, 0.28), (0.3, 0.28)),
    "Task05_Prostate": ((0.0, 0.5), (0.1, 0.32)),
}
"""MRI task → of each label's ellipsoid the place along y and the size, in shares of the body's; later ones on top."""


def ct_case(
    task: str, spec: PhantomSpec, index: int
) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.float64]]:
    """Draws a CT case of a task: image [X, Y, Z] in HU, label [X, Y, Z] with the task's values, affine [4, 4], RAS+."""
    image, organs, affine = _abdomen(spec, index)
    image = image.copy()
    rng = np.random.default_rng([spec.seed, index, 1])
    drawn = np.zeros_like(organs)
    for value, part in enumerate(ABDOMEN[task], start=1):
        organ = _lung(image) if part.inside == LUNG else organs == part.inside
        if not part.tumour:
            drawn[organ] = value
            continue
        blob = _blob(organ, spec.spacing_mm, rng)
        drawn[blob] = value
        density = 45.0 if part.inside == LUNG else float(np.median(image[organ])) - 60
        image[blob] = np.rint(density + 12 * rng.standard_normal(int(blob.sum())))
    return image, drawn, affine


@lru_cache(maxsize=8)
def _abdomen(spec: PhantomSpec, index: int) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.float64]]:
    """The same patients serve all tasks: drawing one takes seconds."""
    return phantom_case(spec, index)


def mri_case(
    task: str, channels: int, spec: PhantomSpec, index: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float64]]:
    """Draws an MRI case: image [X, Y, Z] or [X, Y, Z, C], 0 outside the body and of another scale in each channel.

    Returns:
        Image, label [X, Y, Z] with the task's values, affine [4, 4] in mm, RAS+.
    """
    rng = np.random.default_rng([spec.seed, index, 2])
    shape = (spec.size, spec.size, spec.slices)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radii = rng.uniform(0.75, 0.9, 3) + np.array(
        [0, 0, 0.4]
    )  # the body leaves the volume above and below, as a scan's does
    body = (x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2 < 1
    drawn = np.zeros(shape, np.uint8)
    for value, (along, size) in enumerate(HEADS[task], start=1):
        at = rng.uniform(-0.05, 0.05, 3) + np.array([0, along * radii[1], 0])
        own = radii * size * rng.uniform(0.9, 1.1, 3)
        drawn[sum(((axis - c) / r) ** 2 for axis, c, r in zip((x, y, z), at, own, strict=True)) < 1] = value
    tissue = gaussian_filter(rng.standard_normal(shape), 1.0)
    shown = []
    for channel in range(channels):
        bright = np.array([300.0, *(420 + 130 * ((value + channel) % 3) for value in range(len(HEADS[task])))])
        shown.append(np.where(body, (1 + channel) * (bright[drawn] + 60 * tissue), 0))
    image = np.stack(shown, axis=-1).astype(np.float32)
    affine = np.diag([*spec.spacing_mm, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * step for n, step in zip(shape, spec.spacing_mm, strict=True)]
    return (image if channels > 1 else image[..., 0]), drawn, affine


def _lung(image: NDArray[np.int16]) -> Mask:
    """Air within the body: what is not connected with the air at the sides of the volume; the largest two pieces."""
    air, count = label(image < -600)
    sides = np.unique(np.concatenate([air[[0, -1]].ravel(), air[:, [0, -1]].ravel()]))
    sizes = np.bincount(air.ravel(), minlength=count + 1)
    sizes[[0, *sides]] = 0
    return np.isin(air, [piece for piece in np.argsort(sizes)[-2:] if sizes[piece]])


def _blob(organ: Mask, spacing: Sequence[float], rng: np.random.Generator) -> Mask:
    """A ball around one of the organ's deeper voxels, within the organ, and never empty where the organ is not."""
    depth = distance_transform_edt(organ, sampling=spacing)
    deep = np.argwhere(depth >= 0.7 * depth.max()) if organ.any() else np.empty((0, 3), int)
    if not len(deep):
        return np.zeros_like(organ)
    centre = deep[rng.integers(len(deep))]
    away = sum(((axis - c) * step) ** 2 for axis, c, step in zip(np.indices(organ.shape), centre, spacing, strict=True))
    return np.asarray(organ & (away <= TUMOUR_MM**2), bool)
