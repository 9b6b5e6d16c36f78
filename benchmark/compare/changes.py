"""How much a number changed between two runs, and how sure that is. Pure.

The two runs were measured apart, so their errors are independent and add in quadrature (in logarithms where the change
is a ratio). What no run shows of itself – two processes of one program differ by more than an interval within either,
and the machine is another one tomorrow – is the floor, which is added likewise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from benchmark.compare.rules import METRICS
from benchmark.compare.schema import Change, ChangeVerdict
from benchmark.measure.bootstrap import median_interval
from benchmark.measure.statistics import PAIRS_NEEDED

PAIRED_FLOOR = 0.05
"""Of a change that is held against the reference of the same run, where the machine was not calibrated: three runs of
one UNet on an idle two-core machine had speedups 6 % apart (docs/compare.md)."""

RAW_FLOOR = 0.30
"""Of times that nothing was measured beside: the medians of the same three runs lay 27 % apart."""

SESSION_FLOOR = 0.05
"""Of times that were steady in two sessions of tests, minutes or days apart."""

TOO_WIDE = 3.0
"""An interval that reaches over so many limits would not show a regression that everybody would want to know of."""

EXACT = 1e-9
"""Computed numbers that differ by less are the same: a mean over cases in another order differs in its last digits."""


def ratio_change(metric: str, base: Sequence[float], new: Sequence[float], limit: float, floor: float) -> Change:
    """The change of a median time, from the samples of both runs.

    The interval of each median is a circular block bootstrap's (`benchmark.measure.bootstrap`), because neighbouring
    samples are alike.

    Args:
        metric: `latency` or another of `METRICS` that is a ratio.
        base: samples above 0, in the order measured.
        new: samples in the same unit.
        limit: how much worse is accepted, as a share.
        floor: half-width, as a share, of what two runs of one program differ by.
    """
    how = f"medians of {len(base):,} and {len(new):,} samples"
    if not base or not new or min(*base, *new) <= 0:
        return absent(metric, limit, "a run has no samples of it", how)
    logs = [np.log(np.asarray(samples, dtype=float)) for samples in (base, new)]
    # Shown as every report shows them: of an even number, that is not the exponential of the logarithms' median.
    values = (float(np.median(base)), float(np.median(new)))
    middle = [float(np.median(log)) for log in logs]
    if min(len(base), len(new)) < PAIRS_NEEDED:
        ratio = middle[1] - middle[0]
        why = f"{min(len(base), len(new))} samples; an interval needs {PAIRS_NEEDED}"
        return _of_logs(metric, values, ratio, None, limit, floor, how, why)
    bounds = [median_interval(log) for log in logs]
    below = (middle[1] - bounds[1][0], bounds[0][1] - middle[0])
    above = (bounds[1][1] - middle[1], middle[0] - bounds[0][0])
    return _of_logs(metric, values, middle[1] - middle[0], (below, above), limit, floor, how)


def speedup_change(
    base: tuple[float, tuple[float, float]],
    new: tuple[float, tuple[float, float]],
    values: tuple[float, float],
    limit: float,
    floor: float,
    reference: str,
) -> Change:
    """The change of a latency from its speedup over a reference that was measured in turns with it, in both runs.

    Whatever slowed the machine in one of the runs slowed the reference as well, so that it cancels.

    Args:
        base: speedup and its 95 % interval.
        new: likewise.
        values: median times of both runs, to be shown; they do not decide.
        limit: how much worse is accepted, as a share.
        floor: half-width, as a share.
        reference: its name.
    """
    log = {name: (math.log(ratio), *map(math.log, ci95)) for name, (ratio, ci95) in (("base", base), ("new", new))}
    # A higher speedup is a lower time.
    change = log["base"][0] - log["new"][0]
    below = (log["base"][0] - log["base"][1], log["new"][2] - log["new"][0])
    above = (log["base"][2] - log["base"][0], log["new"][0] - log["new"][1])
    how = f"against {reference} in the same run"
    found = _of_logs("latency", values, change, (below, above), limit, floor, how)
    return found.model_copy(update={"paired": True})


def unless_the_reference_moved(found: Change, own: Change, reference: str) -> Change:
    """A regression against a reference stands only where the cell's own times went up beyond the limit as well.

    A reference that became faster, by a new version or since the load was another, makes nobody slower.

    Args:
        found: the change against the reference.
        own: the change of the cell's own times.
        reference: its name.
    """
    if found.verdict != "regression" or own.change is None or own.change > found.limit:
        return found
    reason = f"its own times changed by {own.change:+.1%}: it is {reference} that moved"
    return found.model_copy(update={"verdict": "inconclusive", "reason": reason})


def single_change(metric: str, base: float | None, new: float | None, limit: float, floor: float) -> Change:
    """The change of a number of which each run has one, as memory: nothing but the floor tells how sure it is."""
    if base is None or new is None or base <= 0 or new <= 0:
        return absent(metric, limit, "a run has none of it", "one value a run")
    nothing = ((0.0, 0.0), (0.0, 0.0))
    return _of_logs(metric, (base, new), math.log(new / base), nothing, limit, floor, "one value a run")


def exact_change(
    metric: str, base: float, new: float, difference: float, limit: float, ci95: tuple[float, float] | None, how: str
) -> Change:
    """The change of a number that is computed and repeats exactly, as Dice: the difference itself is judged.

    Args:
        metric: its name.
        base: its mean in the base run.
        new: its mean in the new run.
        difference: the mean of the paired differences.
        limit: how much worse is accepted.
        ci95: over cases, which is shown and does not decide: other cases are another question.
        how: what was paired.
    """
    worse = difference if METRICS[metric].worse == "more" else -difference
    verdict: ChangeVerdict = "no change"
    if abs(difference) > EXACT and abs(difference) > limit:
        verdict = "regression" if worse > 0 else "improvement"
    return Change(
        metric=metric, base=base, new=new, change=difference, ci95=ci95, limit=limit, verdict=verdict, how=how
    )  # fmt: skip


def absent(metric: str, limit: float, reason: str, how: str) -> Change:
    """A change that cannot be told."""
    return Change(
        metric=metric, base=None, new=None, change=None, limit=limit, verdict="inconclusive", how=how, reason=reason
    )  # fmt: skip


def _of_logs(
    metric: str,
    values: tuple[float, float],
    change: float,
    reaches: tuple[Sequence[float], Sequence[float]] | None,
    limit: float,
    floor: float,
    how: str,
    reason: str | None = None,
) -> Change:
    """A change of a ratio; `reaches` are the half-widths of both runs in logarithms, downwards and upwards."""
    ci95 = None
    verdict: ChangeVerdict = "inconclusive"
    if reaches is not None:
        low, high = (math.hypot(*reach, math.log1p(floor)) for reach in reaches)
        ci95 = (math.expm1(change - low), math.expm1(change + high))
        verdict = judge(metric, math.expm1(change), ci95, limit)
        if verdict == "inconclusive":
            reason = _why(ci95, limit)
    return Change(
        metric=metric,
        base=values[0],
        new=values[1],
        change=math.expm1(change),
        ci95=ci95,
        floor=floor,
        limit=limit,
        verdict=verdict,
        how=how,
        reason=reason,
    )


def judge(metric: str, change: float, ci95: tuple[float, float], limit: float) -> ChangeVerdict:
    """What a change amounts to.

    A regression is more than the limit, and surely there: its interval holds no zero. One over the limit that is not
    surely there is inconclusive, and so is everything where the interval reaches so far over the limit that a change of
    `TOO_WIDE` times the limit could hide in it. Otherwise no change was found; the interval says what may hide.

    Args:
        metric: one of `METRICS`; it says which direction is the worse.
        change: as a share, or a difference.
        ci95: of the change.
        limit: not below 0.
    """
    if METRICS[metric].worse == "less":
        change, ci95 = -change, (-ci95[1], -ci95[0])
    if change > limit and ci95[0] > 0:
        return "regression"
    if change < -limit and ci95[1] < 0:
        return "improvement"
    return "inconclusive" if change > limit or ci95[1] > TOO_WIDE * limit else "no change"


def _why(ci95: tuple[float, float], limit: float) -> str:
    return (
        f"the interval [{ci95[0]:+.1%}, {ci95[1]:+.1%}] reaches over the limit of {limit:.3g}: more samples, or a"
        " calmer machine, would tell"
    )
