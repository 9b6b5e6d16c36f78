"""What is tuned on: units of work of one task and model, and the modules in whatever precision a candidate wants."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

from benchmark.artifacts import ensure_artifact
from benchmark.data.msd import CaseFiles
from benchmark.data.slices import Slice
from benchmark.data.volume import load_volume
from benchmark.errors import InputError
from benchmark.files import sha256_text
from benchmark.lanes import module_source
from benchmark.measure.workers import WorkerError
from benchmark.metrics import Labels
from benchmark.plan import PlannedTask, chosen_slices, fingerprint, kept_export_key
from benchmark.prompts import Prompter
from benchmark.results import LaneKey
from benchmark.run import Progress
from benchmark.segmentation import Segmentation
from benchmark.spec import Spec
from benchmark.stages import pseudolabel
from benchmark.stages.base import Pipeline, Unit
from benchmark.stages.batches import batches, fastest
from benchmark.stages.sam_input import SamInput
from benchmark.tuning.candidates import BATCHES, BatchKind
from benchmark.tuning.exports import export_apart
from benchmark.tuning.gate import stacked
from benchmark.tuning.settings import TuneSettings
from benchmark.tuning.words import counted
from exporters.exportable import Exportable
from exporters.fetch import cache_dir
from exporters.manifest import RANDOM_WEIGHTS, ExportError, Manifest
from exporters.recipe import exporter_digest
from exporters.sam import LoadedSam, load_sam
from exporters.unet import LoadedUNet, load_unet
from runners.base import ModuleSource, Runner
from runners.registry import WANTS_MODULE


@dataclass(frozen=True)
class WorkUnit:
    """One unit of work: its case, its number in the case, and the unit."""

    case: str
    number: int
    unit: Unit


@dataclass
class Workload:
    """What every candidate runs.

    Attributes:
        planned: the task and its cases.
        model: its name.
        units: at least one.
        variants: prompt strategies, or the UNet's name.
        labels: value → name of those that count.
        no_dice: why Dice against the labels means nothing; None where it does.
        pipeline: makes the stage's pipeline of loaded runners; can be sent to a worker.
        batch_kind: what a batch is of.
        default_batch: by backend.
        most: the largest batch that there is work for.
        parts: the modules.
        export: writes an artifact of a precision, within so many seconds.
        name: of the artifacts.
        key: of the weights, by precision.
        libraries: versions; another exporter may write another graph.
        reduced_export_s: an export of a reduced precision may take so long.
    """

    planned: PlannedTask
    model: str
    units: tuple[WorkUnit, ...]
    variants: tuple[str, ...]
    labels: Mapping[int, str]
    no_dice: str | None
    pipeline: Callable[[Sequence[Runner]], Pipeline]
    batch_kind: BatchKind
    default_batch: Callable[[str], int]
    most: int
    parts: tuple[Exportable, ...]
    export: Callable[[Path, str, float], Manifest]
    name: str
    key: Callable[[str], str]
    libraries: Mapping[str, str] = field(default_factory=dict)
    reduced_export_s: float = float("inf")
    _refused: dict[str, str] = field(default_factory=dict)

    @property
    def truth(self) -> dict[str, Labels]:
        """Case → reference labels of the slices that count."""
        return {case: stacked([piece.label for piece in pieces]) for case, pieces in self._slices().items()}

    def _slices(self) -> dict[str, list[Slice]]:
        found: dict[str, list[Slice]] = {}
        for one in self.units:
            found.setdefault(one.case, []).extend(one.unit.slices)
        return found

    def sources(self, lane: LaneKey, progress: Progress, limit_s: float) -> list[ModuleSource]:
        """The modules for a lane, exported where its backend wants a file and the cache has none.

        Args:
            lane: a backend in a precision.
            progress: told of an export.
            limit_s: an export that takes longer is ended.

        Raises:
            ExportError: the export fails or takes too long; it is not tried again for the next candidate.
        """
        if lane.backend in WANTS_MODULE:
            return [module_source(part, Path(), lane.precision) for part in self.parts]
        if lane.precision in self._refused:
            raise ExportError(self._refused[lane.precision])

        def export(folder: Path, precision: str) -> Manifest:
            advance = progress.start(f"export {self.name} to ONNX in {precision} and verify it; kept", 1)
            most_s = limit_s if precision == "fp32" else min(limit_s, self.reduced_export_s)
            manifest = self.export(folder, precision, most_s)
            advance(1, "")
            return manifest

        key = self.key(lane.precision)
        try:
            made = ensure_artifact(cache_dir(), self.name, key, self.parts, lane.precision, export, self.libraries)
        except (ExportError, InputError, WorkerError) as error:
            self._refused[lane.precision] = str(error)
            raise ExportError(str(error)) from None
        return [replace(source, torch_module=None) for source in made]


def make_workload(settings: TuneSettings, libraries: Mapping[str, str], logs: Path) -> Workload:
    """Loads the model and cuts the units.

    Args:
        settings: checked.
        libraries: versions.
        logs: the folder of what exports print.

    Raises:
        InputError: a case cannot be read, or has nothing to work on.
        ExportError: the model cannot be loaded.
    """
    planned, cases = settings.plan()
    spec = settings.spec()
    export = partial(export_apart, settings, logs)
    if settings.unet is not None:
        made = _unet(load_unet(settings.unet), settings.unet.resolve().stem, planned, cases, spec, export)
    else:
        sam = load_sam(str(settings.model), settings.checkpoint, settings.random_seed)
        made = _sam(sam, planned, cases, spec, export)
    if not made.units:
        raise InputError(
            f"--data {settings.data}: no slice of {counted(len(cases), 'case')} holds a label; give more --cases"
        )
    made.libraries = dict(libraries)
    return made


def _sam(
    sam: LoadedSam, planned: PlannedTask, cases: Sequence[CaseFiles], spec: Spec,
    export: Callable[[Path, str, float], Manifest],
) -> Workload:  # fmt: skip
    assert spec.sam is not None  # noqa: S101 - settings without a UNet have a SAM
    task, given = planned.task, spec.sam
    prompter = Prompter.of(given.prompts, task.labels, given.per, given.min_pixels, spec.data.seed)
    units: list[WorkUnit] = []
    for files in cases:
        volume = load_volume(task, files)
        made = pseudolabel.units(chosen_slices(volume, spec), prompter.case(volume.case, volume.label))
        units += [WorkUnit(files.case, number, unit) for number, unit in enumerate(made)]
    most = max((_most_alike(one.unit) for one in units), default=1)
    kind = spec.devices[0].partition(":")[0]
    return Workload(
        planned=planned,
        model=sam.model.name,
        units=tuple(units),
        variants=given.prompts,
        labels=task.labels,
        no_dice=RANDOM_WEIGHTS if sam.weights.random else None,
        pipeline=pseudolabel.Pseudolabelling(SamInput.of(sam.model)),
        batch_kind="prompts_per_call",
        default_batch=lambda backend: fastest(backend, kind),
        most=most,
        parts=(sam.encoder, sam.decoder),
        export=export,
        name=sam.model.name,
        # As `sambench label` keeps its exports, so that neither makes the other's again.
        key=lambda precision: kept_export_key(sha256_text(sam.weights.key, given.masks), [task], precision),
    )


def _most_alike(unit: Unit) -> int:
    return max((len(some) for asked in unit.prompts.values() for some in batches(asked, len(asked) or 1)), default=1)


def _unet(
    unet: LoadedUNet, variant: str, planned: PlannedTask, cases: Sequence[CaseFiles], spec: Spec,
    export: Callable[[Path, str, float], Manifest],
) -> Workload:  # fmt: skip
    assert spec.unet is not None  # noqa: S101 - settings with a UNet say which
    task, given = planned.task, spec.unet
    used = Segmentation.of(unet, variant, given, planned)
    work = used.work({})
    units: list[WorkUnit] = []
    for files in cases:
        volume = load_volume(task, files)
        some = work.units(volume, chosen_slices(volume, spec))
        units += [WorkUnit(files.case, number, unit) for number, unit in enumerate(some)]
    return Workload(
        planned=planned,
        model=unet.config.name,
        units=tuple(units),
        variants=(variant,),
        labels=used.labels,
        no_dice=None,
        pipeline=work.pipeline,
        batch_kind="windows_per_batch",
        default_batch=lambda backend: used.batch,
        most=_most_windows(used, units),
        parts=(unet.unet,),
        export=export,
        name=f"{unet.config.name}-{task.name}-{variant}",
        key=lambda precision: kept_export_key(unet.weights.key, [task], precision),
    )


def _most_windows(used: Segmentation, units: Sequence[WorkUnit]) -> int:
    """Windows of the largest unit, where its images are shown as they are; else no limit is known."""
    if used.whole_volumes or not units:
        return max(BATCHES)
    counts = []
    for one in units:
        count, *sizes = one.unit.shape
        for size, patch in zip(sizes, used.windows.patch, strict=True):
            count *= ceil(max(size - patch, 0) / max(1, int(patch * (1 - used.windows.overlap)))) + 1
        counts.append(count)
    return max(counts)


def content_of(settings: TuneSettings, workload: Workload, here: Mapping[str, Any]) -> str:
    """What decides the numbers of a tuning; another one's records say nothing of it.

    Args:
        settings: what was asked for.
        workload: what is measured.
        here: the machine, libraries and threads.
    """
    cases = tuple(files for files in workload.planned.cases if files.case in workload.truth)
    decides = {
        "spec": settings.spec().model_dump(mode="json", exclude={"backends", "precisions"}),
        "task": fingerprint(workload.planned.task, cases),
        "weights": workload.key("fp32"),
        "exporters": exporter_digest(),
        "threads": settings.default_threads,
        **here,
    }
    return json.dumps(decides, sort_keys=True, default=str)
