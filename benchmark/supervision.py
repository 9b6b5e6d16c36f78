"""What a UNet learns from: the pseudo labels of a run, or the reference labels."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from benchmark import __version__
from benchmark.data.msd import CaseFiles
from benchmark.data.slices import Slice
from benchmark.data.volume import Volume, load_labels, load_volume, save_labels
from benchmark.errors import InputError
from benchmark.files import sha256_text, write_text_atomically
from benchmark.measure.case import Predictions
from benchmark.plan import REFERENCE_LANE, Group, PlannedTask, chosen_slices, fingerprint
from benchmark.results import LaneKey, Training
from benchmark.spec import REFERENCE_LABELS, Spec
from exporters.manifest import sha256_file
from exporters.unet_config import SlidingWindow, monai_unet

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
    def key(self) -> str:
        """Changes with anything that could change the trained weights."""
        if self.spec.unet is None:
            raise ValueError("training needs spec.unet")
        learned = self.spec.unet.model_dump(
            include={"epochs", "batch_size", "learning_rate", "patch", "channels", "strides", "res_units"}
        )
        source = [sha256_file(path) for path in self._label_files()]
        data = fingerprint(self.planned.task, self.planned.train)
        return sha256_text(
            __version__,
            json.dumps(
                [learned, data, self.spec.data.seed, self.spec.data.slices, source], default=str, sort_keys=True
            ),
            self.labels,
        )

    @property
    def missing(self) -> list[str]:
        """The training cases that no backend could pseudo-label."""
        pairs = zip(self.planned.train, self._label_files(), strict=False)  # there are no files of reference labels
        return [files.case for files, path in pairs if not path.is_file()]

    def _label_files(self) -> list[Path]:
        if self.labels == REFERENCE_LABELS or self.store is None:
            return []
        return [self.store.path(self.labels, files.case) for files in self.planned.train]

    def slices(self, files: CaseFiles) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """A case's images [n, H, W] and label maps [n, H, W]."""
        volume = load_volume(self.planned.task, files)
        chosen = [piece.index for piece in chosen_slices(volume, self.spec)]
        labels = volume.label
        if self.labels != REFERENCE_LABELS and self.store is not None:
            labels = load_labels(self.planned.task, self.store.path(self.labels, files.case), volume.geometry)
        return np.ascontiguousarray(volume.image[:, :, chosen].T), np.ascontiguousarray(labels[:, :, chosen].T)


def train_on(source: Supervision, on_epochs: Callable[[float, float], None]) -> tuple[Path, Training]:
    """The UNet trained on these labels, from an earlier part of the run where it was finished.

    Args:
        source: what to learn from.
        on_epochs: told how many epochs were finished since the last call, and the loss.

    Returns:
        The checkpoint and the training's record.
    """
    name = f"{source.planned.name}-{source.labels}-{source.key[:10]}"
    checkpoint = source.run_dir / MODELS / f"{name}.pt"
    record = checkpoint.with_suffix(".json")
    finished = _finished(checkpoint, record)
    if finished is not None:
        on_epochs(finished.epochs, finished.loss[-1])
        return checkpoint, finished
    training = _train(source, checkpoint, name, on_epochs)
    write_text_atomically(record, training.model_dump_json(indent=1))
    return checkpoint, training


def _finished(checkpoint: Path, record: Path) -> Training | None:
    """The record of a training that ended, if its checkpoint is still the one it wrote."""
    try:
        training = Training.model_validate_json(record.read_text(encoding="utf-8"))
        return training if sha256_file(checkpoint) == training.checkpoint_sha256 else None
    except (OSError, ValidationError):
        return None


def _train(source: Supervision, checkpoint: Path, name: str, on_epochs: Callable[[float, float], None]) -> Training:
    import shutil

    from benchmark.stages.train import TrainingSettings, train_unet, write_training_case

    settings = source.spec.unet
    if settings is None:
        raise ValueError("training needs spec.unet")
    scratch = source.run_dir / SCRATCH / name
    cases = [write_training_case(scratch, f.case, *source.slices(f)) for f in source.planned.train]
    slices = sum(len(np.load(case.image, mmap_mode="r")) for case in cases)
    if slices == 0:
        raise InputError(f"{source.planned.task.folder}: no training case has a label; add cases or change data.seed")
    config = monai_unet(
        dict(source.planned.task.labels),
        SlidingWindow(patch=settings.patch),
        settings.channels,
        settings.strides,
        settings.res_units,
    )
    done = 0

    def on_epoch(epoch: int, loss: float) -> None:
        nonlocal done
        on_epochs(epoch - done, loss)
        done = epoch

    losses, seconds = train_unet(
        cases,
        config,
        TrainingSettings(settings.epochs, settings.batch_size, settings.learning_rate, source.spec.data.seed),
        checkpoint,
        on_epoch,
    )
    shutil.rmtree(scratch, ignore_errors=True)
    notes = ["trained and tested on the same case"] if source.planned.same_case else []
    return Training(
        task=source.planned.name,
        model=config.name,
        labels=source.labels,
        cases=[files.case for files in source.planned.train],
        slices=slices,
        epochs=settings.epochs,
        seconds=round(seconds, 1),
        loss=[round(loss, 5) for loss in losses],
        checkpoint_sha256=sha256_file(checkpoint),
        notes=notes,
    )
