"""Which conditions a chart shows of more than anybody can look at: the most telling ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from benchmark.results import Cell
from reports.text import is_number

Thing = TypeVar("Thing")
LINES = 40
"""So many lines or bars fill a screen or two; more are not looked at."""


@dataclass(frozen=True)
class Choice(Generic[Thing]):
    """What is shown, in its old order, and of how many."""

    shown: tuple[Thing, ...]
    of: int

    def note(self, which: str) -> str:
        """What a title adds; empty if all are shown.

        Args:
            which: what those that are shown have in common, as in "the widest spread first".
        """
        return "" if len(self.shown) == self.of else f" ({len(self.shown)} of {self.of} shown: {which})"


def most_telling(
    things: Sequence[Thing],
    tells: Callable[[Thing], float],
    *,
    most: int = LINES,
    size: Callable[[Thing], int] = lambda _: 1,
) -> Choice[Thing]:
    """The things with the highest scores for which there is room, at least one.

    Args:
        things: to choose from.
        tells: the score.
        most: the room.
        size: how much of it a thing takes.
    """
    chosen: list[int] = []
    taken = 0
    for index in sorted(range(len(things)), key=lambda index: -tells(things[index])):
        taken += size(things[index])
        if chosen and taken > most:
            break
        chosen.append(index)
    return Choice(tuple(things[index] for index in sorted(chosen)), len(things))


def time_ratio(cells: Sequence[Cell]) -> float:
    """How far apart the backends of a condition are in time: the slowest's mean over the fastest's."""
    found = [cell.latency_ms.mean for cell in cells if cell.latency_ms and is_number(cell.latency_ms.mean)]
    means = [mean for mean in found if mean]
    return max(means) / min(means) if means else 0.0


def timed(cells: Sequence[Cell]) -> list[Cell]:
    """Those with a valid result and samples of their time."""
    return [cell for cell in cells if cell.status == "ok" and cell.latency_ms and cell.latency_ms.samples]
