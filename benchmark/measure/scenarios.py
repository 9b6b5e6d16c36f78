"""The offline scenario: units one after another without a pause, over the wall time of the whole.

In MLPerf's offline scenario (Reddi et al., arXiv 1911.02549, section III-C) all samples are there at the start, and
throughput is measured. It is not derived from latencies: what a unit costs besides its call, and what is gained by
making the next one ready meanwhile, count as they do in a real labelling job. The server scenario is in
`benchmark.measure.server`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from benchmark.stages.ahead import ahead

T = TypeVar("T")
ReadyT = TypeVar("ReadyT")

DEPTH = 1
"""Units made ready ahead of the one that runs, as `sambench label` does it."""


@dataclass(frozen=True)
class Offline:
    """An offline pass.

    Attributes:
        units: processed.
        seconds: wall time from before the first unit to after the last.
    """

    units: int
    seconds: float


@overload
def offline(
    process: Callable[[T], object], units: Iterable[T], most_s: float, *, clock: Callable[[], float] = ...
) -> Offline: ...


@overload
def offline(
    process: Callable[[ReadyT], object],
    units: Iterable[T],
    most_s: float,
    prepare: Callable[[T], ReadyT],
    *,
    clock: Callable[[], float] = ...,
) -> Offline: ...


def offline(
    process: Callable[[Any], object],
    units: Iterable[Any],
    most_s: float,
    prepare: Callable[[Any], Any] | None = None,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Offline:
    """Processes units one after another and measures the wall time of the whole.

    The first unit's preparation is on the clock too, as is the thread's start: nothing was done beforehand. The answers
    are dropped. What a unit raises is raised here.

    Args:
        process: runs a unit; with `prepare`, what that made of the unit (`finish` of the pipelines that have both).
        units: the work; it may have no end.
        most_s: the unit during which so many seconds have passed is the last.
        prepare: the part of a unit's work that needs no runner. It is done one unit ahead in a thread of its own.
        clock: seconds.
    """
    done, started = 0, clock()
    seconds = 0.0
    with closing(_ready(units, prepare)) as ready:
        for unit in ready:
            process(unit)
            done, seconds = done + 1, clock() - started
            if seconds >= most_s:
                break
    return Offline(done, seconds)


def _ready(units: Iterable[Any], prepare: Callable[[Any], Any] | None) -> Generator[Any]:
    if prepare is None:
        return (unit for unit in units)
    return ahead((prepare(unit) for unit in units), DEPTH)
