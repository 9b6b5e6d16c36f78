"""The click a person sets after seeing SAM's answer."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from benchmark.prompts.base import NEGATIVE, POSITIVE, Mask
from benchmark.prompts.pieces import number_pieces
from benchmark.prompts.points import deepest_voxel


class Click(NamedTuple):
    """A point in the middle of a voxel: x and y from the slice's edge, and SAM's label for it."""

    x: float
    y: float
    label: int


def next_click(target: Mask, predicted: Mask) -> Click | None:
    """A click in the middle of the largest error.

    This is how interactive segmentation is commonly simulated: RITM (arXiv 2102.06583, `isegm/inference/clicker.py`)
    and SAM's evaluation (arXiv 2304.02643, appendix D.1) click in the voxel deepest in any error. Here the region is
    chosen by its size, as a person sees the largest first; that differs where a larger one is thinner than a smaller.

    Args:
        target: bool [H, W], what was meant.
        predicted: bool [H, W], what SAM answered.

    Returns:
        Positive in the largest connected region of missed voxels, or negative in that of surplus voxels if that is
        larger; in the voxel of the region farthest from its edge, the border being an edge. None without any error.
    """
    regions = [_largest(target & ~predicted), _largest(predicted & ~target)]
    sizes = [np.count_nonzero(region) for region in regions]
    if not any(sizes):
        return None
    # Of equal sizes the first, so that a tie is always decided alike: what was missed, and there the topmost region.
    choice = int(np.argmax(sizes))
    row, column = deepest_voxel(regions[choice])
    return Click(column + 0.5, row + 0.5, (POSITIVE, NEGATIVE)[choice])


def _largest(errors: Mask) -> Mask:
    """The largest connected region of a mask; empty if the mask is."""
    numbered = number_pieces(errors)
    sizes = np.bincount(numbered.ravel(), minlength=2)[1:]
    largest: Mask = numbered == 1 + int(np.argmax(sizes))
    return largest
