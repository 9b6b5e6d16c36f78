"""Races on the machine: candidates take turns in their processes, and `race` says who leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmark.measure.schedule import Schedule, calls_per_turn
from benchmark.measure.statistics import narrow_enough, paired_speedup
from benchmark.measure.workers import WorkerError
from benchmark.run import Progress
from benchmark.tuning.candidates import Candidate
from benchmark.tuning.race import Standing, after_rung, forced_out, next_rung, standings
from benchmark.tuning.records import HeatRecord, Left, Screening
from benchmark.tuning.stable import Stable
from exporters.manifest import ExportError

LOOK_EVERY = 8
"""Rounds of the final between two looks at its intervals: each look costs a bootstrap a comparison."""

LEAST_LIMIT_S = 60.0
"""A call may take so long in any case, however little time is left."""


BUDGET_SPENT = "the budget is spent"
"""Why a race ended that goes on where there is a new budget."""


@dataclass
class Racing:
    """A race under way.

    Attributes:
        record: of it; earlier rounds included where a tuning goes on.
        stable: the processes.
        candidates: by name.
        screenings: by name.
        margin: half-width of what counts as equally fast.
        left_s: seconds that are left for it.
        progress: told of exports.
        save: keeps the record.
        advance: told of each round.
        pinned: whose processes stay, since the final wants them.
    """

    record: HeatRecord
    stable: Stable
    candidates: Mapping[str, Candidate]
    screenings: Mapping[str, Screening]
    margin: float
    left_s: Callable[[], float]
    progress: Progress
    save: Callable[[HeatRecord], None]
    advance: Callable[[str], None] = lambda note: None
    pinned: frozenset[str] = frozenset()
    _cold: set[str] = field(default_factory=set)
    _made: Schedule | None = None

    def race(self) -> HeatRecord:
        """Rung after rung until one is left, or those left are equals, or the time is spent."""
        if self.record.ended is not None:
            return self.record
        try:
            self._open()
            while self.record.ended is None:
                self._rung()
        finally:
            self.save(self.record)
        return self.record

    def final(self, winner: str) -> HeatRecord:
        """The winner beside all others until each comparison is narrow enough, or the time is spent. Nobody leaves."""
        if self.record.ended is not None:
            return self.record
        try:
            self._open()
            wide = [name for name in self.record.racing if name != winner]
            while self.record.ended is None:
                wide = [name for name in wide if name in self.record.racing]
                if winner not in self.record.racing:
                    self._end("the winner failed")
                elif not wide:
                    self._end("every interval is narrow enough")
                elif self.left_s() <= 0:
                    self._end(BUDGET_SPENT)
                else:
                    self._round([winner, *wide])
                    if self.record.rounds % LOOK_EVERY == 0:
                        wide = [name for name in wide if not self._narrow(winner, name)]
        finally:
            self.save(self.record)
        return self.record

    def _narrow(self, winner: str, name: str) -> bool:
        own = self.record.times.get(name, [])
        return narrow_enough(paired_speedup(self.record.times[winner][: len(own)], own, self.margin), self.margin)

    def _rung(self) -> None:
        target = next_rung(self.record.rounds)
        if len(self.record.racing) <= 1 or target is None:
            self._end("one is left" if len(self.record.racing) <= 1 else "more rounds would not tell them apart")
            return
        self._force(target - self.record.rounds)
        while self.record.rounds < target and len(self.record.racing) > 1:
            if self.left_s() <= 0:
                self._end(BUDGET_SPENT)
                return
            self._round(self.record.racing)
        if len(self.record.racing) > 1:
            order = standings(self.record.times, self.record.racing)
            decision = after_rung(order, self.margin)
            for standing in decision.leaving:
                self._leave(standing.name, f"surely slower: {standing.words}")
            if decision.decided:
                one = len(self.record.racing) == 1
                self._end("one is left" if one else "those left are equally fast within the margin")
        self.save(self.record)

    def _force(self, rounds: int) -> None:
        turns = {name: self._turn_s(name) for name in self.record.racing}
        for standing in forced_out(self._order(), turns, rounds, self.left_s()):
            told = standing.words if standing.pairs else f"{standing.ratio:.3f}× of the fastest's speed when screened"
            self._leave(standing.name, f"the budget has no time for its turns: {told}", forced=True)

    def _order(self) -> list[Standing]:
        """By their rounds, or before the first one by the screening."""
        if self.record.rounds:
            return standings(self.record.times, self.record.racing)
        ms = {name: self._ms(name) for name in self.record.racing}
        fastest = min(ms.values())
        return [Standing(name, fastest / ms[name], None, 0) for name in sorted(ms, key=lambda name: ms[name])]

    def _open(self) -> None:
        for name in self.record.racing:
            found = self.screenings[name]
            if name not in self.stable.lanes:
                if found.start_s > self.left_s():
                    told = f"its start takes {found.start_s:.0f} s and {max(0.0, self.left_s()):.0f} s are left"
                    self._leave(name, f"the budget has no time for it: {told}", forced=True)
                    continue
                self.stable.keep([*self.record.racing, *self.pinned])
            try:
                self.stable.open(self.candidates[name], self.progress, max(LEAST_LIMIT_S, self.left_s()))
            except (WorkerError, ExportError) as error:
                self._leave(name, f"loading it again failed: {error}", failed=True)
        self._cold = set(self.record.racing)

    def _round(self, names: Sequence[str]) -> None:
        units = self.stable.workload.units
        number = self.record.rounds
        work = units[number % len(units)]
        calls = self._calls(names)
        schedule = self._schedule()
        taken: dict[str, float] = {}
        for name in schedule.round(names):
            try:
                taken[name] = self.stable.turn(name, work, calls, untimed=1 if name in self._cold else 0)
                self._cold.discard(name)
            except WorkerError as error:
                self._leave(name, f"failed in round {number + 1}: {error}", failed=True)
        for name, milliseconds in taken.items():
            self.record.times.setdefault(name, []).append(milliseconds)
        self.advance(f"{len(names)} of {len(self.record.entrants)} race, round {number + 1}")

    def _schedule(self) -> Schedule:
        if self._made is None:
            self._made = Schedule(self.record.entrants, seed=self.record.number)
        return self._made

    def _calls(self, names: Sequence[str]) -> int:
        return calls_per_turn(min(self._ms(name) for name in names), self.stable.measure.block_ms)

    def _turn_s(self, name: str) -> float:
        return (self._ms(name) * self._calls(self.record.racing) + self.stable.measure.pause_ms) / 1e3

    def _ms(self, name: str) -> float:
        return self.screenings[name].unit_ms or 0.0

    def _leave(self, name: str, reason: str, forced: bool = False, failed: bool = False) -> None:
        self.record.left.append(Left(name=name, reason=reason, forced=forced, failed=failed))
        if failed or name not in self.pinned:
            self.stable.close(name)

    def _end(self, why: str) -> None:
        self.record.ended = why


def waiting_for(passed: Sequence[str], heats: Sequence[HeatRecord]) -> list[str]:
    """Who still waits for a race: whoever took part in none, or had to leave the last one for the budget's sake.

    Args:
        passed: those who hold the gate, the fastest first.
        heats: so far, in order.
    """
    raced: set[str] = set()
    for heat in heats:
        raced |= set(heat.entrants)
        raced -= {left.name for left in heat.left if left.forced}
    return [name for name in passed if name not in raced]


def entrants(king: str | None, waiting: Sequence[str], size: int) -> list[str]:
    """Who races next: the winner so far and the fastest of those who wait.

    Args:
        king: the winner so far; None before the first race.
        waiting: by their screening, the fastest first.
        size: of a race.
    """
    challengers = [name for name in waiting if name != king]
    return [*([king] if king else []), *challengers[: size - (king is not None)]]
