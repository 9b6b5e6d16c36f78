"""A change is told with its uncertainty: noise is no regression, and a real one does not hide in it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.compare.changes import exact_change, judge, ratio_change, single_change, speedup_change
from benchmark.compare.rules import METRICS
from tests.benchmark.compare.noise import correlated


def test_the_ratio_of_medians_is_that_of_the_samples() -> None:
    base, new = [10.0] * 20, [11.0] * 30
    found = ratio_change("latency", base, new, limit=0.05, floor=0.0)
    assert (found.base, found.new) == (pytest.approx(10.0), pytest.approx(11.0))
    assert found.change == pytest.approx(0.1)
    assert found.ci95 == (pytest.approx(0.1), pytest.approx(0.1))
    assert found.verdict == "regression"


def test_errors_of_both_runs_and_the_floor_add_in_quadrature() -> None:
    """By hand: half-widths 3 %, 4 % and a floor of 12 % in logarithms make 13 %."""
    base = (2.0, (2.0 * math.exp(-0.03), 2.0 * math.exp(0.03)))
    new = (1.0, (math.exp(-0.04), math.exp(0.04)))
    found = speedup_change(base, new, (5.0, 10.0), 0.05, math.expm1(0.12), "pytorch")
    assert found.change == pytest.approx(1.0)
    assert found.ci95 is not None
    assert np.log1p(found.ci95) == pytest.approx([math.log(2) - 0.13, math.log(2) + 0.13])
    assert found.paired and found.verdict == "regression"


def test_a_machine_that_slowed_down_is_no_regression_against_the_reference() -> None:
    """Both lanes take twice the time in the new run; their ratio is what it was."""
    same = (2.2, (2.15, 2.25))
    found = speedup_change(same, same, (100.0, 200.0), 0.05, 0.02, "pytorch")
    assert found.change == pytest.approx(0.0)
    assert found.verdict == "no change"


def test_few_samples_give_no_interval_and_no_verdict() -> None:
    found = ratio_change("latency", [10.0] * 15, [20.0] * 40, limit=0.05, floor=0.02)
    assert found.ci95 is None and found.verdict == "inconclusive"
    assert found.reason == "15 samples; an interval needs 16"


def test_what_a_run_lacks_is_no_change_of_zero() -> None:
    assert ratio_change("latency", [], [1.0], 0.05, 0.02).change is None
    assert single_change("memory", None, 10.0, 0.1, 0.02).change is None
    assert single_change("memory", 0.0, 10.0, 0.1, 0.02).change is None


def test_of_1000_pairs_of_equal_runs_few_are_flagged_and_of_slower_ones_most() -> None:
    """Correlated samples (an AR(1) of 0.7, 4 % noise), 64 a run, two processes that differ by 1 %."""
    rng = np.random.default_rng(0)
    flagged = {0.0: 0, 0.1: 0}
    runs = 250
    for planted in flagged:
        for _ in range(runs):
            between = np.exp(rng.normal(0, 0.005, 2))
            base = between[0] * correlated(rng, 64)
            new = between[1] * (1 + planted) * correlated(rng, 64)
            verdict = ratio_change("latency", base.tolist(), new.tolist(), limit=0.05, floor=0.02).verdict
            flagged[planted] += verdict == "regression"
    assert flagged[0.0] / runs <= 0.02
    assert flagged[0.1] / runs >= 0.90


@pytest.mark.parametrize(
    ("change", "ci95", "verdict"),
    [
        (0.10, (0.06, 0.14), "regression"),
        (0.10, (-0.01, 0.21), "inconclusive"),  # over the limit, and may be nothing
        (0.04, (0.03, 0.05), "no change"),  # surely there, and accepted
        (0.00, (-0.08, 0.09), "no change"),
        (0.00, (-0.20, 0.20), "inconclusive"),  # a regression of three limits could hide
        (-0.10, (-0.14, -0.06), "improvement"),
        (-0.10, (-0.21, 0.01), "no change"),
    ],
)
def test_verdicts_of_a_limit_of_5_percent(change: float, ci95: tuple[float, float], verdict: str) -> None:
    assert judge("latency", change, ci95, 0.05) == verdict


def test_less_throughput_is_worse() -> None:
    assert judge("throughput", -0.2, (-0.25, -0.15), 0.1) == "regression"
    assert judge("throughput", 0.2, (0.15, 0.25), 0.1) == "improvement"


@given(st.floats(-0.9, 5), st.floats(0, 1), st.floats(0, 0.5))
def test_the_verdict_turns_round_with_the_metric_s_direction(change: float, reach: float, limit: float) -> None:
    ci95 = (change - reach, change + reach)
    assert judge("latency", change, ci95, limit) == judge("throughput", -change, (-ci95[1], -ci95[0]), limit)


def test_a_computed_number_is_judged_by_itself_and_its_last_digits_are_noise() -> None:
    def dice(difference: float) -> str:
        return exact_change("dice", 0.9, 0.9 + difference, difference, 0.001, None, "3 cases").verdict

    assert (dice(-0.002), dice(-0.0009), dice(0.002)) == ("regression", "no change", "improvement")
    assert exact_change("dice", 0.9, 0.9, -1e-12, 0.0, None, "").verdict == "no change"
    assert METRICS["dice"].worse == "less"
