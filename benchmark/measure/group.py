"""A group of cells, case by case: what is recorded already is not measured again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmark.data.msd import CaseFiles
from benchmark.data.slices import Slice
from benchmark.data.volume import Volume, load_volume
from benchmark.lanes import Lane, LaneSettings, Sources, open_lanes
from benchmark.measure.case import Predictions, measure_case
from benchmark.measure.extent import Extent
from benchmark.metrics import Scale
from benchmark.pictures import save_pictures
from benchmark.plan import Group, chosen_slices, threads_of
from benchmark.records import CaseRecord, RecordStore
from benchmark.spec import Spec
from benchmark.stages.base import Pipeline, Unit
from runners.base import Runner

RECORDS = "records"
PICTURES_PER_CASE = 2
CASES_WITH_PICTURES = 2

OnCase = Callable[[Volume, Sequence[Slice], Predictions], None]


@dataclass(frozen=True)
class Work:
    """What a group runs.

    Attributes:
        sources: precision → the modules.
        pipeline: makes the stage's pipeline of their runners.
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


def measure_group(
    run_dir: Path, group: Group, work: Work, spec: Spec, on_progress: Callable[[float], None]
) -> list[CaseRecord]:
    """The group's records, one a case, measuring the cases that have none.

    Args:
        run_dir: the run's folder.
        group: what to measure.
        work: how.
        spec: the run's specification.
        on_progress: told how many cases (and parts of one) are done since the last call.

    Raises:
        InputError: a case cannot be read.
        RunnerError: a backend cannot be had.
    """
    store = RecordStore(run_dir / RECORDS / group.folder)
    records = {files.case: _recorded(run_dir, store, work, files.case) for files in group.cases}
    missing = [files for files in group.cases if records[files.case] is None]
    on_progress(len(group.cases) - len(missing))
    if missing:
        settings = LaneSettings(group.lanes, group.device, threads_of(spec))
        with open_lanes(settings, work.sources, work.pipeline) as lanes:
            for files in missing:
                with_pictures = group.cases.index(files) < CASES_WITH_PICTURES
                record = _measure(run_dir, group, work, spec, lanes, files, with_pictures, on_progress)
                store.save(record)
                records[files.case] = record
    return [record for record in records.values() if record is not None]


def _recorded(run_dir: Path, store: RecordStore, work: Work, case: str) -> CaseRecord | None:
    """The case's record, if the files that it implies are still there."""
    record = store.load(case)
    if record is None or not work.holds(case):
        return None
    pictures = [name for p in record.pictures for name in (p.image, p.reference, *p.predictions.values())]
    return record if all((run_dir / name).is_file() for name in pictures) else None


def _measure(
    run_dir: Path, group: Group, work: Work, spec: Spec, lanes: Mapping[str, Lane], files: CaseFiles,
    with_pictures: bool, on_progress: Callable[[float], None],
) -> CaseRecord:  # fmt: skip
    volume = load_volume(group.planned.task, files)
    chosen = chosen_slices(volume, spec)
    done = 0.0

    def advance(share: float) -> None:
        nonlocal done
        done += share
        on_progress(share)

    extent = Extent.of_case(spec.measure, len(group.cases))
    x, y, z = volume.spacing
    scale = None if group.no_surfaces(spec) else Scale((z, y, x), group.planned.task.nsd_tolerance_mm)
    units = partial(work.units, volume, chosen)
    record, predictions = measure_case(
        files.case, lanes, chosen, units, group.variants, work.labels, extent, advance, scale
    )
    # Slices without a prompt took no turn.
    on_progress(1.0 - done)
    if work.on_case is not None:
        work.on_case(volume, chosen, predictions)
    if with_pictures:
        pictures = save_pictures(run_dir, group, chosen, predictions, PICTURES_PER_CASE)
        record = record.model_copy(update={"pictures": pictures})
    return record
