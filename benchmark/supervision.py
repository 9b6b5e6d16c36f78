"""What a UNet learns from: the pseudo labels of a run, or the reference labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark import __version__
from benchmark.data.msd import CaseFiles
from benchmark.data.slices import Slice
from benchmark.data.volume import Volume, save_labels
from benchmark.files import sha256_text, write_text_atomically
from benchmark.measure.tally import Predictions
from benchmark.plan import REFERENCE_LANE, Group, PlannedTask, fingerprint
from benchmark.results import LaneKey, Training
from benchmark.spec import REFERENCE_LABELS, Spec
from benchmark.training.device import training_device
from benchmark.training.job import OnProgress, TrainingJob, finished_training
from benchmark.training.labels import LabelSource
from benchmark.training.split import Split

PSEUDOLABELS = "pseudolabels"
MODELS = "models"
SCRATCH = "scratch"


@dataclass(frozen=True)
class LabelStore:
    """The pseudo labels of one group, as NIfTI files in each image's own grid."""

    run_dir: Path
    group: Group

    def path(self, strategy: str, case: str) -> Path:
        """Where a case's pseudo labels lie."""
        return self.run_dir / PSEUDOLABELS / self.group.folder / strategy / f"{case}.nii.gz"

    def holds(self, case: str) -> bool:
        """Whether the case's pseudo labels of every strategy are there."""
        return all(self.path(strategy, case).is_file() for strategy in self.group.variants)

    def save(self, volume: Volume, chosen: Sequence[Slice], predictions: Predictions) -> None:
        """Writes a case's pseudo labels: the reference lane's, or those of the lane that stands in for it."""
        for strategy, by_lane in predictions.items():
            if not by_lane:
                continue
            maps = by_lane[_teacher(list(by_lane))]
            labels = np.zeros_like(volume.label)
            for piece, label_map in zip(chosen, maps, strict=True):
                labels[:, :, piece.index] = label_map.T
            save_labels(labels, volume.geometry, self.path(strategy, volume.case))


def _teacher(lanes: Sequence[str]) -> str:
    """The lane whose masks become labels: the reference, else the first in fp32, else the first."""
    full = [lane for lane in lanes if LaneKey.parse(lane).precision == REFERENCE_LANE.precision]
    return str(REFERENCE_LANE) if str(REFERENCE_LANE) in lanes else (full or list(lanes))[0]


@dataclass(frozen=True)
class Supervision:
    """A task's training cases with one kind of label.

    Attributes:
        planned: the task.
        labels: a prompt strategy, or `reference`.
        store: where the pseudo labels lie; None where there are none.
        spec: the run's specification.
        run_dir: the run's folder.
    """

    planned: PlannedTask
    labels: str
    store: LabelStore | None
    spec: Spec
    run_dir: Path

    @property
    def job(self) -> TrainingJob:
        """The training."""
        if self.spec.unet is None:
            raise ValueError("training needs spec.unet")
        planned, data = self.planned, self.spec.data
        split = Split(planned.train, planned.validation, planned.test, planned.same_case)
        device = training_device(self.spec.unet.device)
        return TrainingJob(planned.task, split, self._source, self.spec.unet, data.seed, device, data.slices)

    @property
    def _source(self) -> LabelSource:
        if self.labels == REFERENCE_LABELS or self.store is None:
            return LabelSource(REFERENCE_LABELS)
        return LabelSource(self.labels, {c.case: self.store.path(self.labels, c.case) for c in self._cases})

    @property
    def _cases(self) -> tuple[CaseFiles, ...]:
        own = {files.case: files for files in (*self.planned.train, *self.planned.validation)}
        return tuple(own.values())  # of `same_case` there is one

    @property
    def key(self) -> str:
        """Changes with anything that could change the trained weights."""
        job = self.job
        data = [fingerprint(job.task, cases) for cases in (job.split.train, job.split.validation)]
        decides = [
            job.spec.learning, data, job.seed, job.slices, job.labels.digests(self._cases), str(job.device),
        ]  # fmt: skip
        return sha256_text(__version__, json.dumps(decides, default=str, sort_keys=True), self.labels)

    @property
    def missing(self) -> list[str]:
        """The cases to train or validate on that no backend could pseudo-label."""
        return self._source.missing(self._cases)


def train_on(source: Supervision, on_progress: OnProgress) -> tuple[Path, Training]:
    """The UNet trained on these labels, from an earlier part of the run where it was finished.

    Args:
        source: what to learn from.
        on_progress: told how many epochs were finished since the last call, and what they gave in words.

    Returns:
        The checkpoint and the training's record.
    """
    name = f"{source.planned.name}-{source.labels}-{source.key[:10]}"
    checkpoint = source.run_dir / MODELS / f"{name}.pt"
    record = checkpoint.with_suffix(".json")
    finished = finished_training(checkpoint, record)
    if finished is not None:
        on_progress(finished.epochs, f"loss {finished.loss[-1]:.3f}")
        return checkpoint, finished
    training = source.job.run(checkpoint, source.run_dir / SCRATCH / name, on_progress)
    write_text_atomically(record, training.model_dump_json(indent=1))
    return checkpoint, training
