"""The lanes of a group on one case: turns on its units, the scenarios, and what the first pass computed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from benchmark.data.slices import Slice
from benchmark.measure.bench import Bench, LaneWorker
from benchmark.measure.lane_server import TurnReply
from benchmark.measure.schedule import calls_per_turn
from benchmark.measure.tally import Labels, Predictions, Tally
from benchmark.measure.workers import WorkerError
from benchmark.measured import Seconds, Server, WarmUp
from benchmark.metrics import CaseSurfaces, Scale
from benchmark.records import CaseRecord, LaneRecord, OfflineRecord
from benchmark.stages.base import Unit

OFFLINE_UNITS = 64
"""At most so many units are sent to a worker for the offline scenario."""


@dataclass(frozen=True)
class CaseWork:
    """One case, ready to be measured.

    Attributes:
        case: its id.
        number: counted from 0 among the group's cases.
        chosen: the slices that count, for Dice over the case.
        units: makes the units anew for each pass.
        variants: prompt strategies or the kind of training labels.
        labels: value → name.
        scale: of surfaces; None where none are measured.
        on_progress: told the share of the case that each turn finished.
    """

    case: str
    number: int
    chosen: Sequence[Slice]
    units: Callable[[], Iterator[Unit]]
    variants: Sequence[str]
    labels: Mapping[int, str]
    scale: Scale | None = None
    on_progress: Callable[[float], None] = lambda share: None


def measure_case(bench: Bench, lanes: Sequence[str], work: CaseWork) -> tuple[CaseRecord, Predictions]:
    """Measures one case.

    Args:
        bench: the workers.
        lanes: those to measure; the reference lane must be among them where the bench has one.
        work: the case.

    Returns:
        The record, without pictures, and every lane's label maps.
    """
    return _CaseMeasurement(bench, lanes, work).run()


@dataclass
class _CaseMeasurement:
    bench: Bench
    lanes: Sequence[str]
    work: CaseWork
    tallies: dict[str, Tally] = field(init=False)
    units: int = 0
    slices: int = 0
    passes: int = 0
    busy_s: float = 0.0

    def __post_init__(self) -> None:
        shape = self._reference.shape
        self.tallies = {
            lane: Tally({variant: np.zeros(shape, np.uint8) for variant in self.work.variants}) for lane in self.lanes
        }
        for lane in self.lanes:
            self.tallies[lane].failed = self.bench.failed.get(lane)

    @property
    def _reference(self) -> Labels:
        # With `data.slices` only labelled slices are chosen, and a case may have none.
        chosen = self.work.chosen
        return np.stack([piece.label for piece in chosen]) if chosen else np.zeros((0, 0, 0), dtype=np.uint8)

    def run(self) -> tuple[CaseRecord, Predictions]:
        started, waited = time.perf_counter(), self._waited()
        self._first_pass()
        while self.units and self.passes < self.bench.measure.repeats and self._alive():
            self._pass(self._alive())
        while self.units and (open_lanes := self._open()):
            self._pass(open_lanes, while_open=True)
        self._scenarios()
        for name in self._alive():
            with self._failing(name):
                self.bench.lanes[name].look()
        wall, parent_cpu = time.perf_counter() - started, self._waited() - waited
        scoring = time.perf_counter()
        lanes = self._records()
        seconds = Seconds(wall=wall, busy=self.busy_s, parent_cpu=parent_cpu, scoring=time.perf_counter() - scoring)
        record = CaseRecord(case=self.work.case, slices=self.slices, passes=self.passes, lanes=lanes, seconds=seconds)
        predictions: Predictions = {
            variant: {lane: t.predictions[variant] for lane, t in self.tallies.items() if t.failed is None}
            for variant in self.work.variants
        }
        return record, predictions

    def _alive(self) -> list[str]:
        return self.bench.alive(self.lanes)

    def _waited(self) -> float:
        return sum(self.bench.lanes[lane].worker.waited_cpu_s for lane in self.lanes)

    def _open(self) -> list[str]:
        """The lanes that get a further turn; an open one is measured beside the reference."""
        bench = self.bench
        if bench.budget_s(self.work.number) <= 0:
            return []
        still = bench.open(self.lanes, self.work.number)
        beside = [bench.reference] if bench.reference in self._alive() and bench.reference not in still else []
        return [*(lane for lane in beside if lane), *still] if still else []

    def _first_pass(self) -> None:
        place = {piece.index: position for position, piece in enumerate(self.work.chosen)}
        for index, unit in enumerate(self.work.units()):
            if index == 0:
                self._warm_up(unit)
            replies = self._round(self._alive(), index, unit, first=True)
            for lane, reply in replies.items():
                self.tallies[lane].add_answers(reply.outcomes[0], unit, place)
            self.units += 1
            self.slices += len(unit.slices)
            self._tell(unit)
        self._end_pass(self._alive(), complete=True)

    def _warm_up(self, unit: Unit) -> None:
        if self.bench.measure.warmup == 0:
            return
        for name in self._alive():
            lane = self.bench.lanes[name]
            if lane.warmed is None:
                with self._failing(name):
                    self.busy_s += lane.warm_up((self.work.case, 0), unit, self.bench.measure.warmup_limit_s)

    def _pass(self, lanes: Sequence[str], while_open: bool = False) -> None:
        complete = True
        for index, unit in enumerate(self.work.units()):
            if while_open:
                lanes = [lane for lane in self._open() if lane in lanes]
            lanes = self.bench.alive(lanes)
            if not lanes:
                complete = False
                break
            self._round(lanes, index, unit, first=False)
            if not while_open:
                self._tell(unit)
        self._end_pass(lanes, complete)

    def _end_pass(self, lanes: Sequence[str], complete: bool) -> None:
        for lane, tally in self.tallies.items():
            tally.end_pass(complete and lane in lanes)
        self.passes += complete

    def _tell(self, unit: Unit) -> None:
        self.work.on_progress(len(unit.slices) / (len(self.work.chosen) * self.bench.measure.repeats))

    def _round(self, lanes: Sequence[str], index: int, unit: Unit, first: bool) -> dict[str, TurnReply]:
        """A turn of each lane on one unit, in the schedule's order."""
        started = time.perf_counter()
        calls = self._calls(lanes)
        untimed = self.bench.measure.warmup if first and index == 0 and self.work.number else 0
        replies: dict[str, TurnReply] = {}
        means: dict[str, dict[str, float]] = {}
        for name in self.bench.schedule.round(lanes):
            time.sleep(self.bench.measure.pause_ms / 1e3)
            with self._failing(name):
                reply = self.bench.lanes[name].turn((self.work.case, index), unit, untimed, calls, first)
                replies[name] = reply
                means[name] = self.tallies[name].add(reply, unit)
                self.busy_s += reply.seconds
                self.bench.samples[name] = self.bench.samples.get(name, 0) + calls
        self._pair(means)
        self.bench.spent_s += time.perf_counter() - started
        return replies

    def _calls(self, lanes: Sequence[str]) -> int:
        """How often a turn repeats its unit: not where nothing more needs to be known."""
        known = [ms for name in lanes if (ms := self.bench.lanes[name].unit_ms) is not None]
        if not known or not self.bench.open(lanes, self.work.number):
            return 1
        return calls_per_turn(min(known), self.bench.measure.block_ms)

    def _pair(self, means: Mapping[str, Mapping[str, float]]) -> None:
        reference = self.bench.reference
        if reference is None or reference not in means:
            return
        for lane, mine in means.items():
            if lane != reference:
                pairs = {variant: [(means[reference][variant], ms)] for variant, ms in mine.items()}
                self.bench.note_pairs(lane, pairs)
                for variant, some in pairs.items():
                    self.tallies[lane].pairs.setdefault(variant, []).extend(some)

    def _scenarios(self) -> None:
        scenarios = self.bench.measure.scenarios
        if not self.units:
            return
        for name in self._alive():
            lane, tally = self.bench.lanes[name], self.tallies[name]
            with self._failing(name):
                # Every case has one unit at least, which may take longer than its share of the time.
                if "offline" in scenarios and self.bench.offline_spent_s.get(name, 0.0) < self.bench.measure.offline_s:
                    tally.offline = self._offline(lane)
                if "server" in scenarios and name not in self.bench.served:
                    tally.server = self._serve(lane)
                    self.bench.served.add(name)

    def _offline(self, lane: LaneWorker) -> OfflineRecord:
        most_s = self.bench.measure.offline_s / self.bench.cases
        started = time.perf_counter()
        units = self._some_units(lane)
        done: OfflineRecord = lane.ask("offline", units, most_s)
        self.busy_s += done.seconds
        self.bench.spent_s += time.perf_counter() - started
        self.bench.offline_spent_s[lane.name] = self.bench.offline_spent_s.get(lane.name, 0.0) + done.seconds
        # The worker knows whether it did all that it was sent, which may be less than the case.
        return done if len(units) == self.units else done.model_copy(update={"volumes": 0})

    def _serve(self, lane: LaneWorker) -> Server | None:
        settings = self.bench.measure.server
        if settings is None or lane.unit_ms is None:
            return None
        started = time.perf_counter()
        # Its search and one trial more than the budget may be on their way when the limit is looked at.
        found: Server = lane.ask(
            "serve", self._some_units(lane), settings, lane.unit_ms, self.bench.seed, extra_s=2 * settings.budget_s
        )
        self.busy_s += time.perf_counter() - started
        return found

    def _some_units(self, lane: LaneWorker) -> list[Unit]:
        """The first units, as many as the offline pass has time for by what the last one took."""
        most_s = self.bench.measure.offline_s / self.bench.cases
        count = min(OFFLINE_UNITS, 1 + int(1e3 * most_s / max(lane.unit_ms or 1.0, 1e-3)))
        return [unit for _, unit in zip(range(count), self.work.units(), strict=False)]

    @contextmanager
    def _failing(self, lane: str) -> Iterator[None]:
        """A worker that fails within takes its lane out of the group; the others go on."""
        try:
            yield
        except WorkerError as error:
            self.bench.failed[lane] = f"not measured after it failed in case {self.work.case}: {error}"
            self.tallies[lane].failed = str(error)

    def _records(self) -> dict[str, LaneRecord]:
        reference = self._reference
        surfaces = None
        if self.work.scale is not None:
            surfaces = CaseSurfaces(reference, self.work.labels, self.work.scale)
        theirs = self.tallies.get(self.bench.reference or "")
        return {
            name: self._record(name, tally, tally.scores(reference, theirs, self.work.labels, surfaces))
            if tally.failed is None
            else LaneRecord(failed=tally.failed).model_copy(update=_start(self.bench.lanes[name]))
            for name, tally in self.tallies.items()
        }

    def _record(self, name: str, tally: Tally, scores: Mapping[str, object]) -> LaneRecord:
        return tally.times().model_copy(update={**scores, **_start(self.bench.lanes[name])})


def _start(lane: LaneWorker) -> dict[str, object]:
    """What is known of a lane's start."""
    if lane.loaded is None:
        return {}
    facts: dict[str, object] = {
        "attestation": lane.loaded.attestation,
        "load_ms": lane.loaded.load_ms,
    }
    if lane.looked is not None:
        looked = lane.looked
        facts |= {"worker": looked.facts, "memory": looked.memory, "energy": looked.energy}
        facts["notes"] = list(looked.notes)
        facts["attestation"] = looked.attestation
    if lane.warmed is not None:
        facts["warmup"] = warm_up_record(lane)
    return facts


def warm_up_record(lane: LaneWorker) -> WarmUp | None:
    """A worker's warm-up."""
    if lane.warmed is None:
        return None
    _, *passes = lane.warmed.samples_ms
    limit = f"ended at its limit after {lane.warmed.seconds:.0f} s and {len(passes)} passes beside the first call"
    return WarmUp(samples_ms=passes, steady=lane.warmed.steady, reason=None if lane.warmed.steady else limit)
