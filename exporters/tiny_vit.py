"""TinyViT, LiteMedSAM's and MobileSAM's encoder, in a form that is traced at the first attempt.

Its `PatchMerging` asks for `len(x)`, which a trace takes for a constant. The exporter then falls back to a slower way
of tracing, and the whole export takes almost twice as long.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


def traceable_tiny_vit(encoder: nn.Module) -> nn.Module:
    """A copy of an image encoder with every `PatchMerging` replaced; other encoders come back as they are.

    Args:
        encoder: stays untouched and shares its weights with the copy.
    """
    layers = getattr(encoder, "layers", None)
    if not isinstance(layers, nn.ModuleList) or not any(_merges(layer) for layer in layers):
        return encoder
    traceable = _shallow(encoder)
    traceable.layers = nn.ModuleList(_with_merging(layer) if _merges(layer) else layer for layer in layers)
    made: nn.Module = traceable.eval()
    return made


def _merges(layer: Any) -> bool:
    return type(getattr(layer, "downsample", None)).__name__ == "PatchMerging"


def _with_merging(layer: Any) -> nn.Module:
    made: nn.Module = _shallow(layer)
    made.downsample = GraphPatchMerging(layer.downsample)
    return made


def _shallow(module: nn.Module) -> Any:
    made = copy.copy(module)
    made._modules = dict(module._modules)
    return made


class GraphPatchMerging(nn.Module):
    """`PatchMerging` (microsoft/Cream, `tiny_vit.py`) with the batch left open.

    Args:
        merging: the original.
    """

    def __init__(self, merging: Any) -> None:
        super().__init__()
        self.height, self.width = merging.input_resolution
        self.act, self.conv1, self.conv2, self.conv3 = merging.act, merging.conv1, merging.conv2, merging.conv3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A grid [B, C, H, W] or its tokens [B, H·W, C] → tokens of the merged grid."""
        if x.dim() == 3:
            x = x.view(x.shape[0], self.height, self.width, -1).permute(0, 3, 1, 2)
        merged: torch.Tensor = self.conv3(self.act(self.conv2(self.act(self.conv1(x)))))
        return merged.flatten(2).transpose(1, 2)
