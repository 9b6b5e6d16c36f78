"""Who goes when: the order of turns in each round, and how much work makes one turn."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


class Schedule:
    """The lanes in random order, round after round, so that each goes before any other as often as after it.

    A round in a random permutation is followed by one in its reverse. So over both rounds each lane goes once before
    and once after any other, and a steady drift over them hits all alike. Each follows its neighbour once and precedes
    it once, so what one leaves behind (heat, full caches, spinning threads) falls on both. A new permutation after
    every two rounds keeps a rhythm of the machine from coinciding with one of the turns.

    Args:
        lanes: all that may ever take part, each once.
        seed: the same seed gives the same orders.
    """

    def __init__(self, lanes: Sequence[str], seed: int) -> None:
        if len(set(lanes)) != len(lanes):
            raise ValueError(f"a lane takes one turn a round, but lanes are {', '.join(lanes)}")
        self.lanes = tuple(lanes)
        self._rng = np.random.default_rng(seed)
        self._to_reverse: list[str] | None = None

    def round(self, alive: Sequence[str]) -> list[str]:
        """The order of the next round.

        A lane that drops out between a permutation and its reverse leaves the others as balanced as they were. One
        that comes back then begins a new permutation.

        Args:
            alive: lanes that take part, in any order.

        Raises:
            ValueError: one of them is none of the schedule's.
        """
        taking_part = set(alive)
        unknown = sorted(taking_part.difference(self.lanes))
        if unknown:
            raise ValueError(f"lane {', '.join(unknown)} is not one of {', '.join(self.lanes)}")
        forward, self._to_reverse = self._to_reverse, None
        if forward is not None and taking_part.issubset(forward):
            return [lane for lane in reversed(forward) if lane in taking_part]
        there = [lane for lane in self.lanes if lane in taking_part]
        self._to_reverse = [there[place] for place in self._rng.permutation(len(there))]
        return list(self._to_reverse)


def calls_per_turn(fastest_ms: float, block_ms: float = 50, most: int = 16) -> int:
    """How often a unit of work is run in one turn, so that a turn is long against the cost of handing it over.

    The same for all lanes, by the fastest of them: else a slow lane's turns would average over fewer calls.

    Args:
        fastest_ms: one call of the fastest lane. 0 stands for shorter than the clock can tell.
        block_ms: how long a turn should be at least.
        most: calls in one turn at most, since what hits only one of the two turns of a pair does not cancel.
    """
    if not fastest_ms >= 0:
        raise ValueError(f"a call took {fastest_ms} ms, which no clock shows")
    if fastest_ms * most <= block_ms:
        return most
    return max(1, math.ceil(block_ms / fastest_ms))
