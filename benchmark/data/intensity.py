"""From a scanner's units to the 0–255 of the natural images SAM was trained on.

The rule is that of MedSAM's preprocessing (bowang-lab/MedSAM, `pre_CT_MR.py`): clip, then scale to 0–255. It differs
in three points:

- MedSAM rounds down to whole grey values; here fractions are kept.
- MedSAM scales a CT from its smallest to its largest clipped value; here from edge to edge of the window, so that a
  Hounsfield unit has one grey value in every case. The two agree wherever a scan reaches both edges.
- MedSAM takes percentiles of the positive voxels; here of the nonzero ones. The two agree without negative values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CTWindow:
    """What lies within `width` around `level` is shown, in Hounsfield units."""

    level: float
    width: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.level) and 0 < self.width < np.inf):
            raise ValueError(f"a window needs a finite level and a width above 0, not {self.level:g}, {self.width:g}")


@dataclass(frozen=True)
class Percentiles:
    """What lies between two percentiles of a volume's nonzero voxels is shown: for scanners without fixed units."""

    low: float = 0.5
    high: float = 99.5

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 100:
            raise ValueError(f"percentiles must rise within 0 to 100, not {self.low:g} to {self.high:g}")


Intensity: TypeAlias = CTWindow | Percentiles


def normalise(volume: NDArray[np.float32], intensity: Intensity) -> NDArray[np.float32]:
    """Clips a whole volume to its window and scales it to 0–255.

    Percentiles are taken over the whole volume, so that every slice of a case has one scale. Zero voxels are what a
    scanner or a skull-stripper leaves outside the patient: they do not count and stay black.

    Args:
        volume: finite values of any shape, in the scanner's units; it is left as it is.
        intensity: what becomes black and white.

    Returns:
        A new array of the same shape and memory order, within [0, 255]. A volume with nothing between black and white
        (constant, or empty) is all zeros under percentiles.
    """
    if isinstance(intensity, CTWindow):
        return _scale(volume, intensity.level - intensity.width / 2, intensity.level + intensity.width / 2)
    outside = volume == 0
    body = volume[~outside]
    if body.size == 0:
        return np.zeros_like(volume)
    low, high = (float(value) for value in np.percentile(body, (intensity.low, intensity.high), overwrite_input=True))
    if not low < high:
        return np.zeros_like(volume)
    scaled = _scale(volume, low, high)
    scaled[outside] = 0
    return scaled


def describe(intensity: Intensity) -> str:
    """The rule in words, for reports."""
    if isinstance(intensity, CTWindow):
        return f"CT window level {intensity.level:g}, width {intensity.width:g} HU"
    return f"percentiles {intensity.low:g} to {intensity.high:g} of the nonzero voxels"


def _scale(volume: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    # Python floats and in-place steps: a NumPy float64 would turn the volume into float64, twice its size.
    scaled: NDArray[np.float32] = np.clip(volume, low, high)
    scaled -= low
    scaled *= 255 / (high - low)
    return np.clip(scaled, 0, 255, out=scaled)  # float32 rounding may have passed an end by a hair
