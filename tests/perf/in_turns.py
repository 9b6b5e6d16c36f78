"""Runners that take turns on the same input in one process, so that each round gives pairs of neighbouring turns."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from benchmark.measure.schedule import Schedule, calls_per_turn
from runners.base import Runner

PAUSE_S = 0.05
"""Before each turn: threads of the one before are asleep by then."""

WARM_UPS = 2

Times = dict[str, list[float]]
"""Lane → milliseconds of a call in each round, the same number for all."""


def times(lanes: Mapping[str, Runner], inputs: Mapping[str, np.ndarray], rounds: int) -> Times:
    """Lane → milliseconds of a call in each round; a turn of short calls is the mean over several.

    Args:
        lanes: loaded runners.
        inputs: of every lane.
        rounds: after the warm-up.
    """
    found: Times = {name: [] for name in lanes}
    schedule = Schedule(list(lanes), seed=0)
    calls = calls_per_turn(min(_warm(runner, inputs) for runner in lanes.values()))
    for _ in range(rounds):
        for name in schedule.round(list(lanes)):
            time.sleep(PAUSE_S)
            started = time.perf_counter()
            for _ in range(calls):
                lanes[name].run(inputs)
            found[name].append(1e3 * (time.perf_counter() - started) / calls)
    return found


def _warm(runner: Runner, inputs: Mapping[str, np.ndarray]) -> float:
    """Milliseconds of the last of the first calls."""
    for _ in range(WARM_UPS):
        runner.run(inputs)
    started = time.perf_counter()
    runner.run(inputs)
    return 1e3 * (time.perf_counter() - started)
