"""Prompt strategies: how a prompt is derived from a reference mask.

Coordinates are x, y in voxels from the slice's edge: the voxel in row r and column c covers [c, c + 1] × [r, r + 1], so
that they keep their place when the slice is resized.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]

NEGATIVE, POSITIVE, BOX_CORNER, BOX_OPPOSITE, PADDING = 0, 1, 2, 3, -1
"""SAM's point labels (segment-anything, `prompt_encoder.py`)."""


@dataclass(frozen=True)
class Prompt:
    """The points of one prompt.

    Attributes:
        coords: float32 [N, 2], x and y.
        labels: float32 [N], SAM's point labels.
    """

    coords: NDArray[np.float32]
    labels: NDArray[np.float32]


Strategy = Callable[[Mask], Prompt]


def tight_box(mask: Mask) -> Prompt:
    """The smallest box around the object, at the outer edges of its outermost voxels.

    Args:
        mask: bool [H, W], not empty.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    corners = [[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]]
    return Prompt(np.array(corners, dtype=np.float32), np.array([BOX_CORNER, BOX_OPPOSITE], dtype=np.float32))


def deepest_point(mask: Mask) -> Prompt:
    """One positive point in the middle of the voxel farthest from the object's edge; the border counts as an edge.

    PyTorch's predictor pads the points when there is no box (`PromptEncoder._embed_points`, `pad=True`); the padding
    point is part of the prompt here, so that both backends receive it.

    Args:
        mask: bool [H, W], not empty.
    """
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(np.argmax(depth)), mask.shape)
    coords = np.array([[column + 0.5, row + 0.5], [0, 0]], dtype=np.float32)
    return Prompt(coords, np.array([POSITIVE, PADDING], dtype=np.float32))


STRATEGIES: Mapping[str, Strategy] = {"box": tight_box, "point": deepest_point}
