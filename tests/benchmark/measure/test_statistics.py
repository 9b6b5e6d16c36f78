from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from benchmark.measure.statistics import (
    PAIRS_NEEDED,
    PAIRS_TO_STOP,
    Speedup,
    margin_of,
    narrow_enough,
    paired_difference,
    paired_speedup,
    pairs_to_narrow,
    percentile,
    samples_needed,
    summarise,
    verdict,
)
from tests.benchmark.measure.simulated import both_sides, measured_until_narrow

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
    assert latency.reason == "p90 needs 64 samples, 61 more; p99 needs 662 samples, 659 more"


@pytest.mark.parametrize("rank", [60, 75, 90, 95, 99, 99.9])
def test_a_percentile_needs_the_samples_of_which_one_may_be_late_with_99_percent_confidence(rank: float) -> None:
    """Against the binomial distribution itself: at most one late is a chance of 1 % at the count, more just below."""
    needed, late = samples_needed(rank), 1 - rank / 100
    assert stats.binom.cdf(1, needed, late) <= 0.01 < stats.binom.cdf(1, needed - 1, late)


def test_mlperfs_own_counts() -> None:
    assert (samples_needed(90), samples_needed(99)) == (64, 662)
    assert samples_needed(50) == samples_needed(10) == 1


def test_a_percentile_that_is_refused_says_how_many_samples_are_still_needed() -> None:
    assert percentile([1.0] * 64, 99) == (None, "p99 needs 662 samples, 598 more")
    assert percentile([1.0] * 64, 90) == (1.0, None)
    assert percentile([], 50) == (None, "p50 needs 1 samples, 1 more")
    assert percentile([1.0, 2.0, 4.0], 50) == (2.0, None)
    assert percentile([1.0], 99.9) == (None, "p99.9 needs 6636 samples, 6635 more")


@pytest.mark.parametrize("rank", [0, 100, -1, float("nan")])
def test_there_is_no_percentile_beyond_all_samples(rank: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 100"):
        percentile([1.0] * 1000, rank)


def test_no_samples_make_no_latency() -> None:
    assert summarise([]) is None


def test_constant_pairs_give_their_ratio_exactly() -> None:
    speedup = paired_speedup([6.0] * 20, [4.0] * 20)
    assert speedup.ratio == pytest.approx(1.5, rel=1e-12)
    assert speedup.ci95 == pytest.approx((1.5, 1.5), rel=1e-12)
    assert (speedup.pairs, speedup.verdict) == (20, "faster")
    assert speedup.reason is None


def test_above_one_the_candidate_is_faster() -> None:
    speedup = paired_speedup([1.0] * 20, [2.0] * 20)
    assert speedup.ratio == pytest.approx(0.5, rel=1e-12)
    assert speedup.verdict == "slower"


@given(st.lists(st.tuples(times, times), min_size=1, max_size=PAIRS_NEEDED - 1))
def test_the_ratio_is_the_median_over_pairs_and_few_pairs_give_no_interval(pairs: list[tuple[float, float]]) -> None:
    baseline, candidate = zip(*pairs, strict=True)
    speedup = paired_speedup(baseline, candidate)
    ratios = sorted(b / c for b, c in pairs)
    assert speedup.ratio == pytest.approx(np.sqrt(ratios[(len(pairs) - 1) // 2] * ratios[len(pairs) // 2]))
    assert speedup.ci95 is None
    assert speedup.verdict == "inconclusive"
    assert speedup.pairs == len(pairs)
    assert speedup.reason == f"{len(pairs)} pairs; an interval needs {PAIRS_NEEDED}"


def test_as_many_pairs_as_needed_give_an_interval() -> None:
    assert paired_speedup([2.0] * PAIRS_NEEDED, [1.0] * PAIRS_NEEDED).ci95 == pytest.approx((2.0, 2.0), rel=1e-12)


@pytest.mark.parametrize("pairs", [PAIRS_NEEDED, PAIRS_NEEDED + 1, 61])
def test_backends_that_change_places_get_the_reciprocal(pairs: int) -> None:
    baseline, candidate = both_sides(np.random.default_rng(pairs), pairs, speedup=1.2)
    there, back = paired_speedup(baseline, candidate), paired_speedup(candidate, baseline)
    assert there.ratio is not None and there.ci95 is not None
    assert back.ratio == pytest.approx(1 / there.ratio, rel=1e-12)
    assert back.ci95 == pytest.approx((1 / there.ci95[1], 1 / there.ci95[0]), rel=1e-12)


@pytest.mark.parametrize("broken", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_that_no_clock_shows_is_refused(broken: float) -> None:
    with pytest.raises(ValueError, match="not above 0"):
        paired_speedup([1.0, 1.0], [1.0, broken])


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


def test_the_interval_is_as_narrow_as_order_statistics_allow() -> None:
    """Against the exact interval of a median from the binomial distribution: one too wide would hide every speedup."""
    baseline, candidate = simulated(5, pairs=60, speedup=1.3, drift=0.0)
    ratios = np.sort(baseline / candidate)
    rank = int(stats.binom.ppf(0.025, 60, 0.5))
    exact = ratios[60 - rank] - ratios[rank - 1]
    interval = paired_speedup(baseline, candidate).ci95
    assert interval is not None
    assert 0.6 * exact < interval[1] - interval[0] < 1.4 * exact


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


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((1.3, 1.5), "faster"),
        ((1.021, 1.03), "faster"),
        ((0.5, 0.7), "slower"),
        ((0.95, 0.98), "slower"),  # 1 / 1.02 is 0.98039
        ((0.981, 1.02), "equivalent"),
        ((1.0, 1.0), "equivalent"),
        ((1.001, 1.02), "equivalent"),  # surely faster, but by less than two runs of one program differ
        ((0.981, 0.999), "equivalent"),
        ((1.001, 1.03), "inconclusive"),  # surely faster, and perhaps by no more than that
        ((0.97, 0.999), "inconclusive"),
        ((1.02, 1.03), "inconclusive"),
        ((0.9, 1.1), "inconclusive"),
        ((1.0, 1.5), "inconclusive"),
        ((0.5, 1.0), "inconclusive"),
        ((0.98, 1.02), "inconclusive"),
        ((0.985, 1.021), "inconclusive"),
    ],
)
def test_the_verdict_follows_the_whole_interval(interval: tuple[float, float], expected: str) -> None:
    assert verdict(interval) == expected


def test_the_margin_can_be_chosen() -> None:
    assert verdict((0.96, 1.05), margin=0.05) == "equivalent"
    assert verdict((0.99, 1.01), margin=0.0) == "inconclusive"
    assert verdict((1.003, 1.01), margin=0.0) == "faster"
    assert paired_speedup([1.04] * 20, [1.0] * 20, margin=0.05).verdict == "equivalent"


ratios = st.floats(0.5, 2.0)
margins = st.floats(0, 0.3)


@given(ratios, ratios, margins)
def test_a_verdict_turns_round_when_the_backends_change_places(one: float, other: float, margin: float) -> None:
    low, high = sorted((one, other))
    for end in (low, high):  # at the very edge, rounding decides
        assume(abs(abs(np.log(end)) - np.log1p(margin)) > 1e-12)
    opposite = {"faster": "slower", "slower": "faster"}
    there = verdict((low, high), margin)
    assert verdict((1 / high, 1 / low), margin) == opposite.get(there, there)


@given(ratios, ratios, margins, st.floats(0, 1))
def test_a_claim_that_an_interval_makes_is_never_contradicted_by_a_narrower_one_within(
    one: float, other: float, margin: float, place: float
) -> None:
    low, high = sorted((one, other))
    there = verdict((low, high), margin)
    within = low + place * (high - low)
    if there != "inconclusive" and low <= within <= high:
        assert verdict((low, within), margin) == verdict((within, high), margin) == there


def test_equals_are_not_called_faster_for_a_difference_that_nobody_would_notice() -> None:
    """The reason for minimal effects: two builds of one program differ by 0.3 %, and enough pairs will show it."""
    baseline, candidate = both_sides(np.random.default_rng(0), 20_000, speedup=1.006)
    speedup = paired_speedup(baseline, candidate)
    assert speedup.ci95 is not None and speedup.ci95[0] > 1.0
    assert speedup.verdict == "equivalent"


def test_verdicts_finer_than_the_machine_can_tell_are_refused() -> None:
    assert margin_of(0.02, 0.035) == 0.035
    assert margin_of(0.02, 0.004) == 0.02
    assert margin_of(0.02, None) == 0.02


def of(ratio: float, factor: float, pairs: int) -> Speedup:
    """A speedup whose interval reaches from ratio / factor to ratio × factor."""
    return Speedup(ratio, (ratio / factor, ratio * factor), pairs, "inconclusive")


def test_measuring_stops_when_the_interval_is_as_narrow_as_half_the_margin() -> None:
    root = np.sqrt(1.02)  # half of the margin in logarithms
    assert narrow_enough(of(1.0, root * (1 - 1e-9), 100), 0.02)
    assert not narrow_enough(of(1.0, root * (1 + 1e-9), 100), 0.02)
    assert narrow_enough(of(1.0, root, 100), 0.03)


def test_a_large_effect_needs_no_interval_as_narrow_as_the_margin() -> None:
    assert narrow_enough(of(2.0, 2 ** (1 / 20) - 1e-9, 100), 0.02)
    assert narrow_enough(of(0.5, 2 ** (1 / 20) - 1e-9, 100), 0.02)
    assert not narrow_enough(of(2.0, 2 ** (1 / 20) + 1e-9, 100), 0.02)


def test_few_pairs_or_none_never_end_a_measurement() -> None:
    assert not narrow_enough(of(1.0, 1.0, PAIRS_TO_STOP - 1), 0.02)
    assert narrow_enough(of(1.0, 1.0, PAIRS_TO_STOP), 0.02)
    assert not narrow_enough(paired_speedup([], []), 0.02)
    assert not narrow_enough(paired_speedup([1.0] * 3, [1.0] * 3), 0.02)


@given(st.floats(0.8, 1.25), st.floats(1.0, 1.2), st.integers(PAIRS_TO_STOP, 3000), st.floats(0.001, 0.1))
def test_when_to_stop_does_not_ask_who_is_ahead(ratio: float, factor: float, pairs: int, margin: float) -> None:
    """Stopping on significance would find a difference between equals; only width may count, on both sides of 1."""
    factor = max(factor, 1 + 1e-6)
    mirrored = narrow_enough(of(1 / ratio, factor, pairs), margin)
    assume(abs(np.log(factor) - max(np.log1p(margin) / 2, abs(np.log(ratio)) / 20)) > 1e-9)
    assert narrow_enough(of(ratio, factor, pairs), margin) == mirrored
    assert (pairs_to_narrow(of(ratio, factor, pairs), margin) == 0) == mirrored


def test_an_interval_twice_too_wide_needs_four_times_the_pairs() -> None:
    assert pairs_to_narrow(of(1.0, 1.02, 100), 0.02) in (300, 301)
    assert pairs_to_narrow(of(1.0, 1.001, 16), 0.02) == PAIRS_TO_STOP - 16
    assert pairs_to_narrow(of(1.0, 1.001, 100), 0.02) == 0


def test_how_many_pairs_are_needed_cannot_be_told_without_an_interval_or_a_margin() -> None:
    assert pairs_to_narrow(paired_speedup([1.0] * 3, [1.0] * 3), 0.02) is None
    assert pairs_to_narrow(of(1.0, 1.02, 100), 0.0) is None


def test_the_pairs_said_to_be_needed_do_narrow_the_interval() -> None:
    baseline, candidate = both_sides(np.random.default_rng(6), 3000)
    first = paired_speedup(baseline[:100], candidate[:100])
    more = pairs_to_narrow(first, 0.02)
    assert more is not None and 100 < more < 1000
    assert narrow_enough(paired_speedup(baseline[: 130 + more], candidate[: 130 + more]), 0.02)


def test_an_inconclusive_verdict_says_how_many_pairs_would_settle_it() -> None:
    speedup = paired_speedup(*both_sides(np.random.default_rng(6), 40))
    assert speedup.ci95 is not None and speedup.reason is not None
    low, high = speedup.ci95
    more = pairs_to_narrow(speedup, 0.02)
    assert more is not None
    start = f"interval [{low:.3f}, {high:.3f}] is too wide for the margin of ±2 %; about "
    assert speedup.reason.startswith(start) and speedup.reason.endswith(" more pairs would settle it")
    said = int(speedup.reason.removeprefix(start).split()[0])
    assert said == pytest.approx(more, abs=5) and said % 10 == 0


def test_a_narrow_interval_across_the_margin_is_not_promised_a_verdict() -> None:
    speedup = paired_speedup(*both_sides(np.random.default_rng(7), 3000, speedup=1.02))
    assert speedup.verdict == "inconclusive" and narrow_enough(speedup, 0.02)
    assert speedup.reason is not None and speedup.reason.endswith("lies across an edge of the margin of ±2 %")


@pytest.mark.slow
def test_equals_get_no_verdict_of_a_difference_however_often_one_looks() -> None:
    """The whole procedure: drift of 30 %, noise of 5 %, a look after every ten pairs, an end on width alone."""
    rng = np.random.default_rng(11)
    found = [measured_until_narrow(rng, 0.0, calls=4) for _ in range(60)]
    assert sum(one.verdict in ("faster", "slower") for one in found) == 0
    assert sum(one.verdict == "equivalent" for one in found) >= 54


@pytest.mark.slow
def test_a_slowdown_of_five_percent_is_found() -> None:
    rng = np.random.default_rng(12)
    found = [measured_until_narrow(rng, 0.05, calls=4) for _ in range(60)]
    assert sum(one.verdict == "slower" for one in found) >= 58


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
