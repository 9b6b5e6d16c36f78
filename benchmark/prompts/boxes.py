"""Boxes around an object in one slice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from benchmark.prompts.base import BOX_CORNER, BOX_OPPOSITE, Effort, Mask, Prompt, Target
from benchmark.prompts.pieces import edges


def box_prompt(box: Sequence[float], effort: Effort = Effort(boxes=1)) -> Prompt:  # noqa: B008 – frozen
    """A box as SAM takes it: two opposite corners, the one with the smaller coordinates first.

    Args:
        box: x0, y0, x1, y1.
        effort: what it costs a person; one box drawn.
    """
    coords = np.array(box, dtype=np.float32).reshape(2, 2)
    return Prompt(coords, np.array([BOX_CORNER, BOX_OPPOSITE], dtype=np.float32), effort)


def tight_box(mask: Mask) -> Prompt:
    """The smallest box around the object, at the outer edges of its outermost voxels.

    Args:
        mask: bool [H, W], not empty.
    """
    return box_prompt(edges(mask))


def box(target: Target, rng: Generator) -> Prompt:
    """`box`: tight, which no person draws but every other box is held against."""
    return tight_box(target.mask)


def wider_box(target: Target, rng: Generator, margin: int) -> Prompt:
    """`box-margin<n>`: the tight box, wider on each side, as far as the slice goes.

    Args:
        target: what it is for.
        rng: not used.
        margin: voxels.
    """
    x0, y0, x1, y1 = edges(target.mask)
    height, width = target.mask.shape
    return box_prompt((max(0, x0 - margin), max(0, y0 - margin), min(width, x1 + margin), min(height, y1 + margin)))


def jittered_box(target: Target, rng: Generator, percent: int) -> Prompt:
    """`box-jitter<p>`: the tight box as an imprecise hand draws it; each side is moved on its own.

    SAM was trained with boxes moved by a deviation of 10 % of their sides (arXiv 2304.02643, appendix A). Here the
    error is uniform, so that no box is worse than said. It stays within the slice and is at least one voxel wide.

    Args:
        target: what it is for.
        rng: draws the error.
        percent: the largest error, in per cent of the box's width (left and right) or height (top and bottom).
    """
    tight = np.array(edges(target.mask), dtype=np.float64).reshape(2, 2)
    slice_size = np.array(target.mask.shape[::-1], dtype=np.float64)
    error = rng.uniform(-percent / 100, percent / 100, size=(2, 2))
    moved = np.clip(tight + error * (tight[1] - tight[0]), 0, slice_size)
    # Where sides met or crossed, one voxel around their middle: no side is then farther from its place than before.
    narrow = moved[1] - moved[0] < 1
    middle = np.clip(moved.mean(axis=0), 0.5, slice_size - 0.5)
    moved[:, narrow] = (middle + np.array([[-0.5], [0.5]]))[:, narrow]
    return box_prompt(moved.ravel().tolist())
