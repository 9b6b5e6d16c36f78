"""Dice of an unfinished network on the cases that choose the best epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.metrics import dice_per_label, mean
from benchmark.results import Validation
from benchmark.stages.unet_input import winners
from benchmark.stages.windows import WindowedNetwork
from benchmark.training.cases import TrainingCase
from exporters.manifest import TensorSpec
from exporters.unet_config import UNetConfig
from runners.base import ModuleSource, Runner, Signature
from runners.device import Device
from runners.pytorch import PyTorchRunner

IMAGES_AT_ONCE = 8
"""Slices that are covered with windows together; logits of a whole CT would take gigabytes."""


@contextmanager
def network_runner(network: torch.nn.Module, config: UNetConfig, device: Device) -> Iterator[Runner]:
    """A network that is in memory behind the reference backend, so that validation infers as the benchmark does.

    The network is itself again afterwards, in the mode it was in.
    """
    was_training = network.training
    shape = config.windows.patch
    signature = Signature.of(
        [TensorSpec(name="image", dims=("B", config.in_channels, *shape))],
        [TensorSpec(name="logits", dims=("B", config.out_channels, *shape))],
    )
    source = ModuleSource("unet", signature, torch_module=lambda: network)
    try:
        with PyTorchRunner(source, device) as runner:
            yield runner
    finally:
        network.train(was_training)


def predicted_channels(windowed: WindowedNetwork, images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The network's channel numbers [N, *spatial] of images [N, C, *spatial]."""
    parts = [
        winners(windowed(torch.from_numpy(images[start : start + IMAGES_AT_ONCE])))
        for start in range(0, len(images), IMAGES_AT_ONCE)
    ]
    return np.concatenate(parts)


def validate(
    network: torch.nn.Module, cases: Sequence[TrainingCase], config: UNetConfig, device: Device, batch: int, epoch: int
) -> Validation:
    """Segments the validation cases by sliding windows and holds them against their labels.

    Args:
        network: as it is now.
        cases: on the network's grid.
        config: its windows are the ones that the benchmark uses too.
        device: where it is.
        batch: windows at once.
        epoch: for the record.
    """
    names = dict(enumerate(config.labels.values(), start=1))
    scores: list[dict[str, float | None]] = []
    with network_runner(network, config, device) as runner:
        windowed = WindowedNetwork(runner, config.windows, batch)
        for case in cases:
            image, label = case.open()
            scores.append(dice_per_label(predicted_channels(windowed, image), label, names))
    return Validation(
        epoch=epoch,
        dice=mean(value for score in scores for value in score.values()),
        labels={name: mean(score[name] for score in scores) for name in names.values()},
    )


def better(candidate: Validation, best: Validation | None) -> bool:
    """Whether an epoch beats the best one so far; of equals the earlier stays."""
    if best is None or best.dice is None:
        return True  # without any Dice the last epoch is taken
    return candidate.dice is not None and candidate.dice > best.dice


def as_state(network: torch.nn.Module) -> dict[str, Any]:
    """A copy of the weights that goes on when the network learns further."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
