"""A task's cases with one kind of label → a trained UNet and the training's record."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from benchmark.data.msd import CaseFiles, Task
from benchmark.data.slices import slices
from benchmark.data.volume import load_volume
from benchmark.errors import InputError
from benchmark.results import Training, Validation
from benchmark.sections import TrainSpec
from benchmark.training.labels import LabelSource
from benchmark.training.split import Split
from exporters.manifest import sha256_file
from exporters.unet_config import SlidingWindow, UNetConfig, Volumes, monai_unet
from runners.device import Device

OnProgress = Callable[[float, str], None]
"""Told how many epochs were finished since the last call, and what they gave in words."""


@dataclass(frozen=True)
class TrainingJob:
    """One UNet to train.

    Attributes:
        task: whose cases they are.
        split: which of them train and validate.
        labels: what is learned, in training and validation alike: who has pseudo labels alone has no others to
            choose an epoch by.
        spec: the network and how it learns.
        seed: of weights and windows.
        device: where it trains.
        slices: a limit of labelled slices a case, for a 2-D UNet; None for all slices.
    """

    task: Task
    split: Split
    labels: LabelSource
    spec: TrainSpec
    seed: int
    device: Device
    slices: int | None = None

    @property
    def config(self) -> UNetConfig:
        """The network."""
        spec = self.spec
        return monai_unet(
            dict(self.task.labels),
            SlidingWindow(patch=spec.patch),
            spec.channels,
            spec.strides,
            spec.res_units,
            Volumes(spacing=spec.spacing) if len(spec.patch) == 3 else None,
        )

    def run(self, checkpoint: Path, scratch: Path, on_progress: OnProgress) -> Training:
        """Trains, or goes on where an interrupted training of this job stopped.

        Args:
            checkpoint: where the network goes.
            scratch: a folder for the cases as arrays; it is removed at the end.
            on_progress: told how far it is.

        Raises:
            InputError: no case has anything to learn, a file is wrong, or the loss is no number any more.
        """
        from benchmark.training.cases import write_training_case
        from benchmark.training.loop import train_unet
        from benchmark.training.settings import TrainingSettings

        config = self.config
        learned, validating, seen, labelled = [], [], 0, 0
        for number, files in enumerate(self.split.train, 1):
            on_progress(0, f"read case {number} of {len(self.split.train)}")
            image, label = self.arrays(files)
            seen += len(image) if config.spatial_dims == 2 else image.shape[-1]
            labelled += int(np.count_nonzero(label))
            learned.append(write_training_case(scratch / "train", files.case, image, label, config.windows.patch))
        for files in self.split.validation:
            validating.append(write_training_case(scratch / "validation", files.case, *self.arrays(files)))
        if not seen:
            raise InputError(f"{self.task.folder}: no training case has a label; add cases or change the seed")
        if not labelled:
            raise InputError(
                f"{self.task.folder}: no training case holds any label of the task in the {self.labels.name} labels; "
                "mend the labels, or choose others"
            )
        settings = TrainingSettings.of(self.spec, self.seed, self.device)
        history = train_unet(learned, validating, config, settings, checkpoint, _telling(on_progress))
        shutil.rmtree(scratch, ignore_errors=True)
        return Training(
            task=self.task.name,
            model=config.name,
            labels=self.labels.name,
            cases=[files.case for files in self.split.train],
            validation_cases=[files.case for files in self.split.validation],
            slices=seen,
            epochs=settings.epochs,
            seconds=round(history.seconds, 1),
            loss=[round(loss, 5) for loss in history.loss],
            validation=[_rounded(found) for found in history.validations],
            best_epoch=history.best_epoch,
            device=str(self.device),
            amp=settings.amp,
            checkpoint_sha256=sha256_file(checkpoint),
            notes=self._notes(history.best),
        )

    def arrays(self, files: CaseFiles) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """A case as the network sees it: images [N, C, *spatial] and channel numbers [N, *spatial]."""
        from benchmark.stages.unet_input import channel_numbers, unet_input

        config = self.config
        way = unet_input(config)
        volume = load_volume(self.task, files)
        image = way.prepare(volume).image.numpy()
        reference = way.reference(self.labels.on(self.task, volume))
        if reference is None:
            raise ValueError(f"preprocessing {config.preprocessing.kind} brings no labels to the network's grid")
        if config.spatial_dims == 2 and self.slices is not None:
            # Chosen by the reference, as the slices that were pseudo-labelled.
            chosen = [piece.index for piece in slices(volume, only_labelled=True, limit=self.slices)]
            image, reference = image[chosen], reference[chosen]
        return image, channel_numbers(reference, config.labels)

    def _notes(self, best: Validation | None) -> list[str]:
        notes = []
        if self.split.same_case:
            notes.append("trained, validated and tested on the same case")
        if not self.split.validation:
            notes.append("too few cases to validate, so the last epoch's weights were taken")
        elif best is not None and best.dice is None:
            notes.append("no validation case has a label, so the last epoch's weights were taken")
        elif self.labels.files is not None:
            notes.append("the best epoch was chosen by Dice against the pseudo labels of the validation cases")
        return notes


def _telling(on_progress: OnProgress) -> Callable[[int, float, Validation | None], None]:
    """Turns epochs into progress; the last Dice stays in sight until there is another."""
    done, dice = 0, ""

    def on_epoch(epoch: int, loss: float, validation: Validation | None) -> None:
        nonlocal done, dice
        if validation is not None and validation.dice is not None:
            dice = f", validation Dice {validation.dice:.3f}"
        on_progress(epoch - done, f"loss {loss:.3f}{dice}")
        done = epoch

    return on_epoch


def _rounded(found: Validation) -> Validation:
    labels = {name: None if dice is None else round(dice, 5) for name, dice in found.labels.items()}
    return Validation(epoch=found.epoch, dice=None if found.dice is None else round(found.dice, 5), labels=labels)


def finished_training(checkpoint: Path, record: Path) -> Training | None:
    """The record of a training that ended, if its checkpoint is still the one it wrote."""
    try:
        training = Training.model_validate_json(record.read_text(encoding="utf-8"))
        return training if sha256_file(checkpoint) == training.checkpoint_sha256 else None
    except (OSError, ValidationError):
        return None
