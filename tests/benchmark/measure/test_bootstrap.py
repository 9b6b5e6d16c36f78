from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmark.measure import bootstrap
from benchmark.measure.bootstrap import block_length, median_interval, tail
from tests.benchmark.measure.simulated import both_sides

values = st.lists(st.floats(-1e6, 1e6), min_size=8, max_size=80)


def test_neighbours_are_drawn_together_by_the_cube_root() -> None:
    assert [block_length(count) for count in (1, 8, 16, 27, 64, 1000)] == [1, 2, 3, 3, 4, 10]


def test_the_tail_is_that_of_students_t_with_as_many_values_as_blocks() -> None:
    """By hand for two blocks: t of one degree of freedom is 12.706, and 12.706 × √2 deviations are 17.97."""
    assert tail(2) == pytest.approx(stats.norm.sf(12.7062 * np.sqrt(2)), rel=1e-2)
    assert tail(10) == pytest.approx(stats.norm.sf(2.26216 * np.sqrt(10 / 9)), rel=1e-4)
    assert tail(1e9) == pytest.approx(0.025, rel=1e-6)


@given(values)
def test_the_interval_is_of_values_seen_and_holds_their_median(series: list[float]) -> None:
    low, high = median_interval(series)
    assert min(series) <= low <= high <= max(series)
    assert low <= np.median(series) <= high


@given(values, st.floats(0.1, 10), st.floats(-100, 100))
def test_it_follows_the_unit(series: list[float], factor: float, offset: float) -> None:
    low, high = median_interval(series)
    moved = median_interval([factor * value + offset for value in series])
    assert moved == pytest.approx((factor * low + offset, factor * high + offset), rel=1e-9, abs=1e-6)


@given(values)
def test_it_turns_round_with_the_sign(series: list[float]) -> None:
    low, high = median_interval(series)
    assert median_interval([-value for value in series]) == pytest.approx((-high, -low), rel=1e-9, abs=1e-9)


def test_against_scipy_where_blocks_are_single_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """With blocks of one and a plain tail it is the common bootstrap; two of those differ by their draws alone."""
    series = np.random.default_rng(0).gamma(2.0, 3.0, 101)
    monkeypatch.setattr(bootstrap, "block_length", lambda count: 1)
    monkeypatch.setattr(bootstrap, "tail", lambda blocks: 0.025)
    common = stats.bootstrap((series,), np.median, n_resamples=20_000, batch=1000, method="percentile", rng=1)
    width = common.confidence_interval.high - common.confidence_interval.low
    assert median_interval(series) == pytest.approx(tuple(common.confidence_interval), abs=0.1 * width)


def test_what_comes_in_waves_gets_a_wider_interval_than_the_same_values_shuffled() -> None:
    """The reason for blocks: neighbours that are alike say less than as many independent values."""
    rng = np.random.default_rng(1)
    waves = np.repeat(rng.normal(size=50), 6)
    (low, high), (shuffled_low, shuffled_high) = median_interval(waves), median_interval(rng.permutation(waves))
    assert high - low > 1.5 * (shuffled_high - shuffled_low)


def test_thousands_of_values_are_resampled_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same draws in fewer values at a time give the same interval: a batch is about memory alone."""
    series = np.random.default_rng(2).normal(size=3000)
    interval = median_interval(series)
    assert interval[0] < 0 < interval[1] < 0.1
    assert len(bootstrap._middle_ranks(np.arange(3000, dtype=np.uint16))) > 1
    monkeypatch.setattr(bootstrap, "BATCH", bootstrap.RESAMPLES * 3000)
    assert len(bootstrap._middle_ranks(np.arange(3000, dtype=np.uint16))) == 1
    assert median_interval(series) == interval


@pytest.mark.parametrize("pairs", [255, 256, 257])
def test_ranks_fit_their_integers(pairs: int) -> None:
    """The smallest type that holds the count, at the edge of eight bits."""
    low, high = median_interval(np.arange(pairs)[::-1])
    assert low < (pairs - 1) / 2 < high


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pairs", "noise", "least"),
    [
        (16, {}, 93),
        (16, {"hiccups": 0.03}, 93),
        (20, {"correlation": 0.3}, 91),
        (60, {"correlation": 0.3}, 91),
    ],
)
def test_the_interval_holds_the_true_ratio_about_as_often_as_it_says(
    pairs: int, noise: dict[str, float], least: float
) -> None:
    """Of 1,000 runs with the truth known, less two standard errors of such a count; docs/method.md has the table."""
    rng = np.random.default_rng(pairs)
    held = 0
    for _ in range(1000):
        baseline, candidate = both_sides(rng, pairs, speedup=1.3, **noise)
        low, high = median_interval(np.log(baseline / candidate))
        held += low <= np.log(1.3) <= high
    assert held >= 10 * least
