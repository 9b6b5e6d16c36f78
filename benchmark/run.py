"""Spec → plan → artifacts → records → results: a run from start to end, resumable at every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Protocol

from benchmark import __version__
from benchmark.artifacts import Export, artifact_facts, ensure_artifact, kept_for_all_runs
from benchmark.availability import Availability, require_lanes
from benchmark.calibration.store import find_calibration, machine_key
from benchmark.collect import allocator_notes, collect_cells
from benchmark.costs import ModuleCosts, flops_of
from benchmark.data.msd import CaseFiles, Task
from benchmark.data.volume import load_volume
from benchmark.early_training import while_training
from benchmark.files import sha256_text
from benchmark.lanes import Sources
from benchmark.measure.environment import business, environment
from benchmark.measure.group import LOGS, Measuring, Work, total
from benchmark.measure.peak import kept_peak
from benchmark.measure.statistics import margin_of
from benchmark.measured import Environment, Seconds
from benchmark.plan import Group, PlannedTask, kept_export_key, make_group, plan_tasks, threads_of, weights_key
from benchmark.preflight import (
    claim_run_dir,
    require_affinity,
    require_models,
    require_options,
    require_threads,
    sole_user,
)
from benchmark.prompts import Prompter
from benchmark.records import CaseRecord, last_measured
from benchmark.results import Results, Stage, save_results
from benchmark.samples import task_samples
from benchmark.segmentation import Segmentation
from benchmark.spec import REFERENCE_LABELS, Spec
from benchmark.stages import pseudolabel
from benchmark.stages.sam_input import SamInput
from benchmark.stopwatch import stopwatch
from benchmark.supervision import LabelStore, Supervision, train_on
from benchmark.task_info import task_info
from benchmark.weak_vs_full import weak_against_full
from benchmark.window_samples import task_windows
from exporters.exportable import Exportable
from exporters.fetch import cache_dir
from exporters.manifest import RANDOM_WEIGHTS, Manifest
from exporters.sam import LoadedSam, load_sam
from exporters.unet import LoadedUNet, load_unet

PEAKS = "peak"

DECIDES = {"per", "masks", "min_pixels", "prompts_per_call"}
"""The fields of `sam` that change a mask or its time, besides the prompts themselves."""


class Progress(Protocol):
    """Where a run tells how far it is."""

    def start(self, title: str, total: float) -> Callable[[float, str], None]:
        """Begins a bar; the function it returns advances it and may change the note beside it."""
        ...

    def say(self, text: str) -> None:
        """Tells what the user should know at once."""
        ...


@dataclass
class Run:
    """One run in its folder.

    Args:
        spec: what to run.
        run_dir: where; what it holds of an earlier, interrupted run of the same content is used.
        progress: told how far the run is.
        command: the command line that repeats it.
        skip_unavailable: lanes that cannot run here become skipped cells; otherwise they are an error.
    """

    spec: Spec
    run_dir: Path
    progress: Progress
    command: str
    skip_unavailable: bool = False
    _available: Availability = field(init=False)
    _environment: Environment = field(init=False)
    _results: Results = field(init=False)
    _margin: float = field(init=False)
    _seconds: list[Seconds] = field(init=False, default_factory=list)

    def execute(self) -> Results:
        """Runs everything that is not recorded yet and writes results.json.

        Raises:
            InputError: the spec, the data or the run folder is wrong.
            ExportError: a model cannot be loaded or exported.
            RunnerError: a backend or device cannot be had.
        """
        self._available = require_lanes(self.spec, self.skip_unavailable)
        require_models(self.spec)
        require_threads(threads_of(self.spec), "measure.threads")
        require_affinity(self.spec)
        require_options(self.spec, self._available.backends)
        planned = plan_tasks(self.spec)
        for task in planned:
            # A damaged or misdescribed task shows in its first case: before a model is loaded or exported.
            load_volume(task.task, task.cases[0])
        claim_run_dir(self.run_dir, self.spec)
        with sole_user(self.run_dir), stopwatch(self.run_dir, self.spec.model_dump_json()) as elapsed:
            self._environment = environment(threads_of(self.spec), business())
            self._results = self._empty_results(planned)
            self._know_the_machine()
            stores = self._pseudolabel_all(planned)
            self._segment_all(planned, stores)
            self._results.supervision = weak_against_full(self._results)
            self._results.measuring = total(self._seconds) if self._seconds else None
            self._results.notes.extend(allocator_notes(self._results.cells))
            measured = last_measured(self.run_dir) or self._results.created
            results = self._results.model_copy(update={"seconds": round(elapsed(), 1), "created": measured})
        save_results(results, self.run_dir)
        return results

    def _know_the_machine(self) -> None:
        """What it can do at most, what it can show, and what else it does."""
        here = self._environment
        key = machine_key(here)
        self._results.peak = {
            device: kept_peak(self.run_dir / PEAKS / f"{key}-{device.replace(':', '')}.json", device, here.threads)
            for device in self.spec.devices
            if self._available.on(device)
        }
        found = find_calibration(cache_dir(), here)
        self._results.calibration = found.words if found else None
        self._margin = margin_of(self.spec.measure.margin, found.noise_floor if found else None)
        if here.busy:
            self._results.notes.append(f"The machine was busy before the run: {here.busy}")
            self.progress.say(f"This machine is busy, and times will suffer: {here.busy}")

    def _pseudolabel_all(self, planned: Sequence[PlannedTask]) -> dict[str, LabelStore]:
        """Task → its pseudo labels of the first model and device; those train the UNets."""
        stores: dict[str, LabelStore] = {}
        settings = self.spec.sam
        if settings is None:
            return stores
        lanes = self._available.anywhere
        for name in settings.models:
            sam = load_sam(name, settings.checkpoints.get(name), settings.seed(name), settings.masks)
            export: Export = partial(self._export_sam, sam, planned)
            export = while_training(export, self._early(planned), self.run_dir / LOGS / "early-training.log")
            data = [(task.task, task.cases) for task in planned]
            key = sha256_text(weights_key(sam.weights.key, data, lanes), settings.masks)
            weights = sha256_text(sam.weights.key, settings.masks)  # as `sambench label` keeps it
            tasks = [task.task for task in planned]
            sources = self._artifacts(name, weights, (sam.encoder, sam.decoder), tasks, kept_for_all_runs(export))
            for task in planned:
                for device in self.spec.devices:
                    store = self._pseudolabel(task, sam, key, sources, device)
                    if self._available.on(device):
                        stores.setdefault(task.name, store)
        return stores

    def _early(self, planned: Sequence[PlannedTask]) -> list[Supervision]:
        """The trainings that need no pseudo labels."""
        if REFERENCE_LABELS not in self.spec.training_labels:
            return []
        return [Supervision(task, REFERENCE_LABELS, None, self.spec, self.run_dir) for task in planned]

    def _export_sam(self, sam: LoadedSam, planned: Sequence[PlannedTask], folder: Path, precision: str) -> Manifest:
        """A reduced precision is calibrated and held against PyTorch on slices of every task of the run.

        For fp32 the tolerance of the export suffices, since the run itself measures parity.
        """
        if precision == "fp32":
            return sam.export(folder)
        samples = [sample for task in planned for sample in task_samples(task.task, sam.model)]
        return sam.export(folder, precision, samples)

    def _pseudolabel(self, planned: PlannedTask, sam: LoadedSam, key: str, sources: Sources, device: str) -> LabelStore:
        settings = self.spec.sam
        if settings is None:
            raise ValueError("the pseudo-label stage needs spec.sam")
        model = sam.model
        prompter = Prompter.of(
            settings.prompts, planned.task.labels, settings.per, settings.min_pixels, self.spec.data.seed
        )
        content = {"weights": key, "seed": self.spec.data.seed, **settings.model_dump(include=DECIDES)}
        no_dice = RANDOM_WEIGHTS if sam.weights.random else None
        group = self._group(
            "pseudolabel", planned, model.name, settings.prompts, device, planned.cases, content, no_dice
        )
        store = LabelStore(self.run_dir, group)
        work = Work(
            sources=sources,
            pipeline=pseudolabel.Pseudolabelling(
                SamInput.of(model), settings.prompts_per_call, self.spec.measure.on_out_of_memory
            ),
            units=lambda volume, chosen: pseudolabel.units(chosen, prompter.case(volume.case, volume.label)),
            labels=planned.task.labels,
            on_case=store.save,
            holds=store.holds,
        )
        self._measure(group, work, (sam.encoder, sam.decoder))
        return store

    def _segment_all(self, planned: Sequence[PlannedTask], stores: dict[str, LabelStore]) -> None:
        if self.spec.unet is None:
            return
        for task in planned:
            for path in self.spec.unet.checkpoints:
                self._segment(task, load_unet(path), path.stem, kept_for_all_runs)
            for labels in self.spec.training_labels:
                source = Supervision(task, labels, stores.get(task.name), self.spec, self.run_dir)
                if source.missing:
                    why = f"because no backend pseudo-labelled {', '.join(source.missing)}"
                    self._results.notes.append(f"{task.name}: no UNet was trained on {labels} labels, {why}")
                    continue
                advance = self.progress.start(f"train {task.name} UNet on {labels} labels", self.spec.unet.epochs)
                checkpoint, training = train_on(source, advance)
                self._results.trainings.append(training)
                self._segment(task, load_unet(checkpoint), labels)

    def _segment(
        self, planned: PlannedTask, unet: LoadedUNet, variant: str, keeping: Callable[[Export], Export] | None = None
    ) -> None:
        """Measures a network; `keeping` keeps its export where the weights outlive the run."""
        settings = self.spec.unet
        if settings is None:
            raise ValueError("the segmentation stage needs spec.unet")
        used = Segmentation.of(unet, variant, settings, planned)
        unknown = [name for value, name in planned.task.labels.items() if value not in used.labels]
        if unknown:
            absent = ", ".join(unknown)
            self._results.notes.append(
                f"{planned.name}: UNet {variant} does not know {absent}; its Dice leaves them out"
            )
        name = f"{unet.config.name}-{planned.name}-{variant}"
        calibration = replace(planned.task, cases=planned.train or planned.cases)
        export: Export = partial(_export_unet, unet, calibration)
        export = keeping(export) if keeping else export
        sources = self._artifacts(name, unet.weights.key, (unet.unet,), [calibration], export)
        for device in self.spec.devices:
            group = replace(
                self._group("segment", planned, unet.config.name, (variant,), device, planned.test, used.content),
                sliding_window=used.sliding_window,
                preprocessing=used.seen_as.describe(),
                whole_volumes=used.whole_volumes,
            )
            self._measure(group, used.work(sources, self.spec.measure.on_out_of_memory), (unet.unet,))

    def _artifacts(
        self, name: str, weights: str, parts: Sequence[Exportable], tasks: Sequence[Task], export: Export
    ) -> Sources:
        """One artifact a precision of the lanes; the tasks are those on which a reduced precision is held up."""
        sources = {}
        for precision in dict.fromkeys(lane.precision for lane in self._available.anywhere):
            what = name if precision == "fp32" else f"{name} in {precision}"
            advance = self.progress.start(f"export {what} to ONNX and verify it", 1)
            libraries = self._environment.libraries
            key = kept_export_key(weights, tasks, precision)
            sources[precision] = ensure_artifact(self.run_dir, name, key, parts, precision, export, libraries)
            artifact = artifact_facts(self.run_dir, sources[precision][0])
            if artifact and artifact not in self._results.artifacts:
                self._results.artifacts.append(artifact)
            advance(1, "")
        return sources

    def _group(
        self, stage: Stage, planned: PlannedTask, model: str, variants: tuple[str, ...], device: str,
        cases: tuple[CaseFiles, ...], content: Mapping[str, object], no_dice: str | None = None,
    ) -> Group:  # fmt: skip
        content = {**content, "margin": self._margin}
        decides = {**content, **self._environment.model_dump(include={"cpu", "gpu", "libraries", "variables"})}
        lanes = self._available.on(device)
        group = make_group(self.spec, stage, planned, model, variants, device, lanes, cases, decides, no_dice)
        return replace(group, skipped=self._available.skipped(device))

    def _records(self, group: Group, work: Work) -> Sequence[CaseRecord]:
        advance = self.progress.start(group.title, len(group.cases))
        on_progress: Callable[[float], None] = lambda cases: advance(cases, "")  # noqa: E731
        return Measuring(self.run_dir, group, work, self.spec, self._margin, on_progress).records()

    def _measure(self, group: Group, work: Work, parts: Sequence[Exportable]) -> None:
        records = self._records(group, work) if group.lanes else []
        costs = ModuleCosts({part.name: flops_of(part) for part in parts}, self._results.peak.get(group.device))
        cells, comparisons = collect_cells(group, records, self.spec, self._margin, costs)
        self._results.cells.extend(cells)
        self._results.comparisons.extend(comparisons)
        self._results.pictures.extend(picture for record in records for picture in record.pictures)
        self._seconds += [record.seconds for record in records]
        if group.stage == "pseudolabel" and records:
            info = next(task for task in self._results.tasks if task.name == group.planned.name)
            info.slices = sum(record.slices for record in records)

    def _empty_results(self, planned: Sequence[PlannedTask]) -> Results:
        return Results(
            sambench_version=__version__,
            name=self.spec.name,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            seconds=0.0,
            command=self.command,
            environment=self._environment,
            spec=self.spec.model_dump(mode="json"),
            tasks=[task_info(task, self.spec) for task in planned],
            cells=[],
            comparisons=[],
        )


def _export_unet(unet: LoadedUNet, calibration: Task, folder: Path, precision: str) -> Manifest:
    """A reduced precision is calibrated and held against PyTorch on windows of the cases that taught the network.

    For fp32 the tolerance of the export suffices, since the run itself measures parity.
    """
    if precision == "fp32":
        return unet.export(folder)
    return unet.export(folder, precision, task_windows(calibration, unet.config))
