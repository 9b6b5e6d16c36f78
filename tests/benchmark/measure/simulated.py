"""Times of backends whose speed is known, on a machine that drifts, hiccups and remembers: the truth for statistics."""

from __future__ import annotations

import numpy as np

from benchmark.measure.schedule import Schedule
from benchmark.measure.statistics import MARGIN, Speedup, narrow_enough, paired_speedup


def noise(
    rng: np.random.Generator, count: int, spread: float = 0.05, correlation: float = 0.0, hiccups: float = 0.0
) -> np.ndarray:
    """Factors around 1: lognormal, each correlated with the one before, some of them three times as large.

    Args:
        spread: standard deviation of the logarithm.
        hiccups: the share of them.
    """
    logs = rng.normal(0, 1, count)
    for place in range(1, count if correlation else 0):
        logs[place] = correlation * logs[place - 1] + np.sqrt(1 - correlation**2) * logs[place]
    return np.exp(spread * logs) * np.where(rng.random(count) < hiccups, 3.0, 1.0)


def both_sides(
    rng: np.random.Generator, pairs: int, speedup: float = 1.0, correlation: float = 0.0, hiccups: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Baseline and candidate times of pairs measured at the very same moment."""
    baseline, candidate = (noise(rng, pairs, 0.05, correlation, hiccups) for _ in range(2))
    return baseline, candidate / speedup


def in_turns(rng: np.random.Generator, pairs: int, slowdown: float, calls: int, drift: float = 0.3) -> np.ndarray:
    """Mean times of turns as scheduled, on a machine that slows down by `drift` over 100 pairs, then recovers.

    Args:
        slowdown: the candidate's, 0.05 for 5 %.
        calls: in a turn, 5 % noise each.

    Returns:
        [2, pairs]: the baseline's and the candidate's.
    """
    schedule = Schedule(["baseline", "candidate"], int(rng.integers(2**31)))
    order = np.array([schedule.round(schedule.lanes)[0] == "candidate" for _ in range(pairs)])
    turn = np.arange(pairs)[None, :] * 2 + np.array([order, ~order])
    machine = 1 + drift * (1 - np.abs(turn / 200 % 2 - 1))
    work = np.array([[1.0], [1.0 + slowdown]])
    return machine * work * noise(rng, 2 * pairs * calls).reshape(2, pairs, calls).mean(axis=2)


def measured_until_narrow(
    rng: np.random.Generator, slowdown: float, calls: int, look_every: int = 10, most: int = 3000
) -> Speedup:
    """The whole procedure: pairs in turns, a look after every few, an end when the interval is narrow or at the cap."""
    baseline, candidate = in_turns(rng, most, slowdown, calls)
    for pairs in range(look_every, most + 1, look_every):
        found = paired_speedup(baseline[:pairs].tolist(), candidate[:pairs].tolist())
        if narrow_enough(found, MARGIN):
            break
    return found
