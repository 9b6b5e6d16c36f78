"""Percentiles, paired speedups, paired differences and verdicts: pure functions of samples."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from benchmark.measure.bootstrap import median_interval
from benchmark.measured import Latency
from benchmark.results import Verdict

PERCENTILES = (50, 90, 99)

PAIRS_NEEDED = 16
"""Below this the interval of correlated pairs holds the true ratio in fewer than 93 of 100 runs: docs/method.md."""

PAIRS_TO_STOP = 40
"""Fewer can look alike by chance, and measuring would end on an interval that is narrow by luck: with 20, one A/A of
the decoder stopped after 3 s at 0.963 (docs/method.md)."""

MARGIN = 0.02
"""Speedups within ±2 % count as equivalent: two runs of one program differ by as much on these machines."""

SHARE_OF_EFFECT = 1 / 20
"""An interval this narrow against the effect is narrow enough: nobody asks whether 2.00 times is 1.95 or 2.05."""

CASES_NEEDED = 2
"""For an interval over cases: of one, nothing is known about how much cases differ."""


@cache
def samples_needed(rank: float) -> int:
    """How many samples a percentile needs: 64 for p90, 662 for p99.

    The fewest of which one may lie above a bound and the percentile still keeps that bound with 99 % confidence;
    MLPerf's early stopping asks as many (loadgen/early_stopping.cc in mlcommons/inference). The median and ranks below
    it are no tail and need one sample.

    Args:
        rank: above 0, below 100.
    """
    if not 0 < rank < 100:
        raise ValueError(f"a percentile lies between 0 and 100, not at {rank:g}")
    if rank <= 50:
        return 1
    above = 1 - rank / 100

    def at_most_one_above(count: int) -> float:
        return (1 - above) ** (count - 1) * (1 - above + count * above)

    return 1 + bisect_left(range(1, 10**12), True, key=lambda count: at_most_one_above(count) <= 0.01)


def percentile(samples: Sequence[float], rank: float) -> tuple[float | None, str | None]:
    """A percentile, or None and why the samples do not support it.

    Args:
        samples: any unit.
        rank: above 0, below 100.
    """
    needed = samples_needed(rank)
    if len(samples) < needed:
        return None, f"p{rank:g} needs {needed} samples, {needed - len(samples)} more"
    return float(np.percentile(samples, rank)), None


def summarise(samples: Sequence[float]) -> Latency | None:
    """Mean and percentiles in milliseconds; a percentile that the samples cannot support is null with the reason."""
    if not samples:
        return None
    found = {rank: percentile(samples, rank) for rank in PERCENTILES}
    return Latency(
        p50=found[50][0],
        p90=found[90][0],
        p99=found[99][0],
        mean=float(np.mean(samples)),
        samples=[round(float(sample), 4) for sample in samples],
        reason="; ".join(reason for _, reason in found.values() if reason) or None,
    )


@dataclass(frozen=True)
class Speedup:
    """How much faster the candidate is than the baseline, from pairs measured side by side.

    Attributes:
        ratio: median over pairs of baseline time / candidate time; above 1 the candidate is faster.
        ci95: 95 % interval of that median; None where there are too few pairs.
        pairs: how many.
        verdict: the interval against the margin.
        reason: why the verdict is inconclusive.
    """

    ratio: float | None
    ci95: tuple[float, float] | None
    pairs: int
    verdict: Verdict
    reason: str | None = None


def paired_speedup(baseline: Sequence[float], candidate: Sequence[float], margin: float = MARGIN) -> Speedup:
    """The candidate's speedup over the baseline.

    Drift of the machine hits both sides of a pair alike and cancels in their ratio; the median keeps a hiccup of one
    turn from deciding. It is taken of logarithms, so that backends which change places get the reciprocal: of an even
    number of pairs, it is the geometric mean of the middle two.

    Args:
        baseline: times above 0, any unit, in the order measured.
        candidate: times of the same work, `candidate[i]` measured next to `baseline[i]`.
        margin: how far from 1 counts as equivalent.

    Raises:
        ValueError: the times make no pairs, or one is not above 0.
    """
    pairs = len(baseline)
    if pairs != len(candidate):
        raise ValueError(f"{pairs} baseline times and {len(candidate)} candidate times make no pairs")
    if pairs == 0:
        return Speedup(None, None, 0, "inconclusive", "nothing was measured on both sides")
    times = np.array([baseline, candidate], dtype=float)
    if not (np.isfinite(times) & (times > 0)).all():
        raise ValueError("a time that is not above 0 makes no ratio")
    logs = np.log2(times[0]) - np.log2(times[1])
    ratio = float(np.exp2(np.median(logs)))
    if pairs < PAIRS_NEEDED:
        return Speedup(ratio, None, pairs, "inconclusive", f"{pairs} pairs; an interval needs {PAIRS_NEEDED}")
    low, high = median_interval(logs)
    interval = 2.0**low, 2.0**high
    found = Speedup(ratio, interval, pairs, verdict(interval, margin))
    if found.verdict != "inconclusive":
        return found
    return Speedup(ratio, interval, pairs, "inconclusive", _why_inconclusive(found, interval, margin))


def verdict(ci95: tuple[float, float], margin: float = MARGIN) -> Verdict:
    """Faster or slower where the whole interval lies beyond the margin, equivalent where it lies within; else unknown.

    Three claims that exclude one another, each about a change that matters. "Faster" because an interval lies above 1
    would be true of any two builds of one program, given time: some difference there always is. Beyond the margin is
    a test of a minimal effect (Murphy and Myors, J. Appl. Psychol. 84, 1999), within it a test of equivalence
    (Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987), and an interval held against a band is how Kruschke's region of
    practical equivalence decides (AMPPS 1, 2018).

    Args:
        ci95: interval of a ratio.
        margin: not below 0. The band is 1 / (1 + margin) to 1 + margin: as wide below 1 as above it in logarithms, so
            that a verdict turns round when the backends change places. With 1 - margin it would not.
    """
    low, high = ci95
    if low > 1 + margin:
        return "faster"
    if high < 1 / (1 + margin):
        return "slower"
    if 1 / (1 + margin) <= low and high <= 1 + margin:
        return "equivalent"
    return "inconclusive"


def margin_of(requested: float, noise_floor: float | None) -> float:
    """The margin that verdicts may use: no finer than what this machine was calibrated to tell apart.

    Args:
        requested: 0.02 stands for 2 %.
        noise_floor: in the same unit; None where the machine was not calibrated.
    """
    return requested if noise_floor is None else max(requested, noise_floor)


def narrow_enough(speedup: Speedup, margin: float) -> bool:
    """Whether measuring may stop: the interval's half-width is at most half the margin, or a twentieth of the effect.

    All in logarithms. It asks for the width alone, never for the verdict: to look again and again until an interval
    excludes 1 finds a difference between equals sooner or later (Armitage, McPherson and Rowe, J. R. Stat. Soc. A 132,
    1969), while an interval of fixed width keeps its confidence (Chow and Robbins, Ann. Math. Statist. 36, 1965).
    """
    if speedup.ratio is None or speedup.ci95 is None or speedup.pairs < PAIRS_TO_STOP:
        return False
    return _half_width(speedup.ci95) <= _target(speedup.ratio, margin)


def pairs_to_narrow(speedup: Speedup, margin: float) -> int | None:
    """About how many more pairs make the interval narrow enough; None where that cannot be told.

    A half-width shrinks with the square root of the pairs.
    """
    if speedup.ratio is None or speedup.ci95 is None:
        return None
    target = _target(speedup.ratio, margin)
    if target == 0:
        return None
    needed = math.ceil(speedup.pairs * (_half_width(speedup.ci95) / target) ** 2)
    return max(needed, PAIRS_TO_STOP, speedup.pairs) - speedup.pairs


def _half_width(ci95: tuple[float, float]) -> float:
    return (math.log(ci95[1]) - math.log(ci95[0])) / 2


def _target(ratio: float, margin: float) -> float:
    return max(math.log1p(margin) / 2, abs(math.log(ratio)) * SHARE_OF_EFFECT)


def _why_inconclusive(speedup: Speedup, ci95: tuple[float, float], margin: float) -> str:
    interval = f"interval [{ci95[0]:.3f}, {ci95[1]:.3f}]"
    band = f"the margin of ±{100 * margin:.3g} %"
    more = pairs_to_narrow(speedup, margin)
    if more == 0:
        return f"{interval} is narrow, but lies across an edge of {band}"
    hint = f"; about {_two_digits(more)} more pair{'s' if more > 1 else ''} would settle it" if more else ""
    return f"{interval} is too wide for {band}{hint}"


def _two_digits(count: int) -> int:
    """An estimate is not to be read to the last digit."""
    return round(count, min(0, 2 - len(str(count))))


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
