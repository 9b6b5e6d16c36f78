"""Masks of many objects as one label map, without holding them all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmark.stages.base import Labels


class Overlay:
    """A label map that grows mask by mask: a voxel goes to the object with the highest logit, if that is above 0.

    Args:
        shape: rows and columns of the slice.

    Attributes:
        labels: uint8 [H, W], the map so far.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.labels: Labels = np.zeros(shape, dtype=np.uint8)
        self._highest = np.zeros(shape, dtype=np.float32)

    def add(self, logits: NDArray[np.float32], values: Sequence[int]) -> None:
        """Lays masks over the map; of equal logits the first that was added stays.

        Args:
            logits: [P, H, W].
            values: the label of each mask; several may share one, as the components of an object do.
        """
        for value, mask in zip(values, logits, strict=True):
            higher = mask > self._highest
            self._highest[higher] = mask[higher]
            self.labels[higher] = value
