"""The server scenario against an independent queue: arrivals wait for nobody, and waiting counts."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, kstest

from benchmark.measure.server import Bound, judged, poisson_arrivals, serve
from tests.benchmark.measure.virtual import Virtual

GENEROUS = Bound(1e12, 90)


def lindley(arrivals: np.ndarray, service: np.ndarray) -> np.ndarray:
    """Waiting time plus own time of each customer of a queue with one server (Lindley, 1952)."""
    waits = np.zeros(len(arrivals))
    for place in range(1, len(arrivals)):
        waits[place] = max(0.0, waits[place - 1] + service[place - 1] - (arrivals[place] - arrivals[place - 1]))
    return waits + service


class TestArrivals:
    def test_gaps_are_exponential_with_the_rates_mean(self) -> None:
        gaps = np.diff(poisson_arrivals(rate=4.0, queries=5000, seed=1), prepend=0.0)
        assert kstest(gaps, "expon", args=(0, 0.25)).pvalue > 0.01
        # Each gap is new: those after long ones are no longer than others.
        assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 3 / math.sqrt(5000)

    def test_a_seed_is_a_pattern_that_the_rate_draws_out(self) -> None:
        slow, fast = poisson_arrivals(1.0, 50, 7), poisson_arrivals(10.0, 50, 7)
        np.testing.assert_allclose(slow, 10 * fast)
        assert not np.allclose(slow, poisson_arrivals(1.0, 50, 8))


class TestServe:
    @given(
        service=st.lists(st.floats(0.001, 2), min_size=70, max_size=90),
        rate=st.floats(0.1, 20),
        seed=st.integers(0, 2**31),
    )
    def test_latencies_are_those_of_an_independent_queue(self, service: list[float], rate: float, seed: int) -> None:
        time = Virtual(iter(service))
        told = serve(time.process, [0], rate, len(service), seed, GENEROUS, clock=time.clock, sleep=time.sleep)
        arrivals = poisson_arrivals(rate, len(service), seed)
        expected = lindley(arrivals, np.array(service))
        assert told.queries == len(service)
        assert told.percentile_ms == pytest.approx(1e3 * np.sort(expected)[math.ceil(0.9 * len(service)) - 1])
        # First come, first served, none before it came and none later than it had to be.
        begun = arrivals + expected - service + 1000.0
        np.testing.assert_allclose(time.begun, begun, atol=1e-8)

    def test_a_slow_call_is_felt_by_those_behind_it(self) -> None:
        """Coordinated omission: were latencies counted from the start of each call, all but one would take 1 ms."""
        time = Virtual(itertools.chain([100.0], itertools.repeat(0.001)))
        told = serve(time.process, [0], 10.0, 100, 0, GENEROUS, clock=time.clock, sleep=time.sleep)
        assert told.percentile_ms is not None
        assert told.percentile_ms > 95_000

    def test_a_sleep_that_ends_late_is_counted(self) -> None:
        time = Virtual(itertools.repeat(0.001), oversleep_s=0.5)
        told = serve(time.process, [0], 0.001, 64, 0, GENEROUS, clock=time.clock, sleep=time.sleep)
        assert told.percentile_ms == pytest.approx(501)

    def test_units_are_drawn_at_random_with_replacement_and_alike_for_every_rate(self) -> None:
        drawn: list[list[str]] = []
        for rate in (1.0, 100.0):
            time = Virtual(itertools.repeat(0.001))
            asked: list[str] = []
            serve(asked.append, "abc", rate, 600, 5, GENEROUS, clock=time.clock, sleep=time.sleep)
            drawn.append(asked)
        assert drawn[0] == drawn[1]
        assert all(150 < drawn[0].count(unit) < 250 for unit in "abc")

    def test_a_trial_ends_once_no_answer_can_mend_it(self) -> None:
        """Of 662 queries 6 may be late for p99; the seventh late answer is the last."""
        time = Virtual(itertools.chain([0.001] * 20, itertools.repeat(9.0)))
        told = serve(time.process, [0], 0.01, 662, 0, Bound(1000.0, 99), clock=time.clock, sleep=time.sleep)
        assert (told.queries, told.kept, told.percentile_ms) == (27, False, None)

    @pytest.mark.parametrize(("units", "queries", "rate"), [([], 64, 1.0), ([0], 0, 1.0), ([0], 64, 0.0)])
    def test_a_trial_of_nothing_is_refused(self, units: list[int], queries: int, rate: float) -> None:
        with pytest.raises(ValueError, match="make no trial"):
            serve(lambda unit: None, units, rate, queries, 0, GENEROUS)

    def test_on_the_real_clock_no_query_is_answered_before_it_came(self) -> None:
        """The rate is kept: 64 queries at 2000 a second cannot end before the last has arrived."""
        import time

        started = time.perf_counter()
        told = serve(lambda unit: None, [0], 2000.0, 64, 3, GENEROUS)
        assert time.perf_counter() - started >= poisson_arrivals(2000.0, 64, 3)[-1]
        assert told.percentile_ms is not None
        assert told.percentile_ms > 0


class TestBound:
    @pytest.mark.parametrize(("percentile", "needed"), [(90, 64), (99, 662)])
    def test_the_numbers_needed_are_mlperfs_early_stopping(self, percentile: int, needed: int) -> None:
        """The fewest of which one may be late and the percentile still holds with 99 % confidence: a binomial tail."""
        late = 1 - percentile / 100
        fewest = next(count for count in itertools.count(1) if binom.cdf(1, count, late) <= 0.01)
        assert Bound(1.0, percentile).queries_needed == fewest == needed

    @given(
        latencies=st.lists(st.integers(1, 20), min_size=1, max_size=1500).map(lambda told: [float(ms) for ms in told]),
        percentile=st.sampled_from([50, 90, 99]),
        bound_ms=st.integers(1, 20),
    )
    def test_a_trial_to_the_end_keeps_the_bound_just_where_its_percentile_does(
        self, latencies: list[float], percentile: int, bound_ms: int
    ) -> None:
        """Counting the late ones and looking at the percentile are two ways; they must never disagree."""
        bound = Bound(float(bound_ms), percentile)
        told = judged(1.0, latencies, len(latencies), bound)
        if len(latencies) >= bound.queries_needed:
            ranked = sorted(latencies)
            expected = next(ms for place, ms in enumerate(ranked, 1) if 100 * place >= percentile * len(ranked))
            assert told.percentile_ms == expected
            assert told.kept is (expected <= bound_ms)
        else:
            assert told.percentile_ms is None
            assert told.kept is not True

    def test_too_few_queries_tell_nothing_unless_so_many_are_late(self) -> None:
        bound = Bound(10.0, 99)
        assert judged(1.0, [5.0] * 661, 661, bound).kept is None
        assert judged(1.0, [5.0] * 600 + [11.0] * 6, 606, bound).kept is None
        assert judged(1.0, [5.0] * 600 + [11.0] * 7, 607, bound).kept is False
        assert judged(1.0, [5.0] * 656 + [11.0] * 6, 662, bound).kept is True

    @pytest.mark.parametrize(
        ("ms", "percentile", "told"), [(1.0, 95, "choose from 50, 90, 99"), (0.0, 99, "bound of 0.0 ms")]
    )
    def test_a_bound_that_means_nothing_is_refused(self, ms: float, percentile: int, told: str) -> None:
        with pytest.raises(ValueError, match=told):
            Bound(ms, percentile)
