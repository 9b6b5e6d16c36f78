"""Axial slices of a volume, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.data.volume import Volume


@dataclass(frozen=True, eq=False)
class Slice:
    """One axial image in radiological display: rows anterior to posterior, columns from the patient's right to left.

    Attributes:
        case: the volume's case.
        index: k, counted from the feet upwards.
        image: float32 [H, W], 0–255, C-contiguous.
        label: uint8 [H, W], original label values, C-contiguous.
        spacing: mm from row to row and from column to column.
    """

    case: str
    index: int
    image: NDArray[np.float32]
    label: NDArray[np.uint8]
    spacing: tuple[float, float]


def slices(volume: Volume, only_labelled: bool = False, limit: int | None = None) -> Iterator[Slice]:
    """Cuts a volume into axial slices, lazily, from the feet upwards.

    Args:
        volume: where they come from.
        only_labelled: leave out slices without any label.
        limit: at most this many, the middles of that many equal parts of the slices left; None for all.

    Raises:
        ValueError: `limit` is negative. Raised at once, not at the first slice.
    """
    eligible = _labelled(volume.label) if only_labelled else np.arange(volume.label.shape[2])
    if limit is not None and limit < 0:
        raise ValueError(f"limit must be 0 or more, not {limit}")
    if limit is not None and limit < len(eligible):
        # Middles, not ends: the one slice of limit = 1 should show the organ, not its tip.
        eligible = eligible[(2 * np.arange(limit) + 1) * len(eligible) // (2 * max(limit, 1))]
    return (_cut(volume, int(k)) for k in eligible)


def count_labelled(label: NDArray[np.uint8]) -> int:
    """How many axial slices of a label volume [X, Y, Z] have any label."""
    return len(_labelled(label))


def _labelled(label: NDArray[np.uint8]) -> NDArray[np.intp]:
    return np.flatnonzero(label.any(axis=(0, 1)))


def _cut(volume: Volume, k: int) -> Slice:
    # Copies, so that a slice someone keeps does not keep its whole volume in memory.
    return Slice(
        case=volume.case,
        index=k,
        image=volume.image[:, :, k].T.copy(order="C"),
        label=volume.label[:, :, k].T.copy(order="C"),
        spacing=(volume.spacing[1], volume.spacing[0]),
    )
