"""The prompt strategies of a run side by side: what each asks of a person and what Dice it reaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from benchmark.results import Cell, Effort, LaneKey
from reports.accuracy import labels_of, numbers
from reports.text import is_number
from reports.view import View

Kind = Literal["box", "point", "box+point", "iterative"]
KINDS: tuple[Kind, ...] = ("box", "point", "box+point", "iterative")
REFERENCE_LANE = LaneKey("pytorch")


@dataclass(frozen=True)
class Strategy:
    """A prompt strategy as one lane ran it."""

    cell: Cell

    @property
    def name(self) -> str:
        """The strategy's name in the specification."""
        return self.cell.prompt or ""

    @property
    def kind(self) -> Kind:
        """What a person does; an iterative strategy answers the mask before, which its effort does not show."""
        effort = self.cell.effort
        if self.name.startswith("iterative"):
            return "iterative"
        if effort is None or effort.boxes == 0:
            return "point"
        return "box+point" if effort.clicks > 0 else "box"

    @property
    def recorded(self) -> Effort | None:
        """The effort, where any object was prompted for."""
        return self.cell.effort if self.cell.effort and self.cell.effort.objects else None

    @property
    def effort(self) -> float | None:
        """Clicks per object and slice, a box counting as two; None where none was recorded."""
        return self.recorded.per_object if self.recorded else None

    @property
    def boxes(self) -> float:
        """Boxes drawn per object and slice."""
        return self.recorded.boxes / self.recorded.objects if self.recorded else 0.0

    @property
    def clicks(self) -> float:
        """Clicks set per object and slice."""
        return self.recorded.clicks / self.recorded.objects if self.recorded else 0.0

    @property
    def dice(self) -> float | None:
        """The mean over cases and labels, as in the table of Dice per label; None unless the cell is valid."""
        return self.cell.dice if self.cell.status == "ok" and is_number(self.cell.dice) else None

    def label_dice(self, label: str) -> float | None:
        """The mean over cases of a label; None unless the cell is valid."""
        values = numbers(self.cell.dice_per_case, label) if self.cell.status == "ok" else []
        return fmean(values) if values else None


@dataclass(frozen=True)
class Lineup:
    """The strategies of one task and model on one device, all of one lane, from the least effort up."""

    task: str
    model: str
    device: str
    lane: LaneKey
    strategies: tuple[Strategy, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in their order."""
        return labels_of([strategy.cell for strategy in self.strategies])

    @property
    def measured(self) -> tuple[Strategy, ...]:
        """The strategies of which both effort and Dice are known."""
        return tuple(s for s in self.strategies if s.effort is not None and s.dice is not None)


def lineups(view: View) -> tuple[Lineup, ...]:
    """A line-up for each task, model and device with two strategies or more and an effort to compare them by."""
    places: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in view.cells("pseudolabel"):
        if cell.prompt is not None:
            places.setdefault((cell.task, cell.model, cell.device), []).append(cell)
    found = []
    for place, cells in places.items():
        lane, chosen = _lane(cells)
        if len(chosen) > 1 and any(strategy.effort is not None for strategy in chosen):
            found.append(Lineup(*place, lane, tuple(sorted(chosen, key=_by_effort))))
    return tuple(found)


def _lane(cells: Sequence[Cell]) -> tuple[LaneKey, list[Strategy]]:
    """The lane with the most valid strategies; among equals PyTorch in fp32, then the first."""
    lanes: dict[LaneKey, list[Strategy]] = {}
    for cell in cells:
        lanes.setdefault(LaneKey(cell.backend, cell.precision), []).append(Strategy(cell))

    def rank(lane: LaneKey) -> tuple[int, bool]:
        return sum(strategy.cell.status == "ok" for strategy in lanes[lane]), lane == REFERENCE_LANE

    best = max(lanes, key=rank)
    return best, lanes[best]


def _by_effort(strategy: Strategy) -> tuple[bool, float, str]:
    return strategy.effort is None, strategy.effort or 0.0, strategy.name


def main_lineups(view: View) -> tuple[Lineup, ...]:
    """One line-up for each task and model, for sentence and chart: Dice hardly depends on the device."""
    found: dict[tuple[str, str], Lineup] = {}
    for lineup in lineups(view):
        if len(lineup.measured) > 1:
            found.setdefault((lineup.task, lineup.model), lineup)
    return tuple(found.values())


def whereabouts(lineups: Sequence[Lineup]) -> tuple[str, ...]:
    """What sets line-ups apart, in words; empty where there is one alone."""
    names = [(lineup.task, lineup.model, lineup.device) for lineup in lineups]
    several = [len(set(column)) > 1 for column in zip(*names, strict=True)]
    return tuple(", ".join(name for name, differs in zip(row, several, strict=True) if differs) for row in names)
