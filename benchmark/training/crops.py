"""The windows a UNet learns from: cut where labels are, and mildly deformed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.data.dataset import Dataset
from monai.transforms.compose import Compose
from monai.transforms.croppad.dictionary import RandCropByLabelClassesd
from monai.transforms.intensity.dictionary import RandGaussianNoised, RandScaleIntensityd
from monai.transforms.spatial.dictionary import RandAffined
from monai.transforms.utility.dictionary import EnsureTyped, SelectItemsd
from monai.transforms.utils import map_classes_to_indices

from benchmark.training.cases import TrainingCase
from exporters.unet_config import UNetConfig

CENTRES = 1000
"""Voxels of each class of a volume that a window may be cut around; more would only take memory."""

BOTH = ("image", "label")
INDICES = "indices"


def crop_dataset(cases: Sequence[TrainingCase], config: UNetConfig, per_volume: int) -> Any:
    """Every slice of every case, or so many windows of each volume, read from disk when they are drawn.

    Args:
        cases: no image smaller than a patch.
        config: the network.
        per_volume: windows of one volume in an epoch, for a 3-D network.
    """
    items: list[dict[str, Any]] = []
    for case in cases:
        image, label = case.open()
        if config.spatial_dims == 2:
            items += [{"image": image[index], "label": label[index][None]} for index in range(len(image))]
        else:
            centres = map_classes_to_indices(label, config.out_channels, max_samples_per_class=CENTRES)
            items += [{"image": image[0], "label": label, INDICES: centres}] * per_volume
    return Dataset(items, _transforms(config))


def _transforms(config: UNetConfig) -> Any:
    """A window of which every second lies around a label, deformed; no flips, because the liver is on one side.

    A volume in LPS is turned about its third axis alone: its slices may be thick.
    """
    flat = config.spatial_dims == 2
    patch = config.windows.patch
    labels = len(config.labels)
    return Compose(
        [
            EnsureTyped(BOTH),
            RandCropByLabelClassesd(
                BOTH,
                "label",
                patch,
                ratios=[max(labels, 1), *[1] * labels],
                num_classes=config.out_channels,
                indices_key=None if flat else INDICES,
                warn=False,  # not every slice has every label
            ),
            SelectItemsd(BOTH),
            EnsureTyped(BOTH, dtype=torch.float32),
            RandAffined(
                BOTH,
                prob=0.7,
                rotate_range=0.15 if flat else (0.0, 0.0, 0.15),
                scale_range=[0.12] * config.spatial_dims,
                translate_range=[side / 16 for side in patch],
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            ),
            RandScaleIntensityd("image", 0.1, prob=0.5),
            RandGaussianNoised("image", prob=0.3, std=0.02),
        ]
    )
