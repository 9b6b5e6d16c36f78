"""A group of cells, case by case: what is recorded already is not measured again, and what failed is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmark.data.msd import CaseFiles
from benchmark.data.slices import Slice
from benchmark.data.volume import Volume, load_volume
from benchmark.lanes import LaneSettings, Sources
from benchmark.measure.bench import Bench, open_bench
from benchmark.measure.case import CaseWork, measure_case
from benchmark.measure.schedule import Schedule
from benchmark.measure.tally import Predictions
from benchmark.measure.workers import WorkerError
from benchmark.measured import Seconds
from benchmark.metrics import Scale
from benchmark.pictures import save_pictures
from benchmark.plan import REFERENCE_LANE, Group, chosen_slices, threads_of
from benchmark.records import RECORDS, CaseRecord, LaneRecord, RecordStore
from benchmark.results import LaneKey, Picture
from benchmark.spec import Spec
from benchmark.stages.base import Pipeline, Unit
from runners.base import Runner

LOGS = "logs"
PICTURES_PER_CASE = 2
CASES_WITH_PICTURES = 2

OnCase = Callable[[Volume, Sequence[Slice], Predictions], None]


@dataclass(frozen=True)
class Work:
    """What a group runs.

    Attributes:
        sources: precision → the modules.
        pipeline: makes the stage's pipeline of their runners; it is sent to the workers.
        units: makes the units of a case and its chosen slices.
        labels: value → name of the labels that count.
        holds: whether what `on_case` wrote for a case is still there.
        on_case: told each case's label maps before its record is written, so that a record implies them.
    """

    sources: Sources
    pipeline: Callable[[Sequence[Runner]], Pipeline]
    units: Callable[[Volume, Sequence[Slice]], Iterator[Unit]]
    labels: Mapping[int, str]
    on_case: OnCase | None = None
    holds: Callable[[str], bool] = lambda case: True


@dataclass(frozen=True)
class Measuring:
    """A group on its way.

    Attributes:
        run_dir: the run's folder.
        group: what to measure.
        work: how.
        spec: the run's specification.
        margin: half-width of what counts as equivalent on this machine.
        on_progress: told how many cases (and parts of one) are done since the last call.
    """

    run_dir: Path
    group: Group
    work: Work
    spec: Spec
    margin: float
    on_progress: Callable[[float], None]

    def records(self) -> list[CaseRecord]:
        """The group's records, one a case, measuring what has none.

        Raises:
            InputError: a case cannot be read.
            RunnerError: a backend cannot be had.
        """
        store = RecordStore(self.run_dir / RECORDS / self.group.folder)
        records = {files.case: self._recorded(store, files.case) for files in self.group.cases}
        todo = {case: lanes for case, record in records.items() if (lanes := self._missing(record))}
        self.on_progress(len(self.group.cases) - len(todo))
        if todo:
            with self._bench(todo) as bench:
                for number, files in enumerate(self.group.cases):
                    lanes, before = todo.get(files.case, []), records[files.case]
                    if before is not None:
                        _take_up(bench, before, lanes)
                    if lanes:
                        record = self._measure(bench, number, files, lanes, before)
                        store.save(record)
                        records[files.case] = record
        return [record for record in records.values() if record is not None]

    def _recorded(self, store: RecordStore, case: str) -> CaseRecord | None:
        """The case's record, if the files that it implies are still there."""
        record = store.load(case)
        if record is None or not self.work.holds(case):
            return None
        pictures = [name for p in record.pictures for name in (p.image, p.reference, *p.predictions.values())]
        return record if all((self.run_dir / name).is_file() for name in pictures) else None

    def _missing(self, record: CaseRecord | None) -> list[LaneKey]:
        """The lanes to measure on a case: all, or those that failed and the reference that they are paired with."""
        lanes = list(self.group.lanes)
        if record is None:
            return lanes
        failed = set(record.failed)
        if str(REFERENCE_LANE) in failed:
            return lanes
        return [key for key in lanes if str(key) in failed or (failed and key == REFERENCE_LANE)]

    @contextmanager
    def _bench(self, todo: Mapping[str, Sequence[LaneKey]]) -> Iterator[Bench]:
        started = time.perf_counter()
        wanted = [key for key in self.group.lanes if any(key in lanes for lanes in todo.values())]
        settings = LaneSettings((), self.group.device, threads_of(self.spec), self.spec.options, self.spec.lanes)
        measure = self.spec.measure
        logs = self.run_dir / LOGS / self.group.folder
        with open_bench(wanted, settings, self.work.sources, self.work.pipeline, measure, logs) as lanes:
            names = [str(key) for key in wanted]
            bench = Bench(
                lanes=lanes,
                schedule=Schedule(names, seed=self.spec.data.seed),
                reference=str(REFERENCE_LANE) if REFERENCE_LANE in wanted else None,
                measure=measure,
                margin=self.margin,
                cases=len(self.group.cases),
                seed=self.spec.data.seed,
            )
            _load(bench)
            bench.starting_s = time.perf_counter() - started
            yield bench

    def _measure(
        self, bench: Bench, number: int, files: CaseFiles, lanes: Sequence[LaneKey], before: CaseRecord | None
    ) -> CaseRecord:
        started = time.perf_counter()
        volume = load_volume(self.group.planned.task, files)
        chosen = chosen_slices(volume, self.spec)
        done = 0.0

        def advance(share: float) -> None:
            nonlocal done
            done += share
            self.on_progress(share)

        x, y, z = volume.spacing
        task = self.group.planned.task
        work = CaseWork(
            case=files.case,
            number=number,
            chosen=chosen,
            units=partial(self.work.units, volume, chosen),
            variants=self.group.variants,
            labels=self.work.labels,
            scale=None if self.group.no_surfaces(self.spec) else Scale((z, y, x), task.nsd_tolerance_mm),
            on_progress=advance,
        )
        data_s = time.perf_counter() - started
        record, predictions = measure_case(bench, [str(key) for key in lanes], work)
        # Slices without a prompt took no turn.
        self.on_progress(1.0 - done)
        scoring = time.perf_counter()
        if self.work.on_case is not None and (before is None or _all_again(before)):
            self.work.on_case(volume, chosen, predictions)
        if files.case in _pictured(self.group):
            pictures = save_pictures(self.run_dir, self.group, chosen, predictions, PICTURES_PER_CASE)
            record = record.model_copy(update={"pictures": pictures})
        took = record.seconds
        scoring_s = took.scoring + time.perf_counter() - scoring
        took = took.model_copy(update={"data": data_s, "scoring": scoring_s, "starting": bench.starting_s})
        bench.starting_s = 0.0  # the first case bears it
        return merged(before, record.model_copy(update={"seconds": took}))


def _pictured(group: Group) -> set[str]:
    """The cases of which pictures are kept: test cases first, so that a slice shows pseudo labels and UNet together."""
    tested = {files.case for files in group.planned.test}
    ranked = sorted(group.cases, key=lambda files: files.case not in tested)
    return {files.case for files in ranked[:CASES_WITH_PICTURES]}


def _load(bench: Bench) -> None:
    """Loads lane after lane, so that none slows another's loading. One that cannot be loaded has failed."""
    for name, lane in bench.lanes.items():
        try:
            lane.load()
        except WorkerError as error:
            bench.failed[name] = f"loading: {error}"


def _take_up(bench: Bench, record: CaseRecord, again: Sequence[LaneKey]) -> None:
    """What an earlier part of the run measured counts towards verdicts, samples and the budget.

    Taken up when its case's turn comes, so that a case that is measured again has the share that it had before.

    Args:
        bench: the workers.
        record: of a case.
        again: the lanes that are about to be measured again on it; without any, its time is spent.
    """
    if not again:
        bench.spent_s += record.seconds.wall
    for name in bench.lanes:
        lane = record.lanes.get(name)
        if lane is not None and lane.failed is None and LaneKey.parse(name) not in again:
            if lane.server is not None:
                bench.served.add(name)
            bench.note_pairs(name, lane.pairs)
            count = max((len(samples) for samples in lane.unit_ms.values()), default=0)
            bench.samples[name] = bench.samples.get(name, 0) + count


def _all_again(before: CaseRecord) -> bool:
    """Whether every lane is measured again: pairs and parity are held against the reference, and it failed."""
    return str(REFERENCE_LANE) in before.failed


def merged(before: CaseRecord | None, now: CaseRecord) -> CaseRecord:
    """A case's record after some of its lanes were measured again: they are replaced, the others stay.

    The reference's own numbers stay too, where it was measured again only for the others to have somebody beside them.
    If it fails in that, they have failed with it: without pairs and parity they would pass for measured.
    """
    if before is None:
        return now
    seconds = total([before.seconds, now.seconds])
    if _all_again(before):
        return now.model_copy(update={"seconds": seconds})
    beside = now.lanes.get(str(REFERENCE_LANE))
    lost = beside.failed if beside is not None else None
    lanes = dict(before.lanes)
    for key in before.failed:
        lanes[key] = now.lanes[key] if lost is None else _without_reference(now.lanes[key], lost)
    return now.model_copy(
        update={
            "lanes": lanes,
            "passes": max(before.passes, now.passes),
            "seconds": seconds,
            "pictures": before.pictures if lost else _merged_pictures(before.pictures, now.pictures),
        }
    )


def _without_reference(lane: LaneRecord, lost: str) -> LaneRecord:
    failed = lane.failed or f"measured without the reference beside it, which failed: {lost}"
    return LaneRecord(failed=failed, attestation=lane.attestation, load_ms=lane.load_ms)


def _merged_pictures(before: Sequence[Picture], now: Sequence[Picture]) -> list[Picture]:
    """Where fewer lanes disagree, other slices may be worth a look: those of the fuller set stay and gain what fits."""
    fresh = {(picture.prompt, picture.slice): picture for picture in now}
    kept = []
    for picture in before:
        other = fresh.get((picture.prompt, picture.slice))
        more = (
            {"predictions": picture.predictions | other.predictions, "dice": picture.dice | other.dice} if other else {}
        )
        kept.append(picture.model_copy(update=more))
    return kept or list(now)


def total(parts: Sequence[Seconds]) -> Seconds:
    """The sum of each."""
    names = Seconds.model_fields
    return Seconds(**{name: sum(getattr(part, name) for part in parts) for name in names})
