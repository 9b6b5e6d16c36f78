"""The search for the highest rate of Poisson arrivals that keeps a bound."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from benchmark.measure.server import Bound
from benchmark.measured import Server, ServerTrial

RESOLUTION = 1.05
"""The search ends when a rate that broke the bound is no more than 5 % above one that kept it."""

HIGHEST = 0.95
"""Share of the time a worker may be busy. At 1 its queue grows without bound, but a trial is too short to show it: of
662 queries at 1.1 times what it can answer, 60 wait at the end, and a generous bound would pass for kept."""

STEP = 1.25
"""The factor from the first rate to the second, while one side is still open; it grows with every further trial."""

TRIALS = 8
"""What a search takes, seldom more; those that break the bound end early."""


def find_rate(
    trial: Callable[[float], ServerTrial],
    service_ms: float,
    budget_s: float,
    bound: Bound,
    queries: int | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Server:
    """The highest rate at which a trial keeps the bound, to within 5 %.

    Starts where queueing theory expects it, goes up or down until it lies between a rate that kept the bound and one
    that broke it, and halves the distance of their logarithms. A trial that would not end within the budget is not
    begun.

    Args:
        trial: tries a rate, in queries a second: `serve` with all the rest filled in, with one seed for all rates.
        service_ms: mean of what answering one query takes, without waiting.
        budget_s: wall time for all trials.
        bound: what must be kept.
        queries: of one trial; None takes as many as the percentile needs.
        clock: seconds.

    Raises:
        ValueError: `service_ms` is not above 0.
    """
    if not service_ms > 0:
        raise ValueError(f"a query cannot take {service_ms} ms")
    queries = bound.queries_needed if queries is None else queries
    trials: list[ServerTrial] = []
    if service_ms > bound.ms:
        return _server(bound, trials, f"a query alone takes {service_ms:.3g} ms, more than the bound")
    if queries < bound.queries_needed:
        needed = f"p{bound.percentile} needs {bound.queries_needed}"
        return _server(bound, trials, f"a trial has {queries} queries; {needed}")
    started = clock()
    while (rate := next_rate(trials, service_ms, bound)) is not None:
        left = budget_s - (clock() - started)
        if queries / rate > left:
            return _server(bound, trials, _too_long(queries, rate, left, budget_s, trials))
        trials.append(trial(rate))
    return _server(bound, trials, _limit(trials, service_ms, bound))


def next_rate(trials: Sequence[ServerTrial], service_ms: float, bound: Bound) -> float | None:
    """The rate to try next; None when the search is over.

    Args:
        trials: so far.
        service_ms: mean of what answering one query takes, without waiting.
        bound: what must be kept.
    """
    lowest, highest = _range(service_ms, bound)
    kept, broken = _best(trials), _least_broken(trials)
    if kept is None and broken is None:
        return expected_rate(service_ms, bound)
    if broken is None:
        assert kept is not None  # noqa: S101 - one of the two is there
        return None if kept >= highest else min(kept * STEP ** len(trials), highest)
    if kept is None:
        return None if broken <= lowest else max(broken / STEP ** len(trials), lowest)
    return None if broken <= kept * RESOLUTION else math.sqrt(kept * broken)


def expected_rate(service_ms: float, bound: Bound) -> float:
    """Queries a second at which the percentile of an M/D/1 queue lies about at the bound: where to begin.

    For calls of one length s and a worker busy for the share ρ of the time, a query waits with probability ρ, for
    ρ·s / 2(1 − ρ) on average (Pollaczek and Khinchine). With an exponential tail, the share of queries that wait longer
    than t is ρ·exp(−2(1 − ρ)·t/s).

    Args:
        service_ms: s.
        bound: t is what it leaves beside s.
    """
    lowest, highest = _range(service_ms, bound)
    spare, most_late = bound.ms / service_ms - 1, 1 - bound.percentile / 100
    best = lowest
    for rate in np.geomspace(lowest, highest, 101).tolist():
        busy = rate * service_ms / 1e3
        if busy * math.exp(-2 * (1 - busy) * spare) <= most_late:
            best = rate
    return best


def queries_within(budget_s: float, service_ms: float, bound: Bound) -> int:
    """How many queries a trial may have if a search is to end within the budget; no fewer than the percentile needs.

    The rate that a search finds is as uncertain as the percentile of one trial; `docs/method.md` has numbers.

    Args:
        budget_s: wall time for all trials.
        service_ms: mean of what answering one query takes, without waiting.
        bound: what must be kept.
    """
    return max(bound.queries_needed, int(budget_s / TRIALS * expected_rate(service_ms, bound)))


def _range(service_ms: float, bound: Bound) -> tuple[float, float]:
    """The rates worth trying. At the lowest, half as many queries wait at all as may be late."""
    capacity = 1e3 / service_ms
    return (1 - bound.percentile / 100) / 2 * capacity, HIGHEST * capacity


def _best(trials: Sequence[ServerTrial]) -> float | None:
    return max((trial.rate for trial in trials if trial.kept), default=None)


def _least_broken(trials: Sequence[ServerTrial]) -> float | None:
    return min((trial.rate for trial in trials if not trial.kept), default=None)


def _limit(trials: Sequence[ServerTrial], service_ms: float, bound: Bound) -> str | None:
    """Why the search ended; None where it did so because the rate was found."""
    kept, broken = _best(trials), _least_broken(trials)
    if kept is None:
        return (
            f"broken at {broken:.3g}/s too, where hardly any query waits: the calls themselves are too often longer "
            f"than {bound.ms:.4g} ms"
        )
    if broken is None:
        return (
            f"the bound never limited it: at {kept:.3g}/s the worker is busy {HIGHEST:.0%} of the time with queries of "
            f"{service_ms:.3g} ms"
        )
    return None


def _too_long(queries: int, rate: float, left: float, budget_s: float, trials: Sequence[ServerTrial]) -> str:
    takes = f"a trial of {queries} queries at {rate:.3g}/s takes {queries / rate:.0f} s"
    budget = (
        f"the budget is {budget_s:.0f} s" if not trials else f"{left:.0f} s of the budget of {budget_s:.0f} s are left"
    )
    kept, broken = _best(trials), _least_broken(trials)
    if kept is not None and broken is not None:
        return f"it lies below {broken:.3g}/s; {takes}, {budget}"
    if kept is not None:
        return f"it may be higher; {takes}, {budget}"
    return f"{takes}, {budget}"


def _server(bound: Bound, trials: Sequence[ServerTrial], reason: str | None) -> Server:
    return Server(
        bound_ms=bound.ms, percentile=bound.percentile, rate=_best(trials), trials=list(trials), reason=reason
    )
