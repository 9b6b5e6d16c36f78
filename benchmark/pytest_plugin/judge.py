"""A session's measurements against a baseline's: the same rules, intervals and floors as `sambench compare`. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.compare.changes import (
    exact_change,
    ratio_change,
    single_change,
    speedup_change,
    unless_the_reference_moved,
)
from benchmark.compare.comparable import differences
from benchmark.compare.rules import METRICS, Rule, judged_by, limits_of
from benchmark.compare.run import broken
from benchmark.compare.schema import Change, Difference, Floors
from benchmark.measure.bootstrap import median_interval
from benchmark.measure.statistics import PAIRS_NEEDED
from benchmark.pytest_plugin.schema import Measurement, Suite
from benchmark.results import Results

REFERENCE = "pytorch"


@dataclass(frozen=True)
class Judged:
    """A test against the baseline.

    Attributes:
        test: its name.
        changes: of its metrics; empty where nothing was compared.
        offences: what of it fails the session, in sentences.
        remark: why nothing was compared.
    """

    test: str
    changes: tuple[Change, ...] = ()
    offences: tuple[str, ...] = ()
    remark: str = ""

    def change(self, metric: str) -> Change | None:
        """Of a metric, if it was compared."""
        return next((one for one in self.changes if one.metric == metric), None)


def what_differs(base: Suite, new: Suite) -> tuple[Difference, ...]:
    """What of machine, driver, environment variables and software differs, as `sambench compare` finds it."""
    sides = [
        Results(
            sambench_version=one.sambench_version,
            name="pytest",
            created=one.created,
            seconds=0,
            command="",
            environment=one.environment,
            spec={},
            tasks=[],
            cells=[],
            comparisons=[],
        )
        for one in (base, new)
    ]
    return differences(sides[0], sides[1])


def judge(
    base: Suite,
    new: Sequence[Measurement],
    excused: Mapping[str, str],
    rules: Sequence[Rule],
    allowed: Collection[str],
    floors: Floors,
) -> list[Judged]:
    """Every test of either side, those of the baseline first.

    Args:
        base: the baseline.
        new: what this session measured.
        excused: tests of the baseline that did not run on purpose → why.
        rules: what offends.
        allowed: `missing`, `spec`: what shall not offend.
        floors: what noise adds to intervals.
    """
    limits = limits_of(rules)
    measured = {one.test: one for one in new}
    references = tuple({m.group: m for m in side if m.backend == REFERENCE} for side in (base.measurements, new))
    found = []
    for old in base.measurements:
        now = measured.pop(old.test, None)
        if now is not None:
            found.append(_compared(old, now, references, rules, limits, allowed, floors))
        elif old.test in excused:
            found.append(Judged(old.test, remark=excused[old.test]))
        else:
            found.append(_missing(old.test, "in the baseline, and was not measured in this session", allowed))
    found += [_missing(test, "not in the baseline", allowed) for test in measured]
    return found


def _missing(test: str, words: str, allowed: Collection[str]) -> Judged:
    if "missing" in allowed:
        return Judged(test, remark=f"{words}; allowed")
    return Judged(test, offences=(f"missing: {words}",), remark=words)


def _compared(
    base: Measurement,
    new: Measurement,
    references: tuple[Mapping[str, Measurement], ...],
    rules: Sequence[Rule],
    limits: Mapping[str, float],
    allowed: Collection[str],
    floors: Floors,
) -> Judged:
    differing = [f"{what} {old} → {new.recipe[what]}" for what, old in base.recipe.items() if old != new.recipe[what]]
    if differing and "spec" not in allowed:
        words = f"not comparable: {'; '.join(differing)}; make a new baseline, or --sambench-allow spec"
        return Judged(base.test, offences=(words,), remark=words)
    changes = [
        _if_steady(_latency(base, new, references, limits["latency"], floors), base, new),
        *(_if_steady(change, base, new) for change in _others(base, new, limits, floors)),
        *_recorded(base, new, limits),
    ]
    gone = [] if "missing" in allowed else sorted(set(base.metrics) & set(METRICS) - set(new.metrics))
    offences = [f"missing: the test no longer records {name}" for name in gone]
    judged = judged_by(rules)
    offences += [f"{rule.text}: {told}" for rule in rules if (told := broken(rule, changes, judged))]
    return Judged(base.test, tuple(changes), tuple(offences))


def _latency(
    base: Measurement, new: Measurement, references: tuple[Mapping[str, Measurement], ...], limit: float, floors: Floors
) -> Change:
    """Against the reference backend of the same test where both sessions measured it, else by itself.

    The reference ran before or after, not in turns as in a run of sambench: slow drift cancels, a change of load
    between the two does not. So the floor stays that of times which nothing was measured beside, and a test that is
    slower only because its reference became faster is no regression: nobody can say which of the two the machine
    favoured.
    """
    own = ratio_change("latency", base.latency_ms.samples, new.latency_ms.samples, limit, floors.raw)
    if base.backend == REFERENCE:
        return own
    beside = [side.get(base.group) for side in references]
    speedups = [_speedup(ref, one) for ref, one in zip(beside, (base, new), strict=True)]
    if speedups[0] is None or speedups[1] is None or own.base is None or own.new is None:
        return own
    found = speedup_change(speedups[0], speedups[1], (own.base, own.new), limit, floors.raw, REFERENCE)
    return unless_the_reference_moved(found, own, REFERENCE)


def _if_steady(change: Change, base: Measurement, new: Measurement) -> Change:
    """Times that never became steady are no regression: they would be others a minute later."""
    shaky = [name for name, one in (("the baseline", base), ("this session", new)) if not one.warmup.steady]
    if change.metric == "memory" or change.verdict != "regression" or not shaky:
        return change
    reason = f"times were not steady in {' and '.join(shaky)}: a calmer machine would tell"
    return change.model_copy(update={"verdict": "inconclusive", "reason": reason})


def _speedup(reference: Measurement | None, one: Measurement) -> tuple[float, tuple[float, float]] | None:
    """The reference's median time over this one's, and its interval: both medians' errors, in quadrature."""
    if reference is None:
        return None
    samples = [reference.latency_ms.samples, one.latency_ms.samples]
    if min(map(len, samples)) < PAIRS_NEEDED or min(map(min, samples)) <= 0:
        return None
    logs = [np.log(np.asarray(some, dtype=float)) for some in samples]
    medians = [float(np.median(log)) for log in logs]
    bounds = [median_interval(log) for log in logs]
    ratio = medians[0] - medians[1]
    below = math.hypot(medians[0] - bounds[0][0], bounds[1][1] - medians[1])
    above = math.hypot(bounds[0][1] - medians[0], medians[1] - bounds[1][0])
    return math.exp(ratio), (math.exp(ratio - below), math.exp(ratio + above))


def _others(base: Measurement, new: Measurement, limits: Mapping[str, float], floors: Floors) -> list[Change]:
    found = []
    if base.device_latency_ms and new.device_latency_ms:
        samples = (base.device_latency_ms.samples, new.device_latency_ms.samples)
        found.append(ratio_change("device_latency", *samples, limits["device_latency"], floors.raw))
    if base.memory_mib is not None and new.memory_mib is not None:
        found.append(single_change("memory", base.memory_mib, new.memory_mib, limits["memory"], floors.raw))
    return found


def _recorded(base: Measurement, new: Measurement, limits: Mapping[str, float]) -> list[Change]:
    """Dice and its like, which the test recorded."""
    return [
        exact_change(
            name, old, new.metrics[name], new.metrics[name] - old, limits[name], None, "as the test recorded it"
        )
        for name, old in base.metrics.items()
        if name in new.metrics and name in METRICS and not METRICS[name].relative
    ]
