"""`sambench train`: a task → a UNet, its record and its scores on the test cases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmark import __version__
from benchmark.data.intensity import describe
from benchmark.data.msd import NO_OVERRIDE, Task, TaskOverride, open_task
from benchmark.data.volume import load_volume
from benchmark.devices import require_device
from benchmark.files import sha256_text, write_text_atomically
from benchmark.plan import fingerprint
from benchmark.preflight import sole_user
from benchmark.results import Training
from benchmark.run import Progress
from benchmark.sections import AUTO_DEVICE, TrainSpec
from benchmark.spec import REFERENCE_LABELS
from benchmark.training.device import training_device
from benchmark.training.evaluate import CaseScore, evaluate
from benchmark.training.job import TrainingJob, finished_training
from benchmark.training.labels import LabelSource, label_folder
from benchmark.training.output import TrainingFolder
from benchmark.training.split import draw_cases, split_cases
from exporters.unet import load_unet

NO_EVIDENCE = "trained, validated and tested on one case: its Dice is no evidence of accuracy"


@dataclass(frozen=True)
class TrainReport:
    """What a training gave.

    Attributes:
        task: what it was trained for.
        training: the record.
        scores: one a test case and label, against the reference labels.
        notes: what a reader of the scores must know.
    """

    task: Task
    training: Training
    scores: tuple[CaseScore, ...]
    notes: tuple[str, ...]


def train_task(
    data: Path, spec: TrainSpec, seed: int, out: Path, progress: Progress, labels: Path | None = None,
    override: TaskOverride = NO_OVERRIDE,
) -> TrainReport:  # fmt: skip
    """Trains a UNet on a task and tests it.

    Args:
        data: the task's folder.
        spec: the network and how it learns.
        seed: of the split, the weights and the windows.
        out: the output folder; an interrupted training there goes on.
        progress: told how far it is.
        labels: a folder of pseudo labels to train and validate on; the reference labels by default.
        override: of the task's labels, channel or window.

    Raises:
        InputError: task, labels, settings or folder are wrong, or the loss is no number any more.
    """
    if spec.device != AUTO_DEVICE:
        require_device(spec.device, "--device")
    task = open_task(data, override)
    drawn = draw_cases(task.cases, seed)
    split = split_cases(drawn, spec.test_share, spec.validation_share, spec.same_case, str(data))
    learned = {files.case: files for files in (*split.train, *split.validation)}
    source = LabelSource(REFERENCE_LABELS) if labels is None else label_folder(labels, learned.values())
    job = TrainingJob(task, split, source, spec, seed, training_device(spec.device))
    for files in (task.cases[0], *split.test):  # a damaged test case would show only when hours of training are over
        load_volume(task, files)
    folder = TrainingFolder(out, _settings(job))
    folder.claim()
    with sole_user(out, folder.work):
        folder.begin({**split.names, "seed": seed, "same_case": split.same_case})
        training = _train(job, folder, progress)
        scores = _test(job, folder, training, progress)
        folder.finish(_record(job, training, scores), scores)
    notes = [NO_EVIDENCE] if split.same_case else []
    return TrainReport(task, training, tuple(scores), (*training.notes, *notes))


def _settings(job: TrainingJob) -> dict[str, Any]:
    """What decides the training, flat and as JSON gives it back."""
    cases = (*job.split.train, *job.split.validation)
    shares = job.spec.model_dump(mode="json", include={"test_share", "validation_share", "same_case"})
    return {
        "made_by": f"sambench {__version__}",
        "data": _digest(fingerprint(job.task, job.task.cases)),
        "labels": job.labels.name,
        "labels_sha256": _digest(job.labels.digests(cases)),
        "seed": job.seed,
        "device": str(job.device),
        **job.spec.learning,
        **shares,
    }


def _digest(values: Mapping[str, Any]) -> str:
    return sha256_text(json.dumps(values, default=str, sort_keys=True))


def _train(job: TrainingJob, folder: TrainingFolder, progress: Progress) -> Training:
    advance = progress.start(f"train {job.task.name} UNet on {job.labels.name} labels", job.spec.epochs)
    finished = finished_training(folder.checkpoint, folder.record)
    if finished is not None:
        advance(finished.epochs, f"loss {finished.loss[-1]:.3f}")
        return finished
    training = job.run(folder.checkpoint, folder.scratch, advance)
    write_text_atomically(folder.record, training.model_dump_json(indent=1))
    return training


def _test(job: TrainingJob, folder: TrainingFolder, training: Training, progress: Progress) -> list[CaseScore]:
    """The scores, from an earlier call where it wrote them for these very weights."""
    advance = progress.start(f"test on {len(job.split.test)} case(s) against the reference labels", len(job.split.test))
    try:
        earlier = json.loads((folder.folder / "training.json").read_text(encoding="utf-8"))
        if earlier["checkpoint_sha256"] == training.checkpoint_sha256:
            advance(len(job.split.test), "")
            return [CaseScore.model_validate(entry) for entry in earlier["test"]]
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        pass  # not tested yet
    unet = load_unet(folder.checkpoint)
    return evaluate(job.task, job.split.test, unet, job.device, job.spec.batch_size, advance)


def _record(job: TrainingJob, training: Training, scores: list[CaseScore]) -> dict[str, Any]:
    """The content of training.json."""
    cases = {files.case: files for files in (*job.split.train, *job.split.validation)}
    return {
        "made_by": f"sambench {__version__}",
        "settings": job.spec.model_dump(mode="json"),
        "seed": job.seed,
        "intensity": describe(job.task.intensity),
        "task_labels": {str(value): name for value, name in job.task.labels.items()},
        **training.model_dump(mode="json"),
        "label_provenance": dict(job.labels.provenance),
        "label_sha256": job.labels.digests(cases.values()),
        "test_cases": [files.case for files in job.split.test],
        "nsd_tolerance_mm": job.task.nsd_tolerance_mm,
        "test": [score.model_dump(mode="json") for score in scores],
    }
