"""What the picture of the first screen shows: comparisons in so few rows that they are taken in at a glance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

from benchmark.results import Comparison
from reports.findings import hull
from reports.matrix import GRAVEST
from reports.speed import STATUS, WORDS
from reports.text import backend_name, condition, is_number
from reports.view import Outcome, View

UNCOUNTED: tuple[Outcome, ...] = ("gate", "unmeasured")
"""Outcomes without a speed."""

Kept = tuple[str | None, str | None, str | None]
"""Of a row its prompt, model and task, None for what it sums up or what goes without saying."""
GROUPINGS: tuple[Callable[[Comparison], Kept], ...] = (
    lambda one: (one.prompt, one.model, one.task),
    lambda one: (one.prompt, one.model, None),
    lambda one: (None, one.model, None),
    lambda one: (None, None, None),
)
"""What sets the rows of a stage and lane apart, from each comparison to none."""


@dataclass(frozen=True, eq=False)
class Line:
    """A row: the comparisons of one stage and lane that it stands for."""

    view: View
    kept: Kept
    members: tuple[Comparison, ...]

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """The row's name, what tells most of it first."""
        first, (prompt, model, task) = self.members[0], self.kept
        lane, against = [], []
        if self.view.compared(first) is not None:
            candidate, baseline = self.view.sides(first)
            lane = [candidate + (f" {first.device}" if self.view.many_devices else "")]
            against = [] if self.view.only_baseline else [f"against {baseline}"]
        told = [condition(first.stage, prompt)] if prompt is not None else []
        told += [model] if model is not None and self.view.many_models else []
        told += [task] if task is not None and self.view.many_tasks else []
        return (*lane, first.stage, *told, *against)

    @cached_property
    def outcomes(self) -> tuple[Outcome, ...]:
        """The outcome of each comparison."""
        return tuple(self.view.outcome(comparison) for comparison in self.members)

    @cached_property
    def counted(self) -> tuple[Comparison, ...]:
        """The comparisons whose speed counts."""
        pairs = zip(self.members, self.outcomes, strict=True)
        return tuple(one for one, outcome in pairs if outcome not in UNCOUNTED and is_number(one.speedup))

    @cached_property
    def speedups(self) -> tuple[float, ...]:
        """Their speedups, from the smallest up."""
        return tuple(sorted(one.speedup for one in self.counted if one.speedup))

    @property
    def middle(self) -> float:
        """The median of the speedups, of which there must be one."""
        return median(self.speedups)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The outer bounds of the intervals; None where a comparison has none."""
        known = [one.ci95 for one in self.counted if one.ci95 and all(map(is_number, one.ci95)) and one.ci95[0] > 0]
        if not known or len(known) < len(self.counted):
            return None
        return min(low for low, _ in known), max(high for _, high in known)

    @property
    def failed(self) -> int:
        """How many comparisons fail the gate."""
        return self.outcomes.count("gate")

    @property
    def verdict(self) -> str:
        """The verdict to worry about most of those that count, in the word that the tables have."""
        return WORDS[min(set(self.outcomes) - set(UNCOUNTED), key=GRAVEST.index)][0].split(" ", 1)[1]

    @property
    def verdicts(self) -> str:
        """Every outcome in words, with how many of several have it."""
        found = [outcome for outcome in reversed(GRAVEST) if outcome in self.outcomes]
        words = [WORDS[outcome][0].split(" ", 1)[1] for outcome in found]
        if len(found) == 1:
            return words[0]
        counts = [f"{word} in {self.outcomes.count(one)}" for word, one in zip(words, found, strict=True)]
        return f"{', '.join(counts)} of {len(self.members)}"

    @property
    def gate(self) -> str:
        """Whether the gate passed, and in how many of several it did not."""
        every, ran = len(self.members), len(self.members) - self.outcomes.count("unmeasured")
        if not ran:
            return "no gate"
        of_run = f", {ran} of {every} ran" if ran < every else ""
        if not self.failed:
            return f"gate ✓{of_run}"
        if self.failed == every:
            return "gate ✗"
        return f"gate ✗ in {self.failed}{of_run or f' of {every}'}"

    @property
    def speed(self) -> str:
        """The speedup, or the smallest and the largest."""
        return hull(self.counted).partition(" ")[0]

    @property
    def instead(self) -> str:
        """What stands in the place of an interval where no speed counts."""
        if self.failed:
            return "✗ gate failed, so no speed"
        first = self.members[0]
        for cell, who in ((self.view.candidate(first), ""), (self.view.baseline(first), f" ({first.baseline})")):
            if cell is not None and cell.status != "ok":
                return STATUS[cell.status][0] + (f" ({backend_name(first.baseline)})" if who else "")
        return WORDS["unmeasured"][0]

    @property
    def sentence(self) -> str:
        """The row for those who do not see it."""
        told = f"{hull(self.counted)}, {self.verdicts}" if self.speedups else self.instead
        return f"{', '.join(self.parts)}: {told}, {self.gate}"

    @property
    def weight(self) -> float:
        """How much it matters where there is no room for all: a failed gate most, then the largest change."""
        if self.failed:
            return math.inf
        return max((abs(math.log(one)) for one in self.speedups), default=0.0)


def lines_by(view: View, grouping: Callable[[Comparison], Kept]) -> tuple[Line, ...]:
    """The rows of a grouping, those of one stage and lane together."""
    found: dict[tuple[object, ...], list[Comparison]] = {}
    for one in view.results.comparisons:
        lane = (one.candidate, one.precision, one.baseline, one.device)
        found.setdefault((one.stage, lane, grouping(one)), []).append(one)
    return tuple(Line(view, grouping(members[0]), tuple(members)) for members in found.values())


def counts(view: View) -> Sequence[int]:
    """How many comparisons have a speed, fail the gate, or were not measured."""
    outcomes = [view.outcome(comparison) for comparison in view.results.comparisons]
    failed, unmeasured = outcomes.count("gate"), outcomes.count("unmeasured")
    return len(outcomes) - failed - unmeasured, failed, unmeasured
