"""What counts as a regression, as a person writes it: `latency>5%`, `dice<-0.001`, `missing`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmark.errors import InputError

Worse = Literal["more", "less"]


@dataclass(frozen=True)
class Metric:
    """What is compared of a cell.

    Attributes:
        name: as rules write it.
        worse: whether more of it or less of it is the worse.
        relative: whether its change is a share of the base's value; else a difference in its own unit.
        limit: what its change may be where no rule says otherwise, positive.
        title: for tables.
    """

    name: str
    worse: Worse
    relative: bool
    limit: float
    title: str


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("latency", "more", True, 0.05, "latency"),
        Metric("device_latency", "more", True, 0.05, "device latency"),
        Metric("throughput", "less", True, 0.10, "throughput"),
        Metric("memory", "more", True, 0.10, "memory"),
        Metric("dice", "less", False, 0.001, "Dice"),
        Metric("mask_dice", "less", False, 0.001, "mask parity"),
    )
}
STATES = ("missing", "failed", "inconclusive")
"""What a rule may name beside a metric: a cell that is gone, one that newly fails, one that cannot be judged."""

DEFAULT_RULES = ("latency>5%", "dice<-0.001")
"""What fails a comparison unless `--fail-on` says otherwise; missing and newly failing cells always do."""

USUAL = ("latency", "dice")
ALWAYS = ("missing", "failed")
LARGEST = 1e6
PATTERN = re.compile(
    r"\s*(?P<name>[a-z_]+)\s*(?P<sign>[<>])\s*(?P<limit>[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)\s*(?P<unit>%?)\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Rule:
    """A metric with the change that it may not exceed, or a state.

    Attributes:
        text: as it was written.
        name: a metric's or a state's.
        limit: how much worse is still accepted, not below 0, in the metric's unit or as a share; None for a state.
    """

    text: str
    name: str
    limit: float | None = None


def parse_rule(text: str) -> Rule:
    """Reads a rule.

    Raises:
        InputError: it names no metric, asks for an improvement, or its limit is no number of the metric's kind.
    """
    if text.strip() in STATES:
        return Rule(text.strip(), text.strip())
    found = PATTERN.fullmatch(text)
    names = ", ".join((*METRICS, *STATES))
    if found is None:
        raise InputError(f"--fail-on {text!r}: write it as latency>5%, dice<-0.001 or missing; metrics are {names}")
    metric = METRICS.get(found["name"].lower())
    if metric is None:
        raise InputError(f"--fail-on {text!r}: {found['name']!r} is no metric; choose from {names}")
    return Rule(text.strip(), metric.name, _limit(text, metric, found))


def _limit(text: str, metric: Metric, found: re.Match[str]) -> float:
    sign, percent = found["sign"], found["unit"] == "%"
    value = float(found["limit"])
    right = ">" if metric.worse == "more" else "<"
    example = f"{metric.name}{right}{'' if right == '>' else '-'}{'5%' if metric.relative else '0.001'}"
    if sign != right or ((value < 0) == (right == ">") and value != 0):
        raise InputError(
            f"--fail-on {text!r}: {metric.worse} {metric.title} is what is worse, so write it as {example}"
        )
    if percent != metric.relative:
        unit = "a share of the base, with %" if metric.relative else "a difference, without %"
        raise InputError(f"--fail-on {text!r}: a change of {metric.title} is {unit}; write it as {example}")
    size = abs(value) / (100 if percent else 1)
    if not math.isfinite(size) or size > LARGEST:
        raise InputError(f"--fail-on {text!r}: the limit is no sensible number; write it as {example}")
    return size


def limits_of(rules: Sequence[Rule]) -> dict[str, float]:
    """Metric → how much worse is accepted: by a rule, else by the metric's own limit."""
    own = {name: metric.limit for name, metric in METRICS.items()}
    return own | {rule.name: rule.limit for rule in rules if rule.limit is not None}


def judged_by(rules: Sequence[Rule]) -> list[str]:
    """The metrics that rules speak of; where they name states alone, as `inconclusive`, the usual ones."""
    return [rule.name for rule in rules if rule.name in METRICS] or list(USUAL)


def parse_rules(texts: Sequence[str]) -> tuple[Rule, ...]:
    """Rules that are written, or the default ones, and those that always count.

    Raises:
        InputError: one is wrong, or a metric has two limits.
    """
    rules = [parse_rule(text) for text in (texts or DEFAULT_RULES)]
    for name in METRICS:
        if len({rule.limit for rule in rules if rule.name == name}) > 1:
            raise InputError(f"--fail-on: {name} has two limits; keep one of them")
    rules += [Rule(state, state) for state in ALWAYS]
    return tuple({rule.name: rule for rule in reversed(rules)}.values())[::-1]
