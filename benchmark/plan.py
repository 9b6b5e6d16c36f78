"""Spec → plan: the tasks with their split, and the groups of cells that are measured together."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmark import __version__
from benchmark.data.digests import content_digests
from benchmark.data.msd import CaseFiles, Task, TaskOverride, open_task
from benchmark.data.slices import Slice, slices
from benchmark.data.tasks import OFFICIAL_TASKS
from benchmark.data.volume import Volume
from benchmark.errors import InputError
from benchmark.files import sha256_text
from benchmark.measure.environment import available_cores
from benchmark.results import LaneKey, Stage
from benchmark.sections import TaskSettings
from benchmark.spec import REFERENCE_BACKEND, Spec
from benchmark.training.split import draw_cases, split_cases
from runners.device import Device
from runners.registry import FILE_PRECISION, PRECISIONS, precisions_on

REFERENCE_LANE = LaneKey(REFERENCE_BACKEND)
"""What every other lane is held against: PyTorch in fp32."""


@dataclass(frozen=True)
class PlannedTask:
    """A task with the cases that this run uses, split once.

    Attributes:
        train: cases a UNet learns from.
        validation: cases whose Dice chooses the best epoch.
        test: cases a UNet is measured on. No case is in two of the three, but for `same_case`.
        same_case: the task has one case, and the spec lets it serve for all three.
    """

    task: Task
    cases: tuple[CaseFiles, ...]
    train: tuple[CaseFiles, ...] = ()
    validation: tuple[CaseFiles, ...] = ()
    test: tuple[CaseFiles, ...] = ()
    same_case: bool = False

    @property
    def name(self) -> str:
        """The task's folder name."""
        return self.task.name


@dataclass(frozen=True)
class Group:
    """Cells that are measured together: all lanes take turns, and one embedding serves all variants.

    Attributes:
        variants: prompt strategies; in `segment` the one kind of label the UNet learned from.
        lanes: who takes turns.
        cases: what is measured.
        key: changes with anything that could change a number in its records.
        no_dice: why Dice against the labels means nothing here, as with random weights; None where it does.
        sliding_window: how the network covers an image; None outside `segment`.
        preprocessing: what it is shown, in words; None outside `segment`.
        whole_volumes: whether a unit is a whole volume.
        skipped: lanes that were asked for and cannot run here, with the reason.
    """

    stage: Stage
    planned: PlannedTask
    model: str
    variants: tuple[str, ...]
    device: str
    lanes: tuple[LaneKey, ...]
    cases: tuple[CaseFiles, ...]
    key: str
    no_dice: str | None = None
    sliding_window: dict[str, object] | None = None
    preprocessing: str | None = None
    whole_volumes: bool = False
    skipped: Mapping[LaneKey, str] = field(default_factory=dict)

    def no_surfaces(self, spec: Spec) -> str | None:
        """Why NSD and HD95 would mean nothing here; None where they do."""
        if spec.data.slices is not None:
            return f"surfaces need whole volumes, and data.slices is {spec.data.slices}"
        return self.no_dice

    def windows_of(self, lane: LaneKey, spec: Spec) -> dict[str, object] | None:
        """How the network covers an image in a lane, which may have a batch of its own."""
        own = spec.lanes.get(str(lane))
        if self.sliding_window is None or own is None or own.windows_per_batch is None:
            return self.sliding_window
        return {**self.sliding_window, "windows_per_batch": own.windows_per_batch}

    @property
    def folder(self) -> str:
        """A name for its files, unique within a run folder and readable."""
        parts = (self.stage, self.planned.name, self.model, self.device.replace(":", ""), self.key[:10])
        return "-".join(parts)

    @property
    def title(self) -> str:
        """For progress bars."""
        return f"{self.stage} {self.planned.name} {self.model} ({', '.join(self.variants)}) on {self.device}"


def plan_tasks(spec: Spec) -> list[PlannedTask]:
    """Opens every task and splits its cases by seed.

    Raises:
        InputError: a task is missing or damaged, or has too few cases to train and test a UNet.
    """
    if not spec.data.root.is_dir():
        raise InputError(f"data.root: {spec.data.root} is no folder; name the folder that holds the MSD task folders")
    _require_tasks(spec)
    planned = []
    for name in spec.data.tasks:
        settings = spec.data.settings.get(name, TaskSettings())
        task = open_task(
            spec.data.root / name,
            TaskOverride(
                channel=settings.channel,
                window=settings.window,
                labels=settings.labels,
                nsd_tolerance_mm=settings.nsd_tolerance_mm,
            ),
        )
        planned.append(_split(task, spec))
    return planned


def _require_tasks(spec: Spec) -> None:
    """Names every official task that is not there and what fetches it: a run over six is refused for all at once."""
    root = spec.data.root
    missing = [name for name in spec.data.tasks if name in OFFICIAL_TASKS and not (root / name).is_dir()]
    if missing:
        commands = " && ".join(f"sambench fetch msd {name} --out {shlex.quote(str(root))}" for name in missing)
        here = ", ".join(name for name in spec.data.tasks if name not in missing)
        otherwise = f"or --set 'data.tasks=[{here}]'" if here else "or name another data.root"
        raise InputError(f"data.tasks: {root} has no {', '.join(missing)}; run `{commands}`, {otherwise}")


def _split(task: Task, spec: Spec) -> PlannedTask:
    drawn = draw_cases(task.cases, spec.data.seed, spec.data.cases)
    cases = tuple(sorted(drawn, key=lambda files: files.case))
    unet = spec.unet
    if unet is None:
        return PlannedTask(task, cases)
    if unet.checkpoints:
        return PlannedTask(task, cases, test=cases)
    split = split_cases(drawn, unet.test_share, unet.validation_share, unet.same_case, str(task.folder))
    return PlannedTask(task, cases, split.train, split.validation, split.test, split.same_case)


def threads_of(spec: Spec) -> int:
    """CPU threads inside an operator, the same for every backend."""
    return spec.measure.threads or available_cores()


def plan_lanes(spec: Spec) -> tuple[LaneKey, ...]:
    """Every backend in every precision it runs; the reference lane is there whenever its backend is."""
    kinds = {Device.parse(name).kind for name in spec.devices}
    able = {backend: {p for kind in kinds for p in precisions_on(backend, kind)} for backend in spec.backends}
    # A backend that runs on none of the devices keeps its lanes, so that somebody says why they are missing.
    able = {backend: found or set(PRECISIONS[backend]) for backend, found in able.items()}
    lanes = [LaneKey(backend, p) for backend in spec.backends for p in spec.precisions if p in able[backend]]
    if REFERENCE_BACKEND in spec.backends and REFERENCE_LANE not in lanes:
        lanes.insert(0, REFERENCE_LANE)
    return tuple(lanes)


def make_group(
    spec: Spec, stage: Stage, planned: PlannedTask, model: str, variants: tuple[str, ...], device: str,
    lanes: tuple[LaneKey, ...], cases: tuple[CaseFiles, ...], content: dict[str, Any], no_dice: str | None = None,
) -> Group:  # fmt: skip
    """A group with its key; `content` is what else decides its numbers: weights, windows, libraries, machine."""
    key = sha256_text(
        json.dumps(
            {
                "version": __version__,
                "stage": stage,
                "task": fingerprint(planned.task, cases),
                "slices": spec.data.slices,
                "model": model,
                "variants": variants,
                "nsd_tolerance_mm": planned.task.nsd_tolerance_mm,
                "lanes": [str(lane) for lane in lanes],
                "device": device,
                "measure": spec.measure.model_dump(mode="json"),
                "options": {backend: spec.options.get(backend, {}) for backend in spec.backends},
                "threads": threads_of(spec),
                # Where none has settings of its own, the key is what it was before lanes could have any.
                **({"own": {lane: own.model_dump() for lane, own in spec.lanes.items()}} if spec.lanes else {}),
                **content,
            },
            sort_keys=True,
            default=str,
        )
    )
    return Group(stage, planned, model, variants, device, lanes, cases, key, no_dice)


def fingerprint(task: Task, cases: tuple[CaseFiles, ...]) -> dict[str, Any]:
    """What tells a changed task from the one that was measured: its settings, and what its files hold."""
    files = [path for case in cases for path in (case.image, case.label)]
    return {
        "labels": task.labels,
        "channel": task.channel,
        "intensity": str(task.intensity),
        "files": list(zip((path.name for path in files), content_digests(files), strict=True)),
    }


def weights_key(weights: str, data: Sequence[tuple[Task, Sequence[CaseFiles]]], lanes: Sequence[LaneKey]) -> str:
    """Changes with a model's weights, and with the data where a precision is calibrated on them."""
    if all(lane.precision != "int8-static" for lane in lanes):
        return weights
    return sha256_text(weights, _told([fingerprint(task, tuple(cases)) for task, cases in data]))


def kept_export_key(weights: str, tasks: Sequence[Task], precision: str) -> str:
    """The key of an export that is kept for all runs: a file of a reduced precision is held against PyTorch on tasks.

    Args:
        weights: changes with the weights, and with what else the graph depends on.
        tasks: whose slices its parity ladder and its calibration take.
        precision: to run in.
    """
    if FILE_PRECISION.get(precision, precision) == "fp32":
        return weights
    return sha256_text(weights, _told([fingerprint(task, task.cases) for task in tasks]))


def _told(content: object) -> str:
    return json.dumps(content, default=str, sort_keys=True)


def chosen_slices(volume: Volume, spec: Spec) -> list[Slice]:
    """The slices of a case that the run uses: all, or with `data.slices` that many labelled ones, evenly spread."""
    return list(slices(volume, only_labelled=spec.data.slices is not None, limit=spec.data.slices))
