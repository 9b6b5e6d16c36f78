"""Whole volumes in LPS for a 3-D network, resampled where it was trained at one voxel size."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.spatial.array import Spacing
from numpy.typing import NDArray

from benchmark.data.volume import Volume
from benchmark.stages.unet_input import Channels, Prepared, only, require_channels, size_text, winners
from exporters.unet_config import UNetConfig, Volumes


class VolumeInput:
    """The intensity window scaled to 0–1, on a grid of the network's voxel size."""

    stored = False

    def __init__(self, config: UNetConfig) -> None:
        require_channels(config, 1, "preprocessing `volumes`")
        if not isinstance(config.preprocessing, Volumes):
            raise TypeError(f"{config.preprocessing.kind} is no preprocessing of volumes")
        self.spacing = config.preprocessing.spacing
        self._spacing = None if self.spacing is None else Spacing(self.spacing, padding_mode="border", dtype=np.float32)

    def prepare(self, volume: Volume) -> Prepared:
        """See `UNetInput.prepare`; `image` is [1, 1, X, Y, Z]."""
        seen = self._on_grid(volume.image, volume, "bilinear") / 255
        return Prepared(seen.as_tensor()[None], volume, seen)

    def labels(self, prepared: Prepared, logits: torch.Tensor) -> Channels:
        """See `UNetInput.labels`; logits are interpolated on the way back, not label maps."""
        if self._spacing is None:
            return only(winners(logits))
        operations = list(prepared.state.applied_operations)
        answer = MetaTensor(logits[0], affine=prepared.state.affine, applied_operations=operations)
        return only(winners(self._spacing.inverse(answer).as_tensor()[None]))

    def reference(self, volume: Volume) -> Channels:
        """See `UNetInput.reference`; the nearest voxel's label."""
        found: Channels = self._on_grid(volume.label, volume, "nearest").as_tensor().numpy().astype(np.uint8)
        return found

    def _on_grid(self, array: NDArray[Any], volume: Volume, mode: str) -> MetaTensor:
        affine = torch.diag(torch.tensor([*volume.spacing, 1.0], dtype=torch.float64))
        image = MetaTensor(np.ascontiguousarray(array, dtype=np.float32)[None], affine=affine)
        resampled: MetaTensor = image if self._spacing is None else self._spacing(image, mode=mode)
        return resampled

    def describe(self) -> str:
        """See `UNetInput.describe`."""
        grid = "their own grid" if self.spacing is None else f"a grid of {size_text(self.spacing)} mm"
        return f"whole volumes in {grid}, the task's intensity window scaled to 0–1"
