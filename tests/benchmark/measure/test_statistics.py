from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmark.measure.statistics import PAIRS_NEEDED, paired_difference, paired_speedup, summarise, verdict

times = st.floats(1e-3, 1e5)


@pytest.mark.parametrize(
    ("count", "there"),
    [(1, (50,)), (63, (50,)), (64, (50, 90)), (661, (50, 90)), (662, (50, 90, 99))],
)
def test_a_percentile_is_shown_only_where_the_samples_support_it(count: int, there: tuple[int, ...]) -> None:
    latency = summarise(np.random.default_rng(count).gamma(2.0, 3.0, count).tolist())
    assert latency is not None
    values = {50: latency.p50, 90: latency.p90, 99: latency.p99}
    assert tuple(rank for rank, value in values.items() if value is not None) == there
    for rank in set(values) - set(there):
        assert latency.reason is not None and f"p{rank} needs" in latency.reason
    assert (latency.reason is None) == (count >= 662)


@given(st.lists(times, min_size=1, max_size=20), st.integers(662, 700))
def test_percentiles_and_mean_are_numpys(values: list[float], count: int) -> None:
    samples = np.resize(values, count).tolist()
    latency = summarise(samples)
    assert latency is not None
    assert (latency.p50, latency.p90, latency.p99) == tuple(np.percentile(samples, (50, 90, 99)))
    assert latency.mean == pytest.approx(np.mean(samples))


def test_every_sample_is_kept_in_the_order_measured() -> None:
    latency = summarise([3.0, 1.00004, 2.0])
    assert latency is not None
    assert latency.samples == [3.0, 1.0, 2.0]
    assert latency.p50 == 2.0
    assert latency.reason == "3 samples; p90 needs 64, p99 needs 662"


def test_no_samples_make_no_latency() -> None:
    assert summarise([]) is None


def test_constant_pairs_give_their_ratio_exactly() -> None:
    speedup = paired_speedup([6.0] * 10, [4.0] * 10)
    assert (speedup.ratio, speedup.ci95, speedup.pairs, speedup.verdict) == (1.5, (1.5, 1.5), 10, "faster")
    assert speedup.reason is None


def test_above_one_the_candidate_is_faster() -> None:
    assert paired_speedup([1.0] * 10, [2.0] * 10).ratio == 0.5
    assert paired_speedup([1.0] * 10, [2.0] * 10).verdict == "slower"


@given(st.lists(st.tuples(times, times), min_size=1, max_size=7))
def test_the_ratio_is_the_median_over_pairs_and_few_pairs_give_no_interval(pairs: list[tuple[float, float]]) -> None:
    baseline, candidate = zip(*pairs, strict=True)
    speedup = paired_speedup(baseline, candidate)
    assert speedup.ratio == pytest.approx(np.median([b / c for b, c in pairs]))
    assert speedup.ci95 is None
    assert speedup.verdict == "inconclusive"
    assert speedup.pairs == len(pairs)
    assert speedup.reason == f"{len(pairs)} pairs; an interval needs {PAIRS_NEEDED}"


def test_eight_pairs_give_an_interval() -> None:
    assert paired_speedup([2.0] * 8, [1.0] * 8).ci95 == (2.0, 2.0)


def test_nothing_measured_has_no_ratio_but_a_reason() -> None:
    speedup = paired_speedup([], [])
    assert (speedup.ratio, speedup.ci95, speedup.pairs, speedup.verdict) == (None, None, 0, "inconclusive")
    assert speedup.reason


def test_times_that_make_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="3 baseline times and 2 candidate times"):
        paired_speedup([1.0] * 3, [1.0] * 2)


def simulated(seed: int, pairs: int, speedup: float, drift: float) -> tuple[np.ndarray, np.ndarray]:
    """Both backends with 5 % skewed noise of their own on a machine that slows down from start to end."""
    rng = np.random.default_rng(seed)
    machine = np.linspace(1.0, 1.0 + drift, pairs)
    baseline, candidate = (machine * np.exp(rng.normal(0, 0.05, pairs)) for _ in range(2))
    return 100.0 * baseline, 100.0 / speedup * candidate


def test_the_interval_holds_the_true_ratio_about_as_often_as_it_says() -> None:
    """95 of 100 in the long run; a sound interval holds it in fewer than 90 of 100 in 3 % of such series."""
    held = 0
    for seed in range(100):
        interval = paired_speedup(*simulated(seed, pairs=40, speedup=1.3, drift=0.3)).ci95
        assert interval is not None
        held += interval[0] <= 1.3 <= interval[1]
    assert held >= 90


def test_the_interval_is_as_narrow_as_order_statistics_allow() -> None:
    """Against the exact interval of a median from the binomial distribution: one too wide would hide every speedup."""
    baseline, candidate = simulated(5, pairs=60, speedup=1.3, drift=0.0)
    ratios = np.sort(baseline / candidate)
    rank = int(stats.binom.ppf(0.025, 60, 0.5))
    exact = ratios[60 - rank] - ratios[rank - 1]
    interval = paired_speedup(baseline, candidate).ci95
    assert interval is not None
    assert 0.6 * exact < interval[1] - interval[0] < 1.2 * exact


def test_drift_of_the_machine_cancels_because_it_hits_both_sides() -> None:
    steady, drifting = (paired_speedup(*simulated(1, pairs=60, speedup=1.1, drift=drift)) for drift in (0.0, 0.3))
    assert drifting.ratio == pytest.approx(steady.ratio, rel=1e-12)
    assert drifting.ci95 == pytest.approx(steady.ci95, rel=1e-12)
    assert drifting.verdict == "faster"


def test_a_hiccup_in_one_turn_does_not_decide() -> None:
    baseline, candidate = simulated(2, pairs=21, speedup=1.0, drift=0.0)
    candidate[4] *= 1000
    speedup = paired_speedup(baseline, candidate)
    assert speedup.ratio == pytest.approx(1.0, abs=0.05)


def test_the_same_times_give_the_same_interval_twice() -> None:
    pairs = simulated(3, pairs=30, speedup=1.2, drift=0.1)
    assert paired_speedup(*pairs) == paired_speedup(*pairs)


def test_thousands_of_pairs_fit_into_memory_and_time() -> None:
    speedup = paired_speedup(*simulated(4, pairs=3000, speedup=2.0, drift=0.3))
    assert speedup.ci95 is not None
    assert 1.98 < speedup.ci95[0] < 2.0 < speedup.ci95[1] < 2.02


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((1.3, 1.5), "faster"),
        ((1.021, 1.03), "faster"),
        ((1.001, 1.03), "faster"),
        ((0.5, 0.7), "slower"),
        ((0.97, 0.999), "slower"),
        ((0.98, 1.02), "equivalent"),
        ((1.0, 1.0), "equivalent"),
        ((1.001, 1.02), "equivalent"),  # surely faster, but by less than two runs of one program differ
        ((0.98, 0.999), "equivalent"),
        ((0.9, 1.1), "inconclusive"),
        ((1.0, 1.5), "inconclusive"),
        ((0.5, 1.0), "inconclusive"),
        ((0.979, 1.02), "inconclusive"),
        ((0.98, 1.021), "inconclusive"),
    ],
)
def test_the_verdict_follows_the_whole_interval(interval: tuple[float, float], expected: str) -> None:
    assert verdict(interval) == expected


def test_the_margin_can_be_chosen() -> None:
    assert verdict((0.95, 1.05), margin=0.05) == "equivalent"
    assert verdict((0.99, 1.01), margin=0.0) == "inconclusive"
    assert paired_speedup([1.04] * 9, [1.0] * 9, margin=0.05).verdict == "equivalent"


@given(st.floats(0.01, 100), st.floats(0, 10))
def test_a_verdict_turns_round_when_the_backends_change_places(low: float, width: float) -> None:
    high = low + width
    there, back = verdict((low, high), margin=0.0), verdict((1 / high, 1 / low), margin=0.0)
    opposite = {"faster": "slower", "slower": "faster"}
    assert back == opposite.get(there, there)


def test_a_difference_of_two_cases_by_hand() -> None:
    """Differences −0.02 and −0.04: mean −0.03, standard error 0.01, Student's t for one degree of freedom 12.706."""
    found = paired_difference([0.88, 0.84], [0.90, 0.88])
    assert found.mean == pytest.approx(-0.03)
    assert found.ci95 == pytest.approx((-0.03 - 0.12706, -0.03 + 0.12706), abs=1e-5)
    assert (found.cases, found.reason) == (2, None)


scores = st.floats(0, 1)


@given(st.lists(st.tuples(scores, scores), min_size=2, max_size=30))
def test_the_interval_of_a_difference_is_scipys_for_paired_samples(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = zip(*pairs, strict=True)
    found = paired_difference(ours, theirs)
    assert found.mean == pytest.approx(np.mean(ours) - np.mean(theirs), abs=1e-9)
    assert found.ci95 is not None and found.ci95[0] <= found.mean + 1e-12 and found.mean - 1e-12 <= found.ci95[1]
    if np.std(np.subtract(ours, theirs)) > 1e-9:
        expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
        assert found.ci95 == pytest.approx((expected.low, expected.high), abs=1e-9)
    back = paired_difference(theirs, ours)
    assert back.ci95 == pytest.approx((-found.ci95[1], -found.ci95[0]))


def test_of_one_case_there_is_a_difference_and_no_interval() -> None:
    found = paired_difference([0.8], [0.9])
    assert (found.mean, found.ci95, found.cases) == (pytest.approx(-0.1), None, 1)
    assert found.reason is not None and found.reason.startswith("one case is no evidence of accuracy")


def test_of_no_case_there_is_neither_and_of_other_cases_it_is_refused() -> None:
    found = paired_difference([], [])
    assert (found.mean, found.ci95, found.cases) == (None, None, 0) and found.reason
    with pytest.raises(ValueError, match="2 scores and 1 scores make no pairs"):
        paired_difference([0.5, 0.6], [0.5])


def test_the_interval_of_two_cases_holds_the_true_difference_as_often_as_it_says() -> None:
    """The reason for Student's interval: of two cases, a bootstrap holds it in half of all series."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        full = rng.uniform(0.7, 0.9, 2)
        interval = paired_difference(full - 0.03 + rng.normal(0, 0.02, 2), full).ci95
        assert interval is not None
        held += interval[0] <= -0.03 <= interval[1]
    assert held >= 370  # 380 are expected, and below 370 are less than 2 % of such series
