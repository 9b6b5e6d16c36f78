"""Backends take turns on the same units of work, so that drift of the machine hits all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

UnitT = TypeVar("UnitT")
OutcomeT = TypeVar("OutcomeT")


@dataclass(frozen=True)
class Turn(Generic[UnitT, OutcomeT]):
    """One backend's pass over one unit.

    Attributes:
        lane: the backend.
        index: the unit's number.
        unit: the unit.
        outcome: what the backend returned; None if it failed.
        error: how it failed.
    """

    lane: str
    index: int
    unit: UnitT
    outcome: OutcomeT | None
    error: str | None = None


def take_turns(
    lanes: Mapping[str, Callable[[UnitT], OutcomeT]],
    units: Iterable[UnitT],
    warmup: Callable[[str, int, UnitT], int] = lambda lane, index, unit: 0,
    pause_s: float = 0.0,
    first: int = 0,
) -> Iterator[Turn[UnitT, OutcomeT]]:
    """Gives every lane a turn on every unit: A B on one unit, B A on the next.

    A lane that fails yields one turn with its error and gets no further turns; the others go on.

    Args:
        lanes: backend → its pipeline.
        units: the work.
        warmup: how many untimed passes a lane makes over a unit before its turn: caches fill, memory is allocated.
        pause_s: rest between turns. Worker threads spin for a while after a run and would slow the next lane.
        first: which lane begins; count repeats here, so that each lane begins equally often.
    """
    alive = dict(lanes)
    for index, unit in enumerate(units):
        for lane in turn_order(list(alive), first + index):
            if pause_s:
                time.sleep(pause_s)
            try:
                for _ in range(warmup(lane, index, unit)):
                    alive[lane](unit)
                outcome = alive[lane](unit)
            # A backend may raise anything, and one that fails must not end the run of the others.
            except Exception as error:
                del alive[lane]
                yield Turn(lane, index, unit, None, _sentence(error))
                continue
            yield Turn(lane, index, unit, outcome)


def turn_order(lanes: list[str], index: int) -> list[str]:
    """The lanes in turn for unit `index`.

    Each goes first equally often, and before any other as often as after it: they go round one way and then the other.
    Rotation alone would let the second of three lanes follow the first twice as often as go before it.
    """
    count = len(lanes)
    step = -1 if count and (index // count) % 2 else 1
    return [lanes[(index + step * place) % count] for place in range(count)]


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
