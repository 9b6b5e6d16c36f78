"""The rate that a search finds against queueing theory, and what it says where there is none."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from benchmark.measure.rate import HIGHEST, RESOLUTION, TRIALS, expected_rate, find_rate, queries_within
from benchmark.measure.server import Bound, serve
from benchmark.measured import Server, ServerTrial
from tests.benchmark.measure.virtual import Virtual


def waits_at_most(seconds: float, rate: float, service: float) -> float:
    """Probability of an M/D/1 queue (Erlang, 1909; Crommelin's form of 1932)."""
    total = 0.0
    for served in range(int(seconds // service) + 1):
        left = rate * (seconds - served * service)
        total += (-left) ** served / math.factorial(served) * math.exp(left)
    return (1 - rate * service) * total


def theory(service: float, bound: Bound) -> float:
    """The rate at which the percentile of an M/D/1 queue's latency is the bound."""
    spare, share = bound.ms / 1e3 - service, bound.percentile / 100
    return float(brentq(lambda rate: waits_at_most(spare, rate, service) - share, 1e-6 / service, 0.99 / service))


def searched(service: float, bound: Bound, queries: int, budget_s: float = 1e9, seed: int = 0) -> Server:
    time = Virtual(itertools.repeat(service))

    def trial(rate: float) -> ServerTrial:
        return serve(time.process, [0], rate, queries, seed, bound, clock=time.clock, sleep=time.sleep)

    return find_rate(trial, 1e3 * service, budget_s, bound, queries, clock=time.clock)


def oracle(limit: float, asked: list[float] | None = None) -> Callable[[float], ServerTrial]:
    """Keeps the bound up to a rate."""

    def trial(rate: float) -> ServerTrial:
        if asked is not None:
            asked.append(rate)
        return ServerTrial(rate=rate, queries=662, percentile_ms=1.0, kept=rate <= limit)

    return trial


def test_the_theory_is_right() -> None:
    """Its mean wait must be that of Pollaczek and Khinchine: ρ·s / 2(1 − ρ)."""
    service, rate = 0.5, 1.2
    step = 0.0005
    mean = step * sum(1 - waits_at_most((place + 0.5) * step, rate, service) for place in range(30_000))
    assert mean == pytest.approx(0.6 * service / (2 * 0.4), rel=1e-3)


@pytest.mark.parametrize(("percentile", "times"), [(90, 1.5), (90, 3), (99, 2), (99, 6)])
def test_the_rate_is_theorys_within_ten_per_cent(percentile: int, times: float) -> None:
    """With enough queries; what luck makes of few is in docs/method.md."""
    service = 0.05
    bound = Bound(1e3 * times * service, percentile)
    found = searched(service, bound, queries=20_000)
    assert found.rate == pytest.approx(theory(service, bound), rel=0.1)
    assert found.reason is None
    assert len(found.trials) <= TRIALS


@given(limit=st.floats(0.01, 0.94), times=st.floats(1.01, 50), percentile=st.sampled_from([90, 99]))
def test_any_limit_is_found_to_within_the_resolution(limit: float, times: float, percentile: int) -> None:
    """The start is a guess and may be far off; the search must not depend on it."""
    service_ms = 20.0
    top = limit * 1e3 / service_ms
    found = find_rate(oracle(top), service_ms, 1e12, Bound(times * service_ms, percentile))
    if top < (100 - percentile) / 200 * 1e3 / service_ms:
        assert found.rate is None
    else:
        assert found.rate is not None
        assert top / RESOLUTION <= found.rate <= top
        assert {trial.kept for trial in found.trials} == {True, False}
    assert len(found.trials) <= 16


def test_it_begins_near_where_the_queue_is_expected_to_break() -> None:
    for percentile, times in itertools.product((90, 99), (1.5, 3.0, 6.0)):
        bound = Bound(times, percentile)
        assert 0.4 < expected_rate(1.0, bound) / theory(1e-3, bound) < 2.5


def test_no_rate_is_found_above_what_the_worker_can_answer_at_all() -> None:
    """A generous bound holds at twice the capacity for as long as a trial takes; the queue is growing all the while."""
    overload = Virtual(itertools.repeat(0.05))
    bound = Bound(60_000.0, 99)
    beyond = serve(overload.process, [0], 40.0, 662, 0, bound, clock=overload.clock, sleep=overload.sleep)
    assert beyond.kept is True
    found = searched(0.05, bound, 662)
    assert found.rate == pytest.approx(HIGHEST * 20)
    assert (
        found.reason == "the bound never limited it: at 19/s the worker is busy 95% of the time with queries of 50 ms"
    )


def test_a_call_longer_than_the_bound_needs_no_trial() -> None:
    asked: list[float] = []
    found = find_rate(oracle(1e9, asked), 120.0, 60.0, Bound(100.0))
    assert (found.rate, found.trials, asked) == (None, [], [])
    assert found.reason == "a query alone takes 120 ms, more than the bound"


def test_calls_that_are_often_too_long_by_themselves_are_told_apart_from_queueing() -> None:
    time = Virtual(itertools.cycle([0.01] * 9 + [5.0]))
    bound = Bound(1000.0, 99)

    def trial(rate: float) -> ServerTrial:
        return serve(time.process, [0], rate, 662, 0, bound, clock=time.clock, sleep=time.sleep)

    found = find_rate(trial, 509.0, 1e9, bound, clock=time.clock)
    assert found.rate is None
    assert found.reason is not None
    assert "the calls themselves are too often longer than 1000 ms" in found.reason


class TestBudget:
    def test_a_first_trial_that_takes_too_long_is_not_begun(self) -> None:
        asked: list[float] = []
        bound = Bound(1200.0, 99)
        found = find_rate(oracle(9.0, asked), 400.0, 120.0, bound)
        rate = expected_rate(400.0, bound)
        assert (found.rate, asked) == (None, [])
        assert found.reason == f"a trial of 662 queries at {rate:.3g}/s takes {662 / rate:.0f} s, the budget is 120 s"

    def test_what_was_found_by_then_stands_and_the_reason_says_what_is_open(self) -> None:
        service, bound = 0.05, Bound(150.0, 99)
        whole = searched(service, bound, 662)
        assert whole.rate is not None
        first = whole.trials[0]
        assert first.kept is not None
        some = searched(service, bound, 662, budget_s=1.5 * 662 / first.rate)
        assert some.trials == whole.trials[: len(some.trials)]
        assert len(some.trials) < len(whole.trials)
        assert some.rate == max((trial.rate for trial in some.trials if trial.kept), default=None)
        assert some.reason is not None
        assert "s of the budget of" in some.reason

    @pytest.mark.parametrize(("limit", "begins"), [(0.0, "a trial of"), (1e9, "it may be higher; a trial of")])
    def test_with_one_side_open_the_reason_says_which(self, limit: float, begins: str) -> None:
        ticks = itertools.count(0.0, 100.0)
        found = find_rate(oracle(limit), 50.0, 260.0, Bound(150.0, 99), clock=lambda: next(ticks))
        assert found.reason is not None
        assert found.reason.startswith(begins)
        assert (found.rate is None) is (limit == 0.0)

    def test_the_queries_of_a_trial_fill_the_budget(self) -> None:
        bound = Bound(3.0, 99)
        queries = queries_within(120.0, 1.0, bound)
        assert TRIALS * queries / expected_rate(1.0, bound) == pytest.approx(120.0, rel=0.01)
        assert queries_within(1.0, 50.0, Bound(150.0, 99)) == 662


def test_too_few_queries_for_the_percentile_are_said_to_be_so() -> None:
    found = find_rate(oracle(1.0), 1.0, 60.0, Bound(10.0, 90), queries=63)
    assert (found.rate, found.reason) == (None, "a trial has 63 queries; p90 needs 64")


def test_a_call_that_takes_no_time_is_no_call() -> None:
    with pytest.raises(ValueError, match="cannot take 0"):
        find_rate(oracle(1.0), 0.0, 60.0, Bound(10.0))
