"""Task → pseudo labels, case by case: what is finished is not done again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import __version__
from benchmark.data.msd import Task, TaskOverride, open_task
from benchmark.errors import InputError
from benchmark.labelling.backend import open_pipeline
from benchmark.labelling.output import Output, require_apart
from benchmark.labelling.records import LabelledCase
from benchmark.labelling.settings import LabelSettings
from benchmark.labelling.stream import CaseEnd, CaseStart, Part, stream
from benchmark.measure.environment import environment
from benchmark.metrics import dice_per_label
from benchmark.preflight import require_device, require_threads, require_weights, sole_user
from benchmark.prompts import Effort, Prompter
from benchmark.results import Effort as EffortRecord
from benchmark.run import Progress
from benchmark.stages.ahead import ahead
from benchmark.stages.base import Labels, NotFiniteError, Outcome
from benchmark.stages.pseudolabel import Prepared, PseudolabelPipeline
from exporters.sam import SAM_MODELS, LoadedSam, load_sam
from runners.base import RunnerError

SLICES_AHEAD = 2
"""Ready slices that may wait. More would only take memory: getting one ready takes a tenth of encoding it."""


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


def label_task(data: Path, settings: LabelSettings, out: Path, progress: Progress) -> LabelReport:
    """Writes the pseudo labels of a task as an MSD task.

    Args:
        data: the source's folder.
        settings: how.
        out: the output folder; an interrupted labelling there goes on.
        progress: told how far it is.

    Raises:
        InputError: task, settings or folder are wrong, or a case cannot be read; finished cases are kept.
        ExportError: the model cannot be loaded or exported.
        RunnerError: the backend or device cannot be had, or answers with NaN.
    """
    require_threads(settings.threads, "--threads")
    require_device(settings.device, "--device")
    task = open_task(data, TaskOverride(settings.channel, settings.window, settings.labels))
    prompter = Prompter.of((settings.prompt,), task.labels, settings.per, settings.min_pixels, settings.seed)
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
            with open_pipeline(task, sam, settings, libraries, progress) as pipeline:
                advance = progress.start(f"label {task.name} ({settings.prompt}, {settings.backend})", len(task.cases))
                advance(len(task.cases) - len(missing), "")
                job = _Job(task, pipeline, output, settings.prompt, advance)
                with closing(ahead(stream(task, missing, prompter, pipeline), SLICES_AHEAD)) as parts, _kept(found):
                    for record in job.label(parts):
                        found[record.case] = record
                rate = job.rate
        records = tuple(record for record in found.values() if record is not None)
        output.finish(records)
    return LabelReport(task, records, len(missing), rate)


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
        **settings.model_dump(mode="json", exclude={"checkpoint"}),
        "weights": sam.weights.model_dump(mode="json", exclude_none=True),
        "libraries": dict(libraries),
    }


@dataclass
class _Job:
    """Runs prepared slices through the pipeline and closes each case.

    Attributes:
        slices: done so far by this call.
    """

    task: Task
    pipeline: PseudolabelPipeline
    output: Output
    strategy: str
    advance: Callable[[float, str], None]
    slices: int = 0
    _started: float | None = field(default=None)

    @property
    def rate(self) -> float | None:
        """Slices a second since the first slice was there, reading and writing included."""
        return None if self._started is None else self.slices / (time.perf_counter() - self._started)

    def label(self, parts: Iterable[Part]) -> Iterator[LabelledCase]:
        """The records of the cases in a stream, each when its case is written."""
        iterator = iter(parts)
        for part in iterator:
            if not isinstance(part, CaseStart):
                raise TypeError(f"a case must begin before {part}")
            record = self._case(part, iterator)
            del part  # or its reference labels would live on while the next case is waited for
            yield record

    def _case(self, case: CaseStart, parts: Iterator[Part]) -> LabelledCase:
        labels: Labels = np.zeros_like(case.reference)
        effort, objects, done = Effort(), 0, 0
        for part in parts:
            if isinstance(part, CaseEnd):
                break
            if not isinstance(part, Prepared):
                raise TypeError(f"a case must end before {part}")
            self._started = self._started or time.perf_counter()
            outcome = self._outcome(part)
            labels[:, :, part.unit.slices[0].index] = outcome.labels[self.strategy][0].T
            effort += outcome.effort[self.strategy]
            objects += len({asked.value for asked in part.unit.prompts[self.strategy]})
            done += 1
            self.slices += 1
            self.advance(1 / case.slices, f"{self.rate or 0.0:.1f} slices/s")
        else:
            raise RuntimeError(f"the stream ended within case {case.files.case}")
        dice = dice_per_label(labels, case.reference, self.task.labels)
        told = EffortRecord(clicks=effort.clicks, boxes=effort.boxes, objects=objects)
        record = self.output.save(case.files, labels, case.geometry, done, told, dice)
        # Slices whose objects were all too small took no turn.
        self.advance(1 - done / case.slices if case.slices else 1, "")
        return record

    def _outcome(self, part: Prepared) -> Outcome:
        try:
            return self.pipeline.finish(part)
        except NotFiniteError as error:
            (piece,) = part.unit.slices
            raise RunnerError(
                f"case {piece.case}, slice {piece.index}: {error}; take --precision fp32 or another --backend"
            ) from None
