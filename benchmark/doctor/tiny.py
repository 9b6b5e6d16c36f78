"""A network small enough to be exported and run in a second, of the operators that SAM and the UNet are made of."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from exporters.exportable import Arrays, Exportable, Feed
from exporters.graph import export_onnx
from exporters.hold import run_pytorch
from exporters.manifest import TensorSpec
from exporters.precision import PRECISIONS, unet_reduction
from runners.base import ModuleSource, Signature
from runners.registry import FILE_PRECISION

NAME = "tiny"
SIDE = 32
CHANNELS = 16
HEADS = 2
SEED = 0
BATCHES = (2,)
"""Sizes of the dynamic batch, the first above 1 to be traced. One: torch.compile compiles for a second one anew."""


class TinyNetwork(nn.Module):
    """Convolutions, normalisation, attention over the pixels, and the way back up: [B,1,32,32] → [B,2,32,32].

    No more kinds of operators: inductor runs a C++ compiler for each kernel that it cannot fuse, seconds each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(1, CHANNELS, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(CHANNELS, CHANNELS, 3, stride=2, padding=1),
        )
        self.norm = nn.LayerNorm(CHANNELS)
        self.query, self.key, self.value = (nn.Linear(CHANNELS, CHANNELS) for _ in range(3))
        self.up = nn.ConvTranspose2d(CHANNELS, 2, 4, stride=4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of an image."""
        seen = self.down(image)
        tokens = seen.flatten(2).transpose(1, 2)
        inner = self.norm(tokens)
        query, key, value = (_split(linear(inner)) for linear in (self.query, self.key, self.value))
        attended = nn.functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + attended.transpose(1, 2).flatten(2)
        logits: torch.Tensor = self.up(tokens.transpose(1, 2).reshape(seen.shape))
        return logits


class TinyModule(nn.Module):
    """The network as SAM and UNet exports have theirs: in a scope by whose name fp16 finds it (`exporters.half`)."""

    def __init__(self) -> None:
        super().__init__()
        self.network = TinyNetwork()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of an image."""
        logits: torch.Tensor = self.network(image)
        return logits


def _split(tokens: torch.Tensor) -> torch.Tensor:
    """[B,N,C] → [B,heads,N,C/heads]: the exporter knows attention by heads alone."""
    return tokens.reshape(*tokens.shape[:2], HEADS, -1).transpose(1, 2)


def tiny_network() -> TinyModule:
    """Always with the same weights, in whatever process; the generator of this process is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return TinyModule().eval().requires_grad_(False)


def feeds() -> Sequence[Feed]:
    """The inputs of every check."""
    generator = np.random.default_rng(SEED)
    return [{"image": generator.standard_normal((size, 1, SIDE, SIDE)).astype(np.float32)} for size in BATCHES]


def tiny_part() -> Exportable:
    """The network with its contract."""
    return Exportable(
        name=NAME,
        module=tiny_network(),
        inputs=(TensorSpec(name="image", dims=("B", 1, SIDE, SIDE)),),
        outputs=(TensorSpec(name="logits", dims=("B", 2, SIDE, SIDE)),),
        feeds=feeds,
        tolerance={"logits": 1e-3},
    )


def references() -> list[Arrays]:
    """PyTorch's fp32 outputs on the CPU for every feed."""
    return run_pytorch(tiny_part(), feeds())[0]


def write_files(folder: Path) -> dict[str, str]:
    """Writes the network's ONNX file in every precision that has one.

    Args:
        folder: where; one folder a precision is made in it.

    Returns:
        Precision → why its file could not be made; empty where all could.

    Raises:
        ExportError: not even the fp32 file could be written.
    """
    part, failed = tiny_part(), {}
    whole = file_of(folder, "fp32")
    whole.parent.mkdir(parents=True, exist_ok=True)
    export_onnx(part, feeds()[0], whole)
    for precision in PRECISIONS:
        path = file_of(folder, precision)
        path.parent.mkdir(exist_ok=True)
        if path != whole:
            shutil.copy(whole, path)
        try:
            reduction = unet_reduction(precision, feeds())
            if reduction is not None:
                reduction.apply(NAME, path)
        except Exception as error:  # the quantiser is another library's, and the other precisions are worth a check
            failed[precision] = f"its ONNX file could not be made ({type(error).__name__}: {error})"
    return failed


def file_of(folder: Path, precision: str) -> Path:
    """Where the ONNX file lies that a precision runs."""
    return folder / FILE_PRECISION.get(precision, precision) / f"{NAME}.onnx"


def tiny_source(folder: Path, precision: str) -> ModuleSource:
    """The network in the forms that runners load: the module, and the file of this precision where it was written."""
    path, part = file_of(folder, precision), tiny_part()
    signature = Signature.of(part.inputs, part.outputs)
    return ModuleSource(NAME, signature, tiny_network, path if path.is_file() else None, precision)
