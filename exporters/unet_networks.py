"""Segmentation networks behind one contract: `image` [B,C,*spatial] → `logits` [B,K,*spatial]."""

from __future__ import annotations

import copy
import inspect
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


def network_class(name: str, any_of_monai: bool = False) -> type[nn.Module] | None:
    """A class by its name; None for one that is not built here.

    Args:
        name: of a class in `monai.networks.nets`; a module may stand before it.
        any_of_monai: whether networks that are not tested here will do, if they have the usual arguments.
    """
    from monai.networks import nets

    name = name.rpartition(".")[2]
    if not any_of_monai:
        return getattr(nets, name) if name in NETWORKS else None
    found = getattr(nets, name, None)
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        return None
    usual = {"spatial_dims", "in_channels", "out_channels"}
    return found if usual <= set(inspect.signature(found).parameters) else None


def build_unet(config: UNetConfig, any_of_monai: bool = False) -> SegmentationUNet:
    """A network of MONAI's; weights are random.

    Args:
        config: with its name and arguments.
        any_of_monai: see `network_class`.

    Raises:
        ExportError: the network is not known, or its arguments do not build one.
    """
    kind = network_class(config.network, any_of_monai)
    if kind is None:
        raise ExportError(f"network {config.network!r} is not known; choose from {', '.join(NETWORKS)}")
    if config.arguments.get("pretrained"):
        raise ExportError("pretrained is set, which would download weights; leave it out, the checkpoint has them all")
    channels = {"in_channels": config.in_channels, "out_channels": config.out_channels}
    try:
        network = kind(spatial_dims=config.spatial_dims, **channels, **config.arguments)
    except Exception as error:  # MONAI checks some arguments and fails over the others wherever they are used first
        raise ExportError(f"network {config.network}: cannot be built of its arguments: {_first_line(error)}") from None
    return SegmentationUNet(network)


def ready(network: SegmentationUNet, config: UNetConfig, source: Path) -> SegmentationUNet:
    """Puts a network with its weights in evaluation mode and sees that it keeps the contract, without computing.

    Raises:
        ExportError: it cannot take its patch, or answers with something else than logits of the patch's size.
    """
    network.eval().requires_grad_(False)
    patch = config.windows.patch
    try:
        # Tensors on `meta` have shapes and no values: a patch of 128³ costs nothing. A copy, because some networks keep
        # what they computed.
        with torch.inference_mode():
            window = torch.empty(2, config.in_channels, *patch, device="meta")
            logits: Any = copy.deepcopy(network).to("meta")(window)
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
