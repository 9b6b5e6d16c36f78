"""Prepared slices → label maps → written cases, with one pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from benchmark.data.msd import CaseFiles, Task
from benchmark.labelling.output import Output
from benchmark.labelling.records import LabelledCase
from benchmark.labelling.settings import LabelSettings
from benchmark.labelling.stream import CaseEnd, CaseStart, Part, stream
from benchmark.metrics import dice_per_label
from benchmark.prompts import Effort, Prompter
from benchmark.results import Effort as EffortRecord
from benchmark.stages.ahead import ahead
from benchmark.stages.base import Labels, NotFiniteError, Outcome
from benchmark.stages.pseudolabel import Prepared, PseudolabelPipeline
from runners.base import OutOfDeviceMemoryError, RunnerError

SLICES_AHEAD = 2
"""Ready slices that may wait. More would only take memory: getting one ready takes a tenth of encoding it."""


def prompter_of(task: Task, settings: LabelSettings) -> Prompter:
    """What prompts for the objects of a task."""
    return Prompter.of((settings.prompt,), task.labels, settings.per, settings.min_pixels, settings.seed)


@dataclass
class CaseLabeller:
    """Runs prepared slices through the pipeline and closes each case.

    Attributes:
        strategy: the prompts'.
        advance: told the share of a case that is done, and how fast it goes.
        slices: done so far.
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

    def label(self, cases: Iterable[CaseFiles], prompter: Prompter) -> Generator[LabelledCase]:
        """The records of the cases, each when its case is written.

        Args:
            cases: asked for one by one, each when the one before is nearly done.
            prompter: of the task.

        Raises:
            InputError: a case cannot be read, or the folder cannot be written any more.
            RunnerError: the backend answers with NaN, or the device's memory ran out.
        """
        with closing(ahead(stream(self.task, cases, prompter, self.pipeline), SLICES_AHEAD)) as parts:
            yield from self.records(parts)

    def records(self, parts: Iterable[Part]) -> Iterator[LabelledCase]:
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
        record = self.output.save(case.files, labels, case.geometry, done, told, dice, self.pipeline.notes)
        # Slices whose objects were all too small took no turn.
        self.advance(1 - done / case.slices if case.slices else 1, "")
        return record

    def _outcome(self, part: Prepared) -> Outcome:
        (piece,) = part.unit.slices
        try:
            return self.pipeline.finish(part)
        except NotFiniteError as error:
            raise RunnerError(
                f"case {piece.case}, slice {piece.index}: {error}; take --precision fp32 or another --backend"
            ) from None
        except OutOfDeviceMemoryError as error:
            raise OutOfDeviceMemoryError(f"case {piece.case}, slice {piece.index}: {error}") from None
