"""Segmentation networks behind one contract: `image` [B,C,*spatial] → `logits` [B,K,*spatial]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from exporters.exportable import Exportable, Feed
from exporters.manifest import ExportError, TensorSpec, Weights
from exporters.unet_config import UNetConfig

NETWORKS = ("UNet", "BasicUNet", "DynUNet", "AttentionUnet", "SegResNet")
"""Classes in `monai.networks.nets` that are tested here; one of another name is not built."""

FEED_VOXELS = 1 << 20
"""A batch of five is held against PyTorch up to so many voxels: patches of nnU-Net need gigabytes for each window."""


class SegmentationUNet(nn.Module):
    """Gives any segmentation network the input name of the contract."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits, one channel for the background and one for each label."""
        logits: torch.Tensor = self.network(image)
        return logits


@dataclass(frozen=True)
class BuiltUNet:
    """A network with its weights, and how to use it.

    Attributes:
        config: what it wants to see and what its channels mean.
        network: in evaluation mode.
        weights: where they came from.
    """

    config: UNetConfig
    network: SegmentationUNet
    weights: Weights


def build_unet(config: UNetConfig) -> SegmentationUNet:
    """A network of MONAI's; weights are random.

    Raises:
        ExportError: the network's name is not among `NETWORKS`, or its arguments do not build one.
    """
    from monai.networks import nets

    if config.network not in NETWORKS:
        raise ExportError(f"network {config.network!r} is not known; choose from {', '.join(NETWORKS)}")
    channels = {"in_channels": config.in_channels, "out_channels": config.out_channels}
    try:
        network = getattr(nets, config.network)(spatial_dims=config.spatial_dims, **channels, **config.arguments)
    except Exception as error:  # MONAI checks some arguments and fails over the others wherever they are used first
        raise ExportError(f"network {config.network}: cannot be built of its arguments: {_first_line(error)}") from None
    return SegmentationUNet(network)


def ready(network: SegmentationUNet, config: UNetConfig, source: Path) -> SegmentationUNet:
    """Puts a network with its weights in evaluation mode and sees that it keeps the contract, without computing.

    Raises:
        ExportError: it cannot take its patch, or answers with something else than logits of the patch's size.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    network.eval().requires_grad_(False)
    patch = config.windows.patch
    try:
        # Fake tensors have shapes and no values: a patch of 128³ costs nothing.
        with torch.inference_mode(), FakeTensorMode(allow_non_fake_inputs=True):
            logits: Any = network(torch.empty(2, config.in_channels, *patch))
    except Exception as error:  # whatever layer the shape does not fit
        raise ExportError(
            f"{source}: the network does not take windows of {patch} with {config.in_channels} channels "
            f"({_first_line(error)}); correct the patch or the number of channels"
        ) from None
    expected = (2, config.out_channels, *patch)
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != expected:
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ExportError(
            f"{source}: the network answers a window of {patch} with {got} instead of logits {expected}; it must give "
            "one tensor of the patch's size, with a channel for the background and one for each label"
        )
    return network


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def exportable(built: BuiltUNet) -> Exportable:
    """The network as the exporter takes it, with feeds of several batches."""
    config = built.config
    shape = (config.in_channels, *config.windows.patch)
    batches = [batch for batch in (2, 1, 5) if batch < 3 or batch * math.prod(shape) <= FEED_VOXELS]

    def feeds() -> Sequence[Feed]:
        rng = np.random.default_rng(0)
        return [{"image": rng.random((batch, *shape), dtype=np.float32)} for batch in batches]

    return Exportable(
        name="unet",
        module=built.network,
        inputs=(TensorSpec(name="image", dims=("B", *shape)),),
        outputs=(TensorSpec(name="logits", dims=("B", config.out_channels, *config.windows.patch)),),
        feeds=feeds,
        tolerance={"logits": 1e-3},
    )
