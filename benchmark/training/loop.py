"""The training of a UNet: weak supervision on pseudo labels, full supervision on reference labels."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data.utils import list_data_collate
from monai.losses.dice import DiceCELoss
from torch.utils.data import DataLoader

from benchmark.errors import InputError
from benchmark.files import atomic_path
from benchmark.results import Validation
from benchmark.training.cases import TrainingCase
from benchmark.training.crops import crop_dataset
from benchmark.training.settings import TrainingSettings
from benchmark.training.state import History, Learner
from benchmark.training.validate import validate
from exporters.unet import unet_checkpoint
from exporters.unet_config import UNetConfig

GRADIENT_NORM = 12.0
"""Larger gradients are cut to it; nnU-Net's bound."""

OnEpoch = Callable[[int, float, Validation | None], None]
"""Told each finished epoch, its mean loss, and its validation if there was one."""


def train_unet(
    cases: Sequence[TrainingCase],
    validation: Sequence[TrainingCase],
    config: UNetConfig,
    settings: TrainingSettings,
    checkpoint: Path,
    on_epoch: OnEpoch = lambda epoch, loss, validation: None,
) -> History:
    """Trains a UNet and writes its best weights; an interrupted training goes on from its last finished epoch.

    Every epoch draws from a generator of its own, seeded by its number: on the CPU a resumed training equals an
    undisturbed one to the bit.

    Args:
        cases: what to learn from; none smaller than a patch.
        validation: what chooses the best epoch by mean Dice; without any the last epoch is taken.
        config: the network.
        settings: epochs, batch, rate, seed, device.
        checkpoint: where the trained network goes; `<checkpoint>.partial` beside it holds the unfinished one.
        on_epoch: told how far it is.

    Raises:
        InputError: the loss is no number any more, or the unfinished state is damaged.
    """
    learner = Learner(config, settings)
    partial = checkpoint.with_name(checkpoint.name + ".partial")
    learner.restore(partial)
    history = learner.history
    data = crop_dataset(cases, config, settings.windows_per_case)
    for epoch in range(len(history.loss) + 1, settings.epochs + 1):
        started = time.perf_counter()
        history.loss.append(_one_epoch(learner, data, settings, epoch))
        found = None
        if validation and settings.validates(epoch):
            found = validate(learner.network, validation, config, settings.device, settings.batch_size, epoch)
            learner.keep_if_better(found)
        history.seconds += time.perf_counter() - started
        learner.save(partial)
        on_epoch(epoch, history.loss[-1], found)
    learner.take_best()
    with atomic_path(checkpoint) as temporary:
        torch.save(unet_checkpoint(config, learner.network), temporary)
    partial.unlink(missing_ok=True)
    return history


def _one_epoch(learner: Learner, data: Any, settings: TrainingSettings, epoch: int) -> float:
    seed = settings.seed * 100_003 + epoch
    data.transform.set_random_state(seed=seed)
    torch.manual_seed(seed)
    # A last batch of one would be normalised over a single window; it is dropped where there is another.
    loader = DataLoader(
        data,
        settings.batch_size,
        shuffle=True,
        drop_last=len(data) > settings.batch_size,
        collate_fn=list_data_collate,  # crops come as lists
    )
    # Over the whole batch: in a slice without a label its Dice says nothing.
    loss_of = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False, batch=True)
    learner.network.train()
    losses = []
    for batch in loader:
        image, label = (batch[name].as_tensor().to(learner.device) for name in ("image", "label"))
        learner.optimizer.zero_grad()
        with torch.autocast(learner.device.type, torch.float16, enabled=learner.amp):
            logits = learner.network(image)
        loss = loss_of(logits.float(), label)
        losses.append(_checked(float(loss.detach()), settings.learning_rate, epoch))
        _step(learner, loss)
    learner.schedule.step()
    return sum(losses) / len(losses)


def _step(learner: Learner, loss: Any) -> None:
    learner.scaler.scale(loss).backward()
    learner.scaler.unscale_(learner.optimizer)
    torch.nn.utils.clip_grad_norm_(learner.network.parameters(), GRADIENT_NORM)
    learner.scaler.step(learner.optimizer)
    learner.scaler.update()


def _checked(loss: float, rate: float, epoch: int) -> float:
    if not math.isfinite(loss):
        raise InputError(
            f"learning_rate: the loss is {loss} in epoch {epoch}, so {rate:g} is too high; take a lower one and train "
            "in a new folder"
        )
    return loss
