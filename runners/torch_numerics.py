"""How PyTorch is made to compute in another precision or memory layout, and how it shows that it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

PRECISION_OF = {
    torch.float64: "fp64",
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
}

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Precision → the type that PyTorch's autocast computes products in."""

PRODUCT_MODULES = (nn.Linear, nn.modules.conv._ConvNd)
"""Whose outputs tell the precision: what autocast lowers first of all (PyTorch's `autocast_mode.h`)."""

LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}
"""Axes of a tensor → the layout with its channels last."""


def numerics(precision: str, device: str) -> AbstractContextManager[Any]:
    """Inside it, products run in the precision: autocast for a reduced one, nothing for `fp32`.

    Args:
        precision: `fp32` or a key of `AUTOCAST`.
        device: `cpu` or `cuda`.
    """
    return torch.autocast(device, dtype=AUTOCAST[precision]) if precision in AUTOCAST else nullcontext()


class ProductWatch:
    """Sees the element types that a module's products have in its first run, and then is gone from its way.

    Args:
        module: what will run.
    """

    def __init__(self, module: nn.Module) -> None:
        self.seen: Counter[str] = Counter()
        self._hooks = [
            part.register_forward_hook(self._note) for part in module.modules() if isinstance(part, PRODUCT_MODULES)
        ]

    def _note(self, module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        self.seen[PRECISION_OF[output.dtype]] += 1

    def leave(self) -> None:
        """Takes the hooks away: they cost time in every call."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


def product_precision(like: torch.Tensor) -> str:
    """In what precision PyTorch would multiply such numbers at this very place: asked with a product of 1 × 1."""
    one = torch.ones((1, 1), dtype=like.dtype, device=like.device)
    return PRECISION_OF[(one @ one).dtype]


def channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor with its channels last in memory, where it has channels and rows: 4 or 5 axes."""
    layout = LAYOUTS.get(tensor.dim())
    return tensor if layout is None else tensor.contiguous(memory_format=layout)


def put_channels_last(module: nn.Module) -> nn.Module:
    """Moves the weights of a module's convolutions; `nn.Module.to` refuses a module with both 2-D and 3-D ones."""
    for weight in _convolution_weights(module):
        weight.data = channels_last(weight.data)
    return module


def channels_last_note(module: nn.Module) -> str:
    """`channels last: 12 of 12 convolutions`, as their weights lie in memory."""
    weights = list(_convolution_weights(module))
    last = sum(weight.is_contiguous(memory_format=LAYOUTS[weight.dim()]) for weight in weights)
    return f"channels last: {last} of {len(weights)} convolutions"


def _convolution_weights(module: nn.Module) -> Iterator[torch.Tensor]:
    for part in module.modules():
        if isinstance(part, nn.modules.conv._ConvNd) and part.weight.dim() in LAYOUTS:
            yield part.weight
