"""The MONAI UNet: its checkpoint, and its way to ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError, model_validator

from exporters.base import export_artifact
from exporters.checkpoint import load_checkpoint, load_state
from exporters.exportable import Exportable, Feed
from exporters.manifest import ExportError, Manifest, TensorSpec, Weights, sha256_file

CHECKPOINT_FORMAT = "sambench-unet-1"


class UNetConfig(BaseModel):
    """The network and what its channels mean; it travels inside the checkpoint.

    Attributes:
        labels: the label value and name of output channels 1, 2, …; channel 0 is the background.
        patch: rows and columns of one window, in voxels; a multiple of the product of the strides.
        channels: feature channels of each level.
        strides: between the levels.
        res_units: residual units per level.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: dict[int, str]
    patch: tuple[int, int] = (128, 128)
    in_channels: int = 1
    channels: tuple[PositiveInt, ...] = (16, 32, 64, 128)
    strides: tuple[PositiveInt, ...] = (2, 2, 2)
    res_units: int = 2

    @model_validator(mode="after")
    def _patch_fits_the_strides(self) -> UNetConfig:
        step = int(np.prod(self.strides))
        if any(side <= 0 or side % step for side in self.patch):
            raise ValueError(f"patch {self.patch} is not a multiple of {step}, the product of the strides")
        if not self.strides or len(self.channels) != len(self.strides) + 1:
            raise ValueError("channels must have one entry more than strides, and strides at least one")
        return self


def build_unet(config: UNetConfig) -> Any:
    """A MONAI UNet whose forward is `image` [B,C,H,W] → `logits` [B,K,H,W]; weights are random."""
    import torch
    from monai.networks.nets import UNet
    from torch import nn

    class SegmentationUNet(nn.Module):
        """Gives MONAI's network the input name of the contract."""

        def __init__(self) -> None:
            super().__init__()
            self.network = UNet(
                spatial_dims=2,
                in_channels=config.in_channels,
                out_channels=len(config.labels) + 1,
                channels=config.channels,
                strides=config.strides,
                num_res_units=config.res_units,
            )

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network(image)
            return logits

    return SegmentationUNet()


def unet_checkpoint(config: UNetConfig, network: Any) -> dict[str, Any]:
    """What `torch.save` writes: plain values and tensors only, so that it loads with `weights_only=True`."""
    return {"format": CHECKPOINT_FORMAT, "config": config.model_dump(mode="json"), "state_dict": network.state_dict()}


@dataclass(frozen=True)
class LoadedUNet:
    """A trained network, what its channels mean, and how to export it."""

    config: UNetConfig
    weights: Weights
    unet: Exportable

    def export(self, out_dir: Path) -> Manifest:
        """Writes unet.onnx and manifest.json; see `export_artifact`."""
        return export_artifact(out_dir, "unet-2d", self.weights, (self.unet,), self.config.model_dump(mode="json"))


def load_unet(path: Path) -> LoadedUNet:
    """Loads a checkpoint that sambench trained.

    Raises:
        ExportError: the file is missing, damaged, or of another kind.
    """
    content = load_checkpoint(path)
    if not isinstance(content, dict) or content.get("format") != CHECKPOINT_FORMAT:
        raise ExportError(f"{path}: no UNet checkpoint of sambench; train one with `sambench run`")
    try:
        # JSON knows text keys only; pydantic turns "1" back into 1.
        config = UNetConfig.model_validate(content["config"])
    except (KeyError, ValidationError) as error:
        raise ExportError(f"{path}: its configuration is damaged ({type(error).__name__}); train it again") from None
    network = build_unet(config)
    load_state(network, content.get("state_dict"), path)
    network.eval().requires_grad_(False)
    weights = Weights(source="checkpoint", file=path.name, sha256=sha256_file(path))
    return LoadedUNet(config, weights, _exportable(config, network))


def _exportable(config: UNetConfig, network: Any) -> Exportable:
    def feeds() -> Sequence[Feed]:
        rng = np.random.default_rng(0)
        shape = (config.in_channels, *config.patch)
        return [{"image": rng.random((batch, *shape), dtype=np.float32)} for batch in (2, 1, 5)]

    return Exportable(
        name="unet",
        module=network,
        inputs=(TensorSpec(name="image", dims=("B", config.in_channels, *config.patch)),),
        outputs=(TensorSpec(name="logits", dims=("B", len(config.labels) + 1, *config.patch)),),
        feeds=feeds,
        tolerance={"logits": 1e-3},
    )
