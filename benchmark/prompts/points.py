"""Clicks on an object and beside it, in one slice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from benchmark.prompts.base import NEGATIVE, POSITIVE, Effort, Mask, Prompt, Target, join
from benchmark.prompts.boxes import tight_box
from benchmark.prompts.pieces import window

Voxels = NDArray[np.intp]
"""[N, 2], row and column."""


def deepest_voxel(mask: Mask) -> tuple[int, int]:
    """Row and column of the voxel farthest from a mask's edge, the first of several; the border counts as an edge.

    Args:
        mask: bool [H, W], not empty.
    """
    rows, columns = window(mask)
    inside = mask[rows, columns]
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(np.argmax(depth)), inside.shape)
    return int(row) + rows.start, int(column) + columns.start


def clicks(voxels: Sequence[tuple[int, int]] | Voxels, label: int) -> Prompt:
    """A click in the middle of each voxel.

    Args:
        voxels: rows and columns.
        label: POSITIVE or NEGATIVE.
    """
    coords = np.array(voxels, dtype=np.float32).reshape(-1, 2)[:, ::-1] + np.float32(0.5)
    return Prompt(coords, np.full(len(coords), label, dtype=np.float32), Effort(clicks=len(coords)))


def deepest_point(mask: Mask) -> Prompt:
    """One positive point in the voxel farthest from the object's edge; the border counts as an edge.

    So SAM's own evaluation sets its first point (arXiv 2304.02643, appendix D.1).

    Args:
        mask: bool [H, W], not empty.
    """
    return clicks([deepest_voxel(mask)], POSITIVE)


def point(target: Target, rng: Generator) -> Prompt:
    """`point`: one click in the object's middle."""
    return deepest_point(target.mask)


def points(target: Target, rng: Generator, positives: int) -> Prompt:
    """`points<n>`: the click of `point`, and others at random on the object, fewer if it has fewer voxels.

    Voxels at the object's edge are clicked on only when there are no others left: a person aims inside.

    Args:
        target: what they are for.
        rng: draws the voxels after the first.
        positives: clicks in all.
    """
    first = deepest_voxel(target.mask)
    inner = ndimage.binary_erosion(target.mask)
    edge = target.mask & ~inner
    inner[first] = edge[first] = False
    drawn = _draw(inner, positives - 1, rng)
    drawn = np.concatenate([drawn, _draw(edge, positives - 1 - len(drawn), rng)])
    return join(deepest_point(target.mask), clicks(drawn, POSITIVE))


def points_and_negatives(target: Target, rng: Generator, positives: int, negatives: int) -> Prompt:
    """`points<n>+neg<m>`: the clicks of `points<n>`, and others at random in a ring around the object.

    Args:
        target: what they are for.
        rng: draws the voxels.
        positives: clicks on the object.
        negatives: clicks in the ring; fewer if it has fewer voxels.
    """
    return join(points(target, rng, positives), clicks(_draw(_ring(target), negatives, rng), NEGATIVE))


def box_and_point(target: Target, rng: Generator) -> Prompt:
    """`box+point`: a tight box and a click in the object's middle."""
    return join(deepest_point(target.mask), tight_box(target.mask))


def box_and_points(target: Target, rng: Generator, positives: int) -> Prompt:
    """`box+points<n>`: a tight box and the clicks of `points<n>`."""
    return join(points(target, rng, positives), tight_box(target.mask))


def _ring(target: Target) -> Mask:
    """Where a person clicks to say what the object is not: near it, but not on its edge, where labels are uncertain.

    From 2 voxels off the object to half the radius of a disc of its area, at least 3; without voxels of its label.
    """
    radius = float(np.sqrt(np.count_nonzero(target.mask) / np.pi))
    reach = max(3.0, radius / 2)
    around = window(target.mask, int(np.ceil(reach)))
    distance = ndimage.distance_transform_edt(~target.mask[around])
    ring = np.zeros_like(target.mask)
    ring[around] = (distance >= 2) & (distance <= reach)
    return ring & ~target.label


def _draw(mask: Mask, count: int, rng: Generator) -> Voxels:
    """At most `count` different voxels of a mask, all equally likely."""
    voxels = np.argwhere(mask)
    return voxels[rng.choice(len(voxels), min(count, len(voxels)), replace=False)]
