"""The interval of a median whose values were measured one after another, and so may depend on their neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
"""Twice as many move an end of the interval by about a fiftieth of its width, and cost twice the time."""

BATCH = 200_000
"""Values resampled at once. All at once, thousands of pairs would take a hundred megabytes and be slower."""


def block_length(count: int) -> int:
    """How many neighbours are resampled together: the cube root of `count`.

    The rate at which the error of a block bootstrap's variance is least (Künsch, Ann. Statist. 17, 1989; Hall, Horowitz
    and Jing, Biometrika 82, 1995).
    """
    return max(1, round(float(np.cbrt(count))))


def tail(blocks: float) -> float:
    """The share of resampled medians beyond each end of a 95 % interval, 0 to 0.025.

    A percentile interval of few values is too narrow, as a normal interval with a standard deviation from few values
    is. Hesterberg's expanded percentile interval (The American Statistician 69, 2015) takes the tail that makes a
    normal interval Student's, with as many values as are resampled: here, blocks.

    Args:
        blocks: of values, more than 1.
    """
    from scipy.special import ndtr, stdtrit

    return float(ndtr(stdtrit(blocks - 1, 0.025) * np.sqrt(blocks / (blocks - 1))))


def median_interval(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % interval of the median, by a circular block bootstrap.

    Politis and Romano, "A circular block-resampling procedure for stationary data" (1992): blocks of neighbours are
    drawn, so that a resample is as correlated as the values; on a circle, so that the first and the last are drawn as
    often as the others. Seeded: the same values give the same interval.

    Args:
        values: in the order measured, four or more.

    Returns:
        Low and high end, in the values' unit.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    count = len(ordered)
    # A median asks for order alone, and small integers are ordered faster than floats.
    ranks = np.argsort(np.argsort(values)).astype(np.min_scalar_type(count))
    medians = np.concatenate([ordered[middle].mean(axis=1) for middle in _middle_ranks(ranks)])
    share = tail(count / block_length(count))
    low, high = np.quantile(medians, (share, 1 - share))
    return float(low), float(high)


def _middle_ranks(ranks: NDArray[np.integer]) -> list[NDArray[np.integer]]:
    """The two middle values of each resample, the same one twice where there is one; in batches."""
    count, length = len(ranks), block_length(len(ranks))
    circle = np.concatenate([ranks, ranks[: length - 1]])
    blocks = np.lib.stride_tricks.sliding_window_view(circle, length)
    middle = ((count - 1) // 2, count // 2)
    rng = np.random.default_rng(0)
    rows = max(1, BATCH // count)
    batches = []
    for done in range(0, RESAMPLES, rows):
        starts = rng.integers(0, count, (min(rows, RESAMPLES - done), -(-count // length)))
        resamples = blocks[starts].reshape(len(starts), -1)[:, :count]
        batches.append(np.partition(resamples, middle, axis=1)[:, middle])
    return batches
