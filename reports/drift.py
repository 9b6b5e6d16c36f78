"""How much a cell's times moved while it was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WINDOWS = 20
"""A rolling median is over this part of the samples: short enough for a slow change, long enough for its noise."""
FEWEST = 5
"""Samples of a window at least; a median of fewer is as noisy as the samples."""


def rolling_median(samples: Sequence[float], window: int) -> NDArray[np.float64]:
    """The median of each run of `window` neighbours, in order; empty if there are fewer samples than that."""
    values = np.asarray(samples, dtype=np.float64)
    if window < 1 or len(values) < window:
        return np.empty(0)
    found: NDArray[np.float64] = np.median(np.lib.stride_tricks.sliding_window_view(values, window), axis=1)
    return found


def window_of(samples: int) -> int:
    """How many neighbours a rolling median is over."""
    return max(FEWEST, round(samples / WINDOWS))


def drift(samples: Sequence[float]) -> float | None:
    """The spread of the rolling median, max ÷ min − 1; None with too few samples for two windows apart.

    Samples without any trend have some spread too, about that of medians of as many.
    """
    window = window_of(len(samples))
    if len(samples) < 2 * window:
        return None
    found = rolling_median(samples, window)
    return float(found.max() / found.min() - 1) if found.min() > 0 else None


def thinned(count: int, most: int) -> list[int]:
    """At most so many of the indices 0 … count − 1, evenly spaced, both ends among them."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most))}) if count else []
