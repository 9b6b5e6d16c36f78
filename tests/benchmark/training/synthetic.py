"""Small cases whose objects a tiny network learns in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmark.training.cases import TrainingCase, write_training_case
from exporters.unet_config import SlidingWindow, monai_unet

PATCH = (32, 32)
CONFIG = monai_unet({1: "disc", 4: "bar"}, SlidingWindow(patch=PATCH), (4, 8), (2,), 1)
VOLUMES = monai_unet({1: "ball"}, SlidingWindow(patch=(16, 16, 8)), (4, 8), (2,), 1)


def discs(folder: Path, name: str = "case", slices: int = 3, seed: int = 0) -> TrainingCase:
    """A bright disc (channel 1) and a grey bar (channel 2) on noise, in slices of 36 × 40."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:36, :40]
    images = rng.uniform(0, 0.08, (slices, 1, 36, 40)).astype(np.float32)
    labels = np.zeros((slices, 36, 40), np.uint8)
    for (image,), label in zip(images, labels, strict=True):
        y, x = rng.integers(12, 24, 2)
        label[(rows - y) ** 2 + (columns - x) ** 2 < 64] = 1
        label[2:6] = 2
        np.copyto(image, image + 0.8 * (label == 1) + 0.4 * (label == 2))
    return write_training_case(folder, name, images, labels, PATCH)


def ball(folder: Path, name: str = "case", seed: int = 0) -> TrainingCase:
    """A small bright ball in a volume of 40 × 24 × 12."""
    rng = np.random.default_rng(seed)
    centre = rng.integers((8, 8, 4), (32, 16, 8))
    grid = np.stack(np.mgrid[:40, :24, :12], axis=-1)
    label = (((grid - centre) ** 2).sum(axis=-1) < 16).astype(np.uint8)[None]
    image = rng.uniform(0, 0.1, (1, 1, 40, 24, 12)) + 0.8 * label
    return write_training_case(folder, name, image.astype(np.float32), label, VOLUMES.windows.patch)
