"""A segmentation network: its checkpoint, and its way to ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from exporters.base import export_artifact
from exporters.checkpoint import load_checkpoint, load_state
from exporters.exportable import Exportable, Feed
from exporters.manifest import ExportError, Manifest, TensorSpec, Weights, sha256_file
from exporters.unet_config import UNetConfig

CHECKPOINT_FORMAT = "sambench-unet-2"


def build_unet(config: UNetConfig) -> Any:
    """A network of MONAI's whose forward is `image` [B,C,*spatial] → `logits` [B,K,*spatial]; weights are random."""
    import torch
    from monai.networks import nets
    from torch import nn

    class SegmentationUNet(nn.Module):
        """Gives MONAI's network the input name of the contract."""

        def __init__(self) -> None:
            super().__init__()
            self.network = getattr(nets, config.network)(
                spatial_dims=config.spatial_dims,
                in_channels=config.in_channels,
                out_channels=config.out_channels,
                **config.arguments,
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
        settings = self.config.model_dump(mode="json")
        return export_artifact(out_dir, self.config.name, self.weights, (self.unet,), settings)


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
        shape = (config.in_channels, *config.windows.patch)
        return [{"image": rng.random((batch, *shape), dtype=np.float32)} for batch in (2, 1, 5)]

    return Exportable(
        name="unet",
        module=network,
        inputs=(TensorSpec(name="image", dims=("B", config.in_channels, *config.windows.patch)),),
        outputs=(TensorSpec(name="logits", dims=("B", config.out_channels, *config.windows.patch)),),
        feeds=feeds,
        tolerance={"logits": 1e-3},
    )
