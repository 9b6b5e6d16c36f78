"""The server scenario: Poisson arrivals at one worker, and the highest rate at which a percentile keeps a bound.

As MLPerf defines it (Reddi et al., arXiv 1911.02549, section III-C): queries of one sample arrive by a Poisson process;
the metric is the rate of it at which no more than 1 % (p99) or 10 % (p90) of the queries are answered later than the
bound. Samples are drawn at random with replacement. The numbers of queries are those below which MLPerf's early
stopping (its inference rules, appendix "Early stopping criterion") tells nothing of a percentile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmark.measure.statistics import PERCENTILES, samples_needed
from benchmark.measured import ServerTrial

T = TypeVar("T")


@dataclass(frozen=True)
class Bound:
    """What must be kept: a percentile of the latencies lies at or below a number of milliseconds.

    Attributes:
        ms: from a query's arrival to its answer.
        percentile: one whose number of samples is known, 50, 90 or 99.

    Raises:
        ValueError: it is another percentile, or the bound is not above 0.
    """

    ms: float
    percentile: int = 99

    def __post_init__(self) -> None:
        if self.percentile not in PERCENTILES:
            known = ", ".join(map(str, PERCENTILES))
            raise ValueError(f"percentile {self.percentile} is not known; choose from {known}")
        if not self.ms > 0:
            raise ValueError(f"a bound of {self.ms} ms cannot be kept")

    @property
    def queries_needed(self) -> int:
        """How many queries the percentile needs."""
        return samples_needed(self.percentile)

    def allowed(self, queries: int) -> int:
        """How many of the queries may be late.

        The percentile is the smallest latency that a share of at least p of the queries does not exceed, of n queries
        the one in place ⌈p·n⌉; it is above the bound as soon as more than n − ⌈p·n⌉ = ⌊(1 − p)·n⌋ queries are. Of 64
        queries 6 may be late for p90, of 662 queries 6 for p99.
        """
        return queries * (100 - self.percentile) // 100

    def late(self, latencies_ms: Sequence[float]) -> int:
        """How many are above the bound."""
        return sum(latency > self.ms for latency in latencies_ms)

    def broken(self, late: int, queries: int) -> bool:
        """Whether so many late ones break the bound, however the rest of a trial of so many queries goes.

        Nor can a trial of fewer queries than the percentile needs, if it goes on to that number, mend it.
        """
        return late > self.allowed(max(queries, self.queries_needed))


def poisson_arrivals(rate: float, queries: int, seed: int) -> NDArray[np.float64]:
    """Seconds from a trial's start to each query's arrival.

    Gaps are exponential with a mean of 1 / rate. One seed gives one pattern, drawn out or pressed together by the rate:
    two rates then differ by nothing but the rate, and in a search the luck of the draw cannot favour the higher one.

    Args:
        rate: arrivals a second, above 0.
        queries: how many.
        seed: of the pattern.
    """
    return np.cumsum(np.random.default_rng([seed, 0]).exponential(1.0, queries)) / rate


def serve(
    process: Callable[[T], object],
    units: Sequence[T],
    rate: float,
    queries: int,
    seed: int,
    bound: Bound,
    *,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> ServerTrial:
    """Answers queries that arrive by a Poisson process, first come first served.

    Arrivals are fixed beforehand and wait for no answer (an open loop), and a latency counts from the arrival as it was
    scheduled: neither a slow call nor a sleep that ends late is hidden from the queries behind it (no coordinated
    omission). A query is never begun before its arrival. The trial ends early once the bound is broken whatever comes,
    see `Bound.broken`.

    Args:
        process: answers one unit.
        units: each query asks for one of them, drawn at random with replacement.
        rate: queries a second.
        queries: how many arrive.
        seed: of arrivals and draws; two rates of one seed ask for the same units in the same order.
        bound: ends the trial early, and is judged.
        clock: seconds.
        sleep: waits so many seconds.

    Returns:
        The trial. `queries` are those answered. `percentile_ms` is of them, and null where they are too few.

    Raises:
        ValueError: there is no unit, no query or no rate.
    """
    if not units or queries < 1 or not rate > 0:
        raise ValueError(f"{len(units)} units, {queries} queries at {rate}/s make no trial")
    drawn = np.random.default_rng([seed, 1]).integers(len(units), size=queries)
    latencies_ms: list[float] = []
    late, started = 0, clock()
    for arrival, index in zip((started + poisson_arrivals(rate, queries, seed)).tolist(), drawn, strict=True):
        while (idle := arrival - clock()) > 0:
            sleep(idle)
        process(units[index])
        latencies_ms.append(1e3 * (clock() - arrival))
        late += latencies_ms[-1] > bound.ms
        if bound.broken(late, queries):
            break
    return judged(rate, latencies_ms, queries, bound)


def judged(rate: float, latencies_ms: Sequence[float], queries: int, bound: Bound) -> ServerTrial:
    """What the answers say of the rate.

    Args:
        rate: queries a second.
        latencies_ms: of the queries that were answered.
        queries: that were to be answered.
        bound: broken, kept, or untold where the queries are too few for its percentile.
    """
    enough = len(latencies_ms) >= bound.queries_needed
    kept = False if bound.broken(bound.late(latencies_ms), queries) else (True if enough else None)
    value = float(np.percentile(latencies_ms, bound.percentile, method="inverted_cdf")) if enough else None
    return ServerTrial(rate=rate, queries=len(latencies_ms), percentile_ms=value, kept=kept)
