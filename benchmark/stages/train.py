"""A short training of the 2-D UNet on given label maps: weak supervision on pseudo labels, full on reference labels."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data.dataset import Dataset
from monai.losses.dice import DiceCELoss
from monai.transforms.compose import Compose
from monai.transforms.croppad.dictionary import RandSpatialCropd, SpatialPadd
from monai.transforms.intensity.dictionary import RandGaussianNoised, RandScaleIntensityd, ScaleIntensityRanged
from monai.transforms.spatial.dictionary import RandAffined
from monai.transforms.utility.dictionary import EnsureChannelFirstd, EnsureTyped
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from benchmark.files import atomic_path
from exporters.unet import build_unet, unet_checkpoint
from exporters.unet_config import UNetConfig


@dataclass(frozen=True)
class TrainingCase:
    """The slices of one case on disk, so that memory does not grow with the number of cases.

    Attributes:
        image: .npy, float32 [n, H, W], 0–255.
        label: .npy, uint8 [n, H, W], label values.
    """

    image: Path
    label: Path


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how fast to learn."""

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int


def write_training_case(
    folder: Path, case: str, images: NDArray[np.float32], labels: NDArray[np.uint8]
) -> TrainingCase:
    """Stores a case's slices for training.

    Args:
        folder: where to.
        case: its id.
        images: [n, H, W], 0–255.
        labels: [n, H, W].
    """
    written = TrainingCase(folder / f"{case}_image.npy", folder / f"{case}_label.npy")
    for path, array in ((written.image, images), (written.label, labels)):
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, array)
    return written


def train_unet(
    cases: Sequence[TrainingCase],
    config: UNetConfig,
    settings: TrainingSettings,
    checkpoint: Path,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> tuple[list[float], float]:
    """Trains on the CPU and writes the checkpoint; an interrupted training goes on from its last finished epoch.

    Every epoch draws from a generator of its own, seeded by its number: a resumed training equals an undisturbed one.

    Args:
        cases: what to learn from.
        config: the network.
        settings: epochs, batch, rate, seed.
        checkpoint: where the trained network goes; `<checkpoint>.partial` beside it holds the unfinished one.
        on_epoch: told each finished epoch and its mean loss.

    Returns:
        The mean loss of each epoch, and the seconds spent on all of them.
    """
    torch.manual_seed(settings.seed)
    network = build_unet(config)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=settings.epochs, power=0.9)
    stateful = {"network": network, "optimizer": optimizer, "schedule": schedule}
    partial = checkpoint.with_name(checkpoint.name + ".partial")
    losses, seconds = _restore(partial, stateful)
    data = _dataset(cases, config)
    for epoch in range(len(losses), settings.epochs):
        started = time.perf_counter()
        losses.append(_one_epoch(network, optimizer, data, settings, epoch))
        schedule.step()
        seconds += time.perf_counter() - started
        _save(partial, stateful, losses, seconds)
        on_epoch(epoch + 1, losses[-1])
    network.eval()
    with atomic_path(checkpoint) as temporary:
        torch.save(unet_checkpoint(config, network), temporary)
    partial.unlink(missing_ok=True)
    return losses, seconds


def _one_epoch(network: Any, optimizer: Any, data: Any, settings: TrainingSettings, epoch: int) -> float:
    seed = settings.seed * 100_003 + epoch
    data.transform.set_random_state(seed=seed)
    torch.manual_seed(seed)
    # A last batch of one would be normalised over a single window; it is dropped where there is another.
    loader = DataLoader(data, settings.batch_size, shuffle=True, drop_last=len(data) > settings.batch_size)
    loss_of = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)
    network.train()
    total, batches = 0.0, 0
    for batch in loader:
        optimizer.zero_grad()
        loss = loss_of(network(batch["image"].as_tensor()), batch["label"].as_tensor())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 12.0)  # nnU-Net's bound
        optimizer.step()
        total, batches = total + float(loss.detach()), batches + 1
    return total / batches


def _dataset(cases: Sequence[TrainingCase], config: UNetConfig) -> Any:
    """Every slice of every case, read from disk when it is drawn."""
    items = []
    for case in cases:
        image, label = np.load(case.image, mmap_mode="r"), np.load(case.label, mmap_mode="r")
        items += [{"image": image[index], "label": label[index]} for index in range(len(image))]
    return Dataset(items, _transforms(config))


def _transforms(config: UNetConfig) -> Any:
    """Intensities to 0–1 as at inference, a patch, mild deformations; no flips, because the liver is on one side."""
    both = ("image", "label")
    return Compose(
        [
            _ToChannelIndices(config),
            EnsureChannelFirstd(both, channel_dim="no_channel"),
            EnsureTyped(both, dtype=torch.float32),
            ScaleIntensityRanged("image", 0, 255, 0, 1),
            SpatialPadd(both, config.windows.patch),
            RandSpatialCropd(both, config.windows.patch, random_size=False),
            RandAffined(
                both,
                prob=0.7,
                rotate_range=0.15,
                scale_range=0.12,
                translate_range=8,
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            ),
            RandScaleIntensityd("image", 0.1, prob=0.5),
            RandGaussianNoised("image", prob=0.3, std=0.02),
        ]
    )


class _ToChannelIndices:
    """Label values to output channels; values that the network does not know become background."""

    def __init__(self, config: UNetConfig) -> None:
        self.table = np.zeros(256, dtype=np.uint8)
        for channel, value in enumerate(config.labels, start=1):
            self.table[value] = channel

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        return {"image": np.array(item["image"]), "label": self.table[item["label"]]}


def _save(path: Path, stateful: dict[str, Any], losses: list[float], seconds: float) -> None:
    content = {name: part.state_dict() for name, part in stateful.items()}
    with atomic_path(path) as temporary:
        torch.save({**content, "losses": losses, "seconds": seconds}, temporary)


def _restore(path: Path, stateful: dict[str, Any]) -> tuple[list[float], float]:
    if not path.is_file():
        return [], 0.0
    content = torch.load(path, map_location="cpu", weights_only=True)
    for name, part in stateful.items():
        part.load_state_dict(content[name])
    return list(content["losses"]), float(content["seconds"])
