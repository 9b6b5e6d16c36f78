"""Percentiles, paired speedups, paired differences and verdicts: pure functions of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.measured import Latency
from benchmark.results import Verdict

SAMPLES_NEEDED = {50: 1, 90: 64, 99: 662}
"""How many samples a percentile needs: MLPerf's bound for the tail (Reddi et al., arXiv 1911.02549, section III-D)."""

PAIRS_NEEDED = 8
"""Below this a bootstrap resamples too few values for its interval to mean 95 %."""

MARGIN = 0.02
"""Speedups within ±2 % count as equivalent: two runs of one program differ by as much on these machines."""

RESAMPLES = 4000

CASES_NEEDED = 2
"""For an interval over cases: of one, nothing is known about how much cases differ."""


@dataclass(frozen=True)
class Speedup:
    """How much faster the candidate is than the baseline, from pairs measured side by side.

    Attributes:
        ratio: median over pairs of baseline time / candidate time; above 1 the candidate is faster.
        ci95: percentile bootstrap interval of that median; None where there are too few pairs.
        pairs: how many.
        verdict: the interval against the margin.
        reason: why there is no verdict.
    """

    ratio: float | None
    ci95: tuple[float, float] | None
    pairs: int
    verdict: Verdict
    reason: str | None = None


def summarise(samples: Sequence[float]) -> Latency | None:
    """Mean and percentiles in milliseconds; a percentile that the samples cannot support is null with the reason."""
    if not samples:
        return None
    values: dict[int, float | None] = {}
    missing = []
    for rank, needed in SAMPLES_NEEDED.items():
        values[rank] = float(np.percentile(samples, rank)) if len(samples) >= needed else None
        if values[rank] is None:
            missing.append(f"p{rank} needs {needed}")
    reason = f"{len(samples)} sample{'s' if len(samples) > 1 else ''}; {', '.join(missing)}" if missing else None
    return Latency(
        p50=values[50],
        p90=values[90],
        p99=values[99],
        mean=float(np.mean(samples)),
        samples=[round(float(sample), 4) for sample in samples],
        reason=reason,
    )


def paired_speedup(baseline: Sequence[float], candidate: Sequence[float], margin: float = MARGIN) -> Speedup:
    """The candidate's speedup over the baseline.

    Drift of the machine hits both sides of a pair alike and cancels in their ratio; the median keeps a hiccup of one
    turn from deciding.

    Args:
        baseline: times, any unit.
        candidate: times of the same work, `candidate[i]` measured next to `baseline[i]`.
        margin: half-width of what counts as equivalent.
    """
    if len(baseline) != len(candidate):
        raise ValueError(f"{len(baseline)} baseline times and {len(candidate)} candidate times make no pairs")
    pairs = len(baseline)
    if pairs == 0:
        return Speedup(None, None, 0, "inconclusive", "nothing was measured on both sides")
    ratios = np.asarray(baseline, dtype=float) / np.asarray(candidate, dtype=float)
    ratio = float(np.median(ratios))
    if pairs < PAIRS_NEEDED:
        return Speedup(ratio, None, pairs, "inconclusive", f"{pairs} pairs; an interval needs {PAIRS_NEEDED}")
    interval = _bootstrap_median(ratios)
    return Speedup(ratio, interval, pairs, verdict(interval, margin))


def _bootstrap_median(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, float]:
    from scipy.stats import bootstrap

    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    # In one batch, resampling thousands of pairs would take gigabytes.
    result = bootstrap(
        (values,), np.median, n_resamples=RESAMPLES, batch=100, method="percentile", rng=np.random.default_rng(0)
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


@dataclass(frozen=True)
class Difference:
    """How much more one thing scores than another, over cases that both were tested on.

    Attributes:
        mean: of the paired differences; None without any pair.
        ci95: interval of that mean; None where there are too few cases.
        cases: how many pairs.
        reason: why there is no interval.
    """

    mean: float | None
    ci95: tuple[float, float] | None
    cases: int
    reason: str | None = None


def paired_difference(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """The mean of `ours[i] - theirs[i]` with Student's t interval for paired samples.

    Test cases are few, often two or three, and a bootstrap of so few is far too narrow: of two it draws no mean beyond
    the two. Student's interval is as wide as so few cases deserve, if their differences are about normal.

    Args:
        ours: scores, one a case.
        theirs: scores of the same cases, in the same order.
    """
    from scipy.stats import t

    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} scores and {len(theirs)} scores make no pairs")
    cases = len(ours)
    if cases == 0:
        return Difference(None, None, 0, "no test case has both")
    differences = np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)
    middle = float(differences.mean())
    if cases < CASES_NEEDED:
        return Difference(middle, None, cases, f"one case is no evidence of accuracy; an interval needs {CASES_NEEDED}")
    reach = float(t.ppf(0.975, cases - 1) * differences.std(ddof=1) / np.sqrt(cases))
    return Difference(middle, (middle - reach, middle + reach), cases)


def verdict(ci95: tuple[float, float], margin: float = MARGIN) -> Verdict:
    """Faster or slower where the whole interval is; equivalent where it lies within the margin; else inconclusive."""
    low, high = ci95
    if 1 - margin <= low and high <= 1 + margin:
        return "equivalent"
    if low > 1:
        return "faster"
    if high < 1:
        return "slower"
    return "inconclusive"
