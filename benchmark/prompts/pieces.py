"""Parts of a mask: its bounding box and its connected components."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmark.prompts.base import Mask, Per

Edges = tuple[int, int, int, int]
"""x0, y0, x1, y1 of a box at the outer edges of its outermost voxels."""


def edges(mask: Mask) -> Edges:
    """The smallest box around a mask [H, W] that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def window(mask: Mask, margin: int = 0) -> tuple[slice, slice]:
    """Rows and columns of a mask's bounding box, wider on each side, within the slice.

    Distances are computed in it: an organ takes a small part of a slice of 512 × 512.
    """
    x0, y0, x1, y1 = edges(mask)
    return slice(max(0, y0 - margin), y1 + margin), slice(max(0, x0 - margin), x1 + margin)


def number_pieces(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Connected components, diagonal neighbours together: 8 in a slice, 26 in a volume.

    Args:
        mask: bool, of any dimension.

    Returns:
        1, 2, … in the order of the components' first voxels, row by row; 0 outside.
    """
    numbered: NDArray[np.int32]
    # scipy numbers in this order, however the array lies in memory. It does not promise to; the tests see to it.
    numbered, _ = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    return numbered


def objects(label: Mask, per: Per, min_pixels: int) -> Iterator[Mask]:
    """What gets a prompt in one slice, the largest first; of the same size, the one whose first voxel comes first.

    Args:
        label: bool [H, W], everything of one label.
        per: the label as a whole, or each component.
        min_pixels: smaller ones are left out; at least 1.
    """
    if per == "object":
        if np.count_nonzero(label) >= min_pixels:
            yield label
        return
    numbered = number_pieces(label)
    sizes = np.bincount(numbered.ravel())[1:]
    for index in np.argsort(-sizes, kind="stable"):
        if sizes[index] >= min_pixels:
            yield numbered == index + 1
