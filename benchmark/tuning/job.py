"""A tuning from start to files: try, race, final."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmark import __version__
from benchmark.calibration.store import find_calibration
from benchmark.files import sha256_text
from benchmark.measure.environment import business, environment
from benchmark.measure.statistics import MARGIN, margin_of
from benchmark.measured import Environment
from benchmark.preflight import sole_user
from benchmark.run import Progress
from benchmark.sections import MeasureSpec
from benchmark.stopwatch import stopwatch
from benchmark.tuning.budget import Budget
from benchmark.tuning.candidates import REFERENCE, Candidate, next_up, options_on
from benchmark.tuning.gate import Maps
from benchmark.tuning.heats import BUDGET_SPENT, LEAST_LIMIT_S, Racing, entrants, waiting_for
from benchmark.tuning.menu import Options, lanes_here, make_menu
from benchmark.tuning.outcome import Measured, not_raced_against, results, short_of_time, versus, why_it
from benchmark.tuning.place import claim, winner_spec, write
from benchmark.tuning.race import Choice, choose, overtaken_by, standings
from benchmark.tuning.records import HeatRecord, Screening, TuneStore
from benchmark.tuning.schema import TuneResult
from benchmark.tuning.screen import screen, times_of
from benchmark.tuning.settings import TuneSettings
from benchmark.tuning.stable import Stable, fitting, too_large
from benchmark.tuning.words import counted
from benchmark.tuning.workload import Workload, content_of, make_workload
from exporters.fetch import cache_dir
from exporters.parity import GATE
from runners.base import RunnerError
from runners.device import Device

LOGS = "logs"
MOST_IN_A_RACE = 6
"""Of more, a turn comes round so late that the machine has changed meanwhile."""

MOST_OF_SCREENING = 0.5
"""Of the time that is left to try candidates, a call of one of them may take no more."""
REDUCED_EXPORT = 0.2
"""Of the budget, an export of one reduced precision may take: its worth is not known. LiteMedSAM's takes 38 s."""


@dataclass
class Tuning:
    """One tuning in its folder.

    Attributes:
        settings: checked.
        out: the folder.
        progress: told how far it is.
        command: the command line that repeats it.
        options: what is varied of each backend; by default what suits the device.
        measure: how turns are taken.
    """

    settings: TuneSettings
    out: Path
    progress: Progress
    command: str
    options: Options | None = None
    measure: MeasureSpec = field(default_factory=MeasureSpec)
    notes: list[str] = field(default_factory=list)
    _here: Environment = field(init=False)
    _work: Workload = field(init=False)
    _store: TuneStore = field(init=False)
    _budget: Budget = field(init=False)
    _margin: float = field(init=False)
    _absent: dict[str, str] = field(init=False)
    _candidates: list[Candidate] = field(init=False)
    _screenings: dict[str, Screening] = field(init=False, default_factory=dict)
    _no_room: dict[str, str] = field(init=False, default_factory=dict)

    def prepare(self) -> tuple[list[Candidate], dict[str, str]]:
        """Loads the model and the units; writes nothing.

        Returns:
            The candidates, and lanes that cannot run here with the reason.

        Raises:
            InputError: settings or data are wrong, or nothing that was asked for can run here.
            ExportError: the model cannot be loaded.
        """
        self.settings.check()
        # Before the model is loaded, which may take minutes.
        lanes, self._absent = lanes_here(self.settings)
        self._here = environment(self.settings.default_threads)
        self._work = make_workload(self.settings, self._here.libraries, self.out / LOGS)
        options = options_on(Device.parse(self.settings.device).kind) if self.options is None else self.options
        self._candidates = make_menu(self.settings, self._work, options, lanes)
        return self._candidates, self._absent

    def execute(self) -> TuneResult:
        """Tries, races and writes winner.yaml and tune.json.

        Raises:
            InputError: settings, data or folder are wrong.
            RunnerError: the reference does not run, so that there is nothing to hold anything against.
        """
        self.prepare()
        claim(self.out, self.settings)
        content = content_of(self.settings, self._work, self._here.model_dump(include={"cpu", "gpu", "libraries"}))
        self._store = TuneStore(self.out, sha256_text(__version__, content))
        found = find_calibration(cache_dir(), self._here)
        self._margin = margin_of(MARGIN, found.noise_floor if found else None)
        busy = business()
        if busy:
            self.notes.append(f"The machine was busy: {busy}")
            self.progress.say(f"This machine is busy, and times will suffer: {busy}")
        with sole_user(self.out), stopwatch(self.out, content) as elapsed:
            self._budget = Budget(self.settings.budget_s, elapsed)
            self._work.reduced_export_s = REDUCED_EXPORT * self.settings.budget_s
            stable = Stable(
                self._work, self.settings.device, self.settings.default_threads, self.measure, self.out / LOGS
            )
            with stable:
                self._screen_all(stable)
                heats, choice = self._race_all(stable)
                final, winner = self._final(stable, choice)
            why = "the budget ended before it was tried"
            measured = Measured(
                self._candidates, self._screenings, heats, final, choice, winner, why, self._absent, self._no_room
            )
            result = self._result(measured, elapsed())
        write(result, self.out)
        return result

    # Trying.

    def _screen_all(self, stable: Stable) -> None:
        theirs = self._reference(stable)
        waiting = [one for one in self._candidates if one.name != REFERENCE.name]
        failed: dict[str, Screening] = {}
        for one in list(waiting):
            known = self._store.screening(one.name)
            if known is None:
                continue
            if known.may_be_mended:
                failed[one.name] = known
            elif known.limit_s is None or known.limit_s >= self._limit_s():
                self._take(one, known, stable)
                waiting.remove(one)
        advance = self.progress.start(f"try {counted(len(self._candidates), 'candidate')}", len(self._candidates))
        advance(len(self._screenings), "")
        while (candidate := self._up(waiting, failed)) is not None:
            waiting.remove(candidate)
            stable.keep(self._wanted())
            large = too_large([str(candidate.lane)], stable.peaks, stable.room_mib)
            if large is not None:
                found = Screening(name=candidate.name, dropped="failed", reason=f"not started: its lane {large}")
            else:
                found, _ = screen(candidate, stable, theirs, self.progress, self._limit_s())
            self._store.save_screening(found)
            self._take(candidate, found, stable)
            advance(1, candidate.name)
        for one in waiting:
            if one.name in failed:  # no time to try it again: what is known of it stands
                self._take(one, failed[one.name], stable)
        stable.keep(self._wanted())

    def _up(self, waiting: Sequence[Candidate], failed: Mapping[str, Screening]) -> Candidate | None:
        """Who is tried next; without time the defaults alone that failed in an earlier call, which spent the budget."""
        if self._budget.screening_s() <= 0:
            waiting = [one for one in waiting if one.name in failed and not one.changes]
        return next_up(waiting, times_of(self._screenings)) if waiting else None

    def _limit_s(self) -> float:
        """Of a call: one that compiles for minutes must not leave the others without a turn."""
        return max(LEAST_LIMIT_S, MOST_OF_SCREENING * self._budget.screening_s())

    def _reference(self, stable: Stable) -> Maps:
        """Its masks; without it nothing can be held against anything, so it is tried whatever the budget."""
        found, masks = self._store.screening(REFERENCE.name), self._store.masks()
        if found is None or masks is None:
            found, masks = screen(REFERENCE, stable, None, self.progress, self.measure.limit_s)
            if found.dropped is not None:
                raise RunnerError(f"the reference, {REFERENCE.name}, does not run: {found.reason}")
            self._store.save_masks(masks)
            self._store.save_screening(found)
        self._take(REFERENCE, found, stable)
        return masks

    def _take(self, candidate: Candidate, found: Screening, stable: Stable) -> None:
        self._screenings[candidate.name] = found
        stable.peaks[candidate.name] = found.memory_mib

    @property
    def _passed(self) -> list[str]:
        """Whoever was not dropped, the fastest first."""
        ms = {name: found.unit_ms for name, found in self._screenings.items() if found.dropped is None}
        return sorted(ms, key=lambda name: ms[name] or 0.0)

    @property
    def _plain(self) -> list[str]:
        """The reference and the plain default of every backend, as far as they passed: what people try by hand."""
        plain = [one.name for one in self._candidates if one.plain]
        return [name for name in plain if name in self._passed]

    def _wanted(self) -> list[str]:
        """Whose processes may be wanted again: plain defaults for the final, and the fastest for the race."""
        return list(dict.fromkeys([*self._plain, *self._passed]))

    # Racing.

    def _race_all(self, stable: Stable) -> tuple[list[HeatRecord], Choice]:
        turns = [self._screenings[name].unit_ms or 0.0 for name in {*self._plain, self._passed[0]}]
        self._budget.keep_for_final(sum(turns) / 1e3)
        heats: list[HeatRecord] = []
        alone = len(self._passed) == 1
        why = "nothing else was tried and passed" if alone else "it was the fastest when tried, and not raced"
        choice = Choice(self._passed[0], why)
        advance = self.progress.start("race the fastest in pairs", 1)
        while True:
            heat = self._next_heat(heats, choice.name, stable)
            if heat is None:
                break
            heats.append(self._racing(heat, stable, advance).race())
            if heat.rounds:
                choice = self._chosen(heat)
        advance(1, "")
        return heats, choice

    def _next_heat(self, heats: Sequence[HeatRecord], king: str, stable: Stable) -> HeatRecord | None:
        """The next race, taken up where it was kept; None where nobody waits or no time is left."""
        number = len(heats) + 1
        kept = self._store.heat(number)
        # Of an earlier call with other backends, or before a race that was run anew, it says nothing.
        known = kept is not None and set(kept.entrants) <= set(self._screenings)
        if kept is not None and known and (not heats or king in kept.entrants) and not self._anew(kept):
            if kept.ended == BUDGET_SPENT and self._budget.race_s() > 0:
                kept.ended = None
            return kept
        left_s = self._budget.race_s()
        for name in self._passed:
            large = too_large([king, name], stable.peaks, stable.room_mib) if name != king else None
            if large is not None:
                self._no_room[name] = f"it has no room beside {king}: both {large}"
        # Whoever cannot even be started again in the time that is left has no race.
        waiting = [
            name
            for name in waiting_for(self._passed, heats)
            if name not in self._no_room and (name in stable.lanes or self._screenings[name].start_s <= left_s)
        ]
        if not waiting or left_s <= 0:
            return None
        size = len(fitting([king, *waiting], stable.peaks, stable.room_mib, MOST_IN_A_RACE))
        names = entrants(king if heats else None, waiting, max(2, size))
        return HeatRecord(number=number, entrants=names) if len(names) > 1 else None

    def _anew(self, kept: HeatRecord) -> bool:
        """Whether a race of an earlier call is run anew: somebody failed in it, and why may be mended."""
        left_s = self._budget.race_s() if kept.number else self._budget.left_s()
        return left_s > 0 and any(left.failed for left in kept.left)

    def _racing(self, heat: HeatRecord, stable: Stable, advance: Any) -> Racing:
        return Racing(
            record=heat,
            stable=stable,
            candidates={one.name: one for one in self._candidates},
            screenings=self._screenings,
            margin=self._margin,
            left_s=self._budget.race_s,
            progress=self.progress,
            save=self._store.save_heat,
            advance=lambda note: advance(0, note),
            pinned=frozenset(self._plain),
        )

    def _chosen(self, heat: HeatRecord) -> Choice:
        memory = {name: found.memory_mib for name, found in self._screenings.items()}
        changes = {one.name: len(one.changes) + (one.precision != "fp32") for one in self._candidates}
        return choose(standings(heat.times, heat.racing), self._margin, memory, changes)

    # The final.

    def _final(self, stable: Stable, choice: Choice) -> tuple[HeatRecord | None, str]:
        """The winner beside the reference and every plain default; one that is surely faster is the winner."""
        names = list(dict.fromkeys([choice.name, *self._plain]))
        kept = self._store.heat(0)
        if kept is not None and self._budget.left_s() <= 0:
            # An earlier call's says more than none, also where a default runs now that failed then.
            names = [choice.name, *(name for name in names[1:] if name in kept.entrants)]
        if kept is not None and (kept.entrants != names or self._anew(kept)):
            kept = None
        if len(names) == 1 or (kept is None and self._budget.left_s() <= 0):
            return None, choice.name
        record = kept or HeatRecord(number=0, entrants=names)
        if record.ended == BUDGET_SPENT and self._budget.left_s() > 0:
            record.ended = None
        advance = self.progress.start("final: the winner against what one would try by hand", 1)
        racing = replace(self._racing(record, stable, advance), left_s=self._budget.left_s)
        final = racing.final(choice.name)
        advance(1, "")
        there = [name for name in final.racing if final.times.get(name)]
        if choice.name in there:
            others = [name for name in there if name != choice.name]
            return final, overtaken_by(final.times, choice.name, others) or choice.name
        failed = any(left.failed and left.name == choice.name for left in final.left)
        # A winner that fails cannot be deployed; the reference passed, and it is among those who wait.
        return final, min(self._plain, key=self._passed.index) if failed else choice.name

    # What comes of it.

    def _result(self, measured: Measured, spent_s: float) -> TuneResult:
        winner = next(one for one in self._candidates if one.name == measured.winner)
        every = results(measured, self._work.batch_kind, self._margin)
        told = versus(measured, self._plain)
        plain = [one.name for one in self._candidates if one.plain and one.name != REFERENCE.name]
        # First of all: a winner that was not held against a backend may not be the best.
        self.notes[:0] = not_raced_against(every, plain, [one.other for one in told if one.source != "screening"])
        if measured.final is None and len(self._plain) > 1:
            self.notes.append("There was no time for a final: give a larger --budget")
        self.notes += short_of_time(every)
        still_open = [one.name for one in every if one.fate == "open"]
        if still_open:
            self.notes.append(f"Not told apart from the winner: {', '.join(still_open)}")
        return TuneResult(
            sambench_version=__version__,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            command=self.command,
            environment=self._here,
            task=self._work.planned.name,
            model=self._work.model,
            cases=list(self._work.truth),
            units=len(self._work.units),
            variants=list(self._work.variants),
            budget_s=self.settings.budget_s,
            spent_s=round(spent_s, 1),
            margin=self._margin,
            gate=GATE,
            no_dice=self._work.no_dice,
            reference=REFERENCE.name,
            winner=winner.name,
            why=why_it(measured),
            versus=told,
            candidates=every,
            notes=self.notes,
            spec=winner_spec(self.settings, winner, self._work.batch_kind),
        )
