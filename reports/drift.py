"""How steady a cell's time was over the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

FEWEST = 20
"""With fewer samples there is no course to speak of."""
WINDOWS = 20
"""A window holds about this part of all samples …"""
NARROWEST = 5
"""… but no fewer: the median of two or three is a sample."""
PLACES = 60
"""At so many places at most is the rolling median taken: more than anybody sees, and as fast for long runs."""


@dataclass(frozen=True)
class Course:
    """Samples in the order measured, as ratios to their own median.

    Attributes:
        ratios: [n], 1 being the median of all.
        places: indices of the middles of the windows.
        rolling: the median of the window around each place.
    """

    ratios: NDArray[np.float64]
    places: NDArray[np.int64]
    rolling: NDArray[np.float64]

    @cached_property
    def spread(self) -> float:
        """The drift: the highest rolling median over the lowest, minus 1. Noise alone gives some, too."""
        return float(self.rolling.max() / self.rolling.min() - 1)


def course(samples: Sequence[float]) -> Course | None:
    """The course of samples; None if there are too few, or if they are no times.

    Args:
        samples: milliseconds in the order measured.
    """
    times = np.asarray(samples, dtype=np.float64)
    if len(times) < FEWEST or not times.min() > 0:
        return None
    ratios = times / np.median(times)
    window = max(NARROWEST, len(times) // WINDOWS) | 1  # odd, so that it has a middle
    starts = np.unique(np.linspace(0, len(times) - window, min(PLACES, len(times) - window + 1)).round().astype(int))
    rolling = np.median(np.lib.stride_tricks.sliding_window_view(ratios, window)[starts], axis=1)
    return Course(ratios, starts + window // 2, rolling)
