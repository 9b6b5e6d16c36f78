"""The cases of a training on disk, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.files import atomic_path


@dataclass(frozen=True)
class TrainingCase:
    """One case as the network sees it, mapped into memory when it is read.

    Attributes:
        image: .npy, float32 [N, C, *spatial]; N are slices for a 2-D network and 1 for a 3-D one.
        label: .npy, uint8 [N, *spatial], channel numbers.
    """

    image: Path
    label: Path

    def open(self) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Image and label, read from disk where they are looked at.

        Copy-on-write, because PyTorch warns of arrays that it may not write to.
        """
        return np.load(self.image, mmap_mode="c"), np.load(self.label, mmap_mode="c")

    @property
    def images(self) -> int:
        """N: slices, or 1."""
        return int(np.load(self.image, mmap_mode="r").shape[0])


def write_training_case(
    folder: Path, case: str, image: NDArray[np.float32], label: NDArray[np.uint8], at_least: Sequence[int] = ()
) -> TrainingCase:
    """Stores a case for training or validation.

    Args:
        folder: where to.
        case: its id.
        image: [N, C, *spatial].
        label: [N, *spatial], channel numbers.
        at_least: the patch, for cases that windows are cut from: a smaller image is surrounded by zeros on both sides,
            as the sliding windows do it.
    """
    written = TrainingCase(folder / f"{case}_image.npy", folder / f"{case}_label.npy")
    for path, array in ((written.image, image), (written.label, label)):
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, _padded(array, at_least))
    return written


def _padded(array: NDArray[Any], at_least: Sequence[int]) -> NDArray[Any]:
    spatial = array.shape[array.ndim - len(at_least) :]
    lacking = [max(0, side - size) for side, size in zip(at_least, spatial, strict=True)]
    if not any(lacking):
        return np.ascontiguousarray(array)
    around = [(0, 0)] * (array.ndim - len(at_least)) + [(n // 2, n - n // 2) for n in lacking]
    return np.pad(array, around)
