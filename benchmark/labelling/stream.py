"""Cases as a stream of prepared slices, one volume in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from benchmark.data.msd import CaseFiles, Task
from benchmark.data.slices import count_labelled, slices
from benchmark.data.volume import Geometry, load_volume
from benchmark.prompts import Prompter
from benchmark.stages.base import Labels
from benchmark.stages.pseudolabel import Prepared, PseudolabelPipeline, units


@dataclass(frozen=True, eq=False)
class CaseStart:
    """A case begins; its prepared slices follow.

    Attributes:
        files: of the source.
        reference: label values [X, Y, Z] in LPS.
        geometry: of the image.
        slices: how many hold a label.
    """

    files: CaseFiles
    reference: Labels
    geometry: Geometry
    slices: int


@dataclass(frozen=True)
class CaseEnd:
    """All slices of the case have come."""


Part = CaseStart | Prepared | CaseEnd


def stream(task: Task, cases: Iterable[CaseFiles], prompter: Prompter, pipeline: PseudolabelPipeline) -> Iterator[Part]:
    """Reads the cases and makes their slices ready for the encoder; meant to run in a thread of its own.

    Raises:
        InputError: a case cannot be read.
    """
    from runners.pytorch import intra_op_threads

    with intra_op_threads(1):
        for files in cases:
            # A generator of its own, so that its volume is gone before the next one is read.
            yield from _case(task, files, prompter, pipeline)


def _case(task: Task, files: CaseFiles, prompter: Prompter, pipeline: PseudolabelPipeline) -> Iterator[Part]:
    volume = load_volume(task, files)
    yield CaseStart(files, volume.label, volume.geometry, count_labelled(volume.label))
    of_case = prompter.case(volume.case, volume.label)
    for unit in units(slices(volume, only_labelled=True), of_case):
        yield pipeline.prepare(unit)
    yield CaseEnd()
