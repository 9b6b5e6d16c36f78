"""A task as a run used it, in the words of results.json."""

from __future__ import annotations

from collections.abc import Iterable

from benchmark.data.digests import content_digests
from benchmark.data.intensity import describe
from benchmark.data.msd import CaseFiles
from benchmark.files import sha256_text
from benchmark.plan import PlannedTask
from benchmark.results import TaskInfo
from benchmark.spec import Spec


def task_info(planned: PlannedTask, spec: Spec) -> TaskInfo:
    """The task, its cases and their split; how many slices were used is not known yet."""
    notes = []
    if planned.task.phantom:
        notes.append("a phantom under an official name: drawn, no patient's data; its Dice says nothing about patients")
    if planned.same_case:
        notes.append("one case, trained, validated and tested on: speed and parity are measured, accuracy is not")
    if spec.unet is not None and spec.unet.checkpoints:
        notes.append("UNet checkpoints are tested on every case used; whether they learned from them is not known here")
    if spec.data.slices is not None:
        notes.append(f"at most {spec.data.slices} labelled slices of each case")
    return TaskInfo(
        name=planned.name,
        modality=planned.task.modality,
        labels=dict(planned.task.labels),
        cases=[files.case for files in planned.cases],
        slices=0,
        train_cases=[files.case for files in planned.train],
        validation_cases=[files.case for files in planned.validation],
        test_cases=[files.case for files in planned.test],
        intensity=describe(planned.task.intensity),
        data_sha256=data_digest(planned.cases),
        notes=notes,
    )


def data_digest(cases: Iterable[CaseFiles]) -> str:
    """One hash over what the files of all cases hold, whatever the folder is called that they lie in."""
    cases = list(cases)
    paths = [path for files in cases for path in (files.image, files.label)]
    return sha256_text(*(files.case for files in cases), *content_digests(paths))
