"""Task → pseudo labels, case by case: what is finished is not done again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark import __version__
from benchmark.availability import require_lane
from benchmark.data.msd import CaseFiles, Task, TaskOverride, open_task
from benchmark.devices import require_device
from benchmark.errors import InputError
from benchmark.labelling.backend import labelling_sources, opened_pipeline
from benchmark.labelling.cases import CaseLabeller, prompter_of
from benchmark.labelling.output import Output, require_apart
from benchmark.labelling.records import LabelledCase
from benchmark.labelling.settings import ALL_GPUS, LabelSettings
from benchmark.labelling.shard import Recipe
from benchmark.labelling.shards import Shards
from benchmark.measure.environment import environment
from benchmark.preflight import require_threads, require_weights, sole_user
from benchmark.results import LaneKey
from benchmark.run import Progress
from benchmark.stages.sam_input import SamInput
from exporters.sam import SAM_MODELS, LoadedSam, load_sam
from runners.base import ModuleSource
from runners.device import Device, visible_devices
from runners.registry import WANTS_MODULE

LOGS = "logs"
"""Within the work folder: what the processes of several devices print."""


@dataclass(frozen=True)
class LabelReport:
    """What a labelling gave.

    Attributes:
        task: the source.
        records: one a case.
        labelled: how many cases this call did; the others were finished before.
        slices_per_second: of this call, from the first slice on; None if nothing was left to do.
    """

    task: Task
    records: tuple[LabelledCase, ...]
    labelled: int
    slices_per_second: float | None


def label_task(
    data: Path, settings: LabelSettings, out: Path, progress: Progress, devices: Sequence[str] | None = None
) -> LabelReport:
    """Writes the pseudo labels of a task as an MSD task.

    Args:
        data: the source's folder.
        settings: how.
        out: the output folder; an interrupted labelling there goes on.
        progress: told how far it is.
        devices: that share the cases, a process each if there are several; None for those of the settings.

    Raises:
        InputError: task, settings or folder are wrong, or a case cannot be read; finished cases are kept.
        ExportError: the model cannot be loaded or exported.
        RunnerError: the backend or device cannot be had, or answers with NaN.
    """
    require_threads(settings.threads, "--threads")
    devices = settings_devices(settings) if devices is None else devices
    require_lane(LaneKey(settings.backend, settings.precision), devices[0], "--backend")
    task = open_task(data, TaskOverride(settings.channel, settings.window, settings.labels))
    prompter_of(task, settings)  # refuses what cannot be prompted for, before a model is loaded
    require_apart(out, task)
    if settings.checkpoint is None:
        require_weights(SAM_MODELS[settings.model], "--model", "or name a file of them with --checkpoint")
    sam = load_sam(settings.model, settings.checkpoint, masks=settings.masks)
    libraries = environment(settings.threads).libraries
    output = Output(out, task, _provenance(task, settings, sam, libraries))
    output.claim()
    with sole_user(out, output.work):
        output.begin()
        found = {files.case: output.finished(files) for files in task.cases}
        missing = [files for files in task.cases if found[files.case] is None]
        rate = None
        if missing:
            sources = labelling_sources(task, sam, settings, libraries, progress)
            recipe = Recipe(task, settings, _needed(sources, settings), SamInput.of(sam.model), output)
            on = "" if len(devices) == 1 else f" on {len(devices)} devices"
            advance = progress.start(f"label {task.name} ({settings.prompt}, {settings.backend}){on}", len(task.cases))
            advance(len(task.cases) - len(missing), "")
            with _kept(found):
                if len(devices) == 1:
                    rate = _alone(recipe.on(devices[0]), missing, advance, found)
                else:
                    shards = Shards(recipe, devices, missing, advance, output.work / LOGS)
                    for record in shards.label():
                        found[record.case] = record
                    rate = shards.rate
        records = tuple(record for record in found.values() if record is not None)
        output.finish(records)
    return LabelReport(task, records, len(missing), rate)


def settings_devices(settings: LabelSettings) -> tuple[str, ...]:
    """The devices that the settings name.

    Raises:
        InputError: one is not there.
    """
    if settings.device != ALL_GPUS:
        require_device(settings.device, "--device")
        return (settings.device,)
    require_device("cuda", "--device")
    return tuple(str(Device("cuda", index)) for index in range(visible_devices()))


def _needed(sources: Sequence[ModuleSource], settings: LabelSettings) -> list[ModuleSource]:
    """The modules as the backend loads them: PyTorch's is sent to another process only where it runs."""
    if settings.backend in WANTS_MODULE:
        return list(sources)
    return [replace(source, torch_module=None) for source in sources]


def _alone(
    recipe: Recipe, missing: Sequence[CaseFiles], advance: Callable[[float, str], None],
    found: dict[str, LabelledCase | None],
) -> float | None:  # fmt: skip
    """Labels in this process.

    Returns:
        Slices a second.
    """
    task, settings = recipe.task, recipe.settings
    with opened_pipeline(recipe.sources, recipe.sam, settings) as pipeline:
        labeller = CaseLabeller(task, pipeline, recipe.output, settings.prompt, advance)
        with closing(labeller.label(missing, prompter_of(task, settings))) as records:
            for record in records:
                found[record.case] = record
        return labeller.rate


@contextmanager
def _kept(found: Mapping[str, LabelledCase | None]) -> Iterator[None]:
    """Adds to what is wrong with a case how much of the task is done."""
    try:
        yield
    except InputError as error:
        done = sum(record is not None for record in found.values())
        raise InputError(
            f"{error} {done} of {len(found)} cases are labelled and kept; mend that and run the same command again."
        ) from None


def _provenance(task: Task, settings: LabelSettings, sam: LoadedSam, libraries: Mapping[str, str]) -> dict[str, Any]:
    """Where the labels come from; the same settings and libraries give the same, so that it tells whether to go on."""
    return {
        "made_by": f"sambench {__version__}",
        "source": task.name,
        **settings.decides,
        "weights": sam.weights.model_dump(mode="json", exclude_none=True),
        "libraries": dict(libraries),
    }
