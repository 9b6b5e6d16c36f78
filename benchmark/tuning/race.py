"""Who is still in the race: decisions from times that were measured side by side. Pure.

Successive halving (Jamieson and Talwalkar, AISTATS 2016): all get a few turns, the slower half leaves, the others get
more. It is kept from its one weakness, that a good one leaves by bad luck: only who is surely behind may leave, unless
the budget leaves no choice, and then that is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.measure.statistics import PAIRS_NEEDED, paired_speedup, verdict

FEWEST_PAIRS = 6
"""The smallest and the largest of so many ratios hold their true median with 97 % (1 − 2 / 2⁶), whatever their
distribution: the interval of the sign test (Conover, Practical Nonparametric Statistics, 3.2). Five give 94 %."""

RUNGS = (FEWEST_PAIRS, PAIRS_NEEDED, 40, 100, 250, 600)
"""Pairs of everybody at the end of each rung: about two and a half times as many each time."""

ALIKE_MEMORY = 0.05
"""Peaks of two processes that run the same differ by a few percent."""

Times = Mapping[str, Sequence[float]]
"""Candidate → milliseconds of its turn in each round, from the first round on; who left has fewer."""


@dataclass(frozen=True)
class Standing:
    """A candidate against the leader.

    Attributes:
        ratio: the leader's time / its own, the median over pairs; 1 for the leader, below 1 for who is slower.
        interval: of the ratio, 95 % or more; None of too few pairs.
        pairs: rounds in which both took a turn.
    """

    name: str
    ratio: float
    interval: tuple[float, float] | None
    pairs: int

    def behind(self, margin: float) -> bool:
        """Whether it is surely slower than the leader, by more than the margin."""
        return self.interval is not None and verdict(self.interval, margin) == "slower"

    def level(self, margin: float) -> bool:
        """Whether it is surely as fast as the leader, within the margin."""
        return self.interval is not None and verdict(self.interval, margin) == "equivalent"

    @property
    def words(self) -> str:
        """`0.82× [0.80, 0.85] of the leader's speed in 16 pairs`."""
        reach = "" if self.interval is None else f" [{self.interval[0]:.3f}, {self.interval[1]:.3f}]"
        return f"{self.ratio:.3f}×{reach} of the leader's speed in {self.pairs} pairs"


def against(leader: Sequence[float], own: Sequence[float]) -> tuple[float, tuple[float, float] | None, int]:
    """The speed against a leader: ratio, interval and number of the pairs that both have.

    With `PAIRS_NEEDED` pairs or more the interval is that of every comparison of sambench; with fewer, from
    `FEWEST_PAIRS` on, the range of the ratios.

    Args:
        leader: milliseconds, round by round.
        own: of the same rounds.
    """
    pairs = min(len(leader), len(own))
    if pairs == 0:
        raise ValueError("nothing was measured on both sides")
    found = paired_speedup(leader[:pairs], own[:pairs])
    assert found.ratio is not None  # noqa: S101 - there are pairs
    if found.ci95 is not None or pairs < FEWEST_PAIRS:
        return found.ratio, found.ci95, pairs
    ratios = np.asarray(leader[:pairs], dtype=float) / np.asarray(own[:pairs], dtype=float)
    return found.ratio, (float(ratios.min()), float(ratios.max())), pairs


def standings(times: Times, racing: Sequence[str]) -> list[Standing]:
    """Those who race, the leader first and the slowest last.

    Leader is whose median of time over the round's geometric mean is least: rounds are of different units, and a slow
    moment of the machine hits a whole round.

    Args:
        times: of at least one round.
        racing: candidates that took a turn in every round.
    """
    logs = np.log(np.array([times[name] for name in racing], dtype=float))
    relative = np.median(logs - logs.mean(axis=0), axis=1)
    order = [racing[place] for place in np.argsort(relative, kind="stable")]
    leader = order[0]
    rest = (Standing(name, *against(times[leader], times[name])) for name in order[1:])
    return [Standing(leader, 1.0, (1.0, 1.0), len(times[leader])), *sorted(rest, key=lambda one: -one.ratio)]


@dataclass(frozen=True)
class Decision:
    """What comes of a rung.

    Attributes:
        leaving: who is surely behind and leaves, slowest first.
        decided: whether nobody is left whose place more rounds would tell.
    """

    leaving: tuple[Standing, ...]
    decided: bool


def after_rung(order: Sequence[Standing], margin: float) -> Decision:
    """Who leaves after a rung: those surely behind the leader, but no more than half.

    Args:
        order: from `standings`.
        margin: half-width of what counts as equally fast.
    """
    behind = [standing for standing in reversed(order) if standing.behind(margin)]
    leaving = tuple(behind[: len(order) // 2])
    staying = [standing for standing in order[1:] if standing not in leaving]
    return Decision(leaving, all(standing.level(margin) for standing in staying))


def next_rung(pairs: int) -> int | None:
    """How many pairs the next rung ends with; None after the last one."""
    return next((rung for rung in RUNGS if rung > pairs), None)


def forced_out(order: Sequence[Standing], turn_s: Mapping[str, float], rounds: int, left_s: float) -> list[Standing]:
    """Who has to leave for the others' next rung to fit into the time that is left: the slower half, and again.

    Two stay in any case: they share what time there is.

    Args:
        order: those who race, slowest last.
        turn_s: what a turn of each takes.
        rounds: of the next rung.
        left_s: seconds.
    """
    staying = list(order)
    while len(staying) > 2 and rounds * sum(turn_s[one.name] for one in staying) > left_s:
        staying = staying[: max(2, len(staying) - len(staying) // 2)]
    return list(order[len(staying) :])


@dataclass(frozen=True)
class Choice:
    """Who is taken of those that are left.

    Attributes:
        name: of the candidate.
        why: it and not another one.
        level: who else is as fast, within the margin.
        open: who may be as fast: their interval still reaches the leader's.
    """

    name: str
    why: str
    level: tuple[str, ...] = ()
    open: tuple[str, ...] = ()


def choose(
    order: Sequence[Standing], margin: float, memory_mib: Mapping[str, float | None], changes: Mapping[str, int]
) -> Choice:
    """The leader, or of those surely as fast the one with the least memory, and then with the fewest settings.

    Args:
        order: those who are left, from `standings`.
        margin: half-width of what counts as equally fast.
        memory_mib: peak of each; None where unknown, which counts as most.
        changes: how many settings of each are not the default.
    """
    leader = order[0]
    level = [one for one in order[1:] if one.level(margin)]
    still_open = tuple(one.name for one in order[1:] if not one.level(margin) and not one.behind(margin))
    if not level:
        return Choice(leader.name, "it is the fastest", open=still_open)
    alike = [leader, *level]
    peaks = {one.name: memory_mib.get(one.name) or float("inf") for one in alike}
    least = min(peaks.values())
    small = [one for one in alike if peaks[one.name] <= least * (1 + ALIKE_MEMORY)]
    taken = min(small, key=lambda one: (changes[one.name], order.index(one)))
    others = tuple(one.name for one in alike if one is not taken)
    if len(small) < len(alike) and taken.name != leader.name:
        why = "of those that are equally fast it needs the least memory"
    elif taken.name != leader.name:
        why = "of those that are equally fast, with about the same memory, it changes the fewest settings"
    else:
        why = "none of those that are equally fast needs less memory or fewer settings"
    return Choice(taken.name, why, others, still_open)


def overtaken_by(times: Times, winner: str, others: Sequence[str]) -> str | None:
    """Who of the others is surely faster than the winner, by however little; the fastest of them. None if nobody is.

    Args:
        times: of a round in which all took turns.
        winner: the candidate that was chosen.
        others: those it is held against.
    """
    found = {name: against(times[winner], times[name]) for name in others if times.get(name)}
    surely = {name: ratio for name, (ratio, interval, _) in found.items() if interval is not None and interval[0] > 1}
    return max(surely, key=lambda name: surely[name], default=None)
