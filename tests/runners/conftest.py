"""A tiny module in both forms that runners load."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from exporters.base import export_artifact
from exporters.exportable import Exportable
from exporters.manifest import TensorSpec, Weights
from runners.base import ModuleSource, Signature
from runners.registry import BACKENDS, precisions_on

ON_CPU = [backend for backend in BACKENDS if precisions_on(backend, "cpu")]
"""Backends that a test without a GPU can run; `test_gpu.py` has the others."""

DIMS = ("B", 3, "H", 16)


class TwoConvolutions(nn.Module):
    """Takes its own output again, so that one runner can feed another; `scale` shares its batch with `image`."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, image: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = nn.functional.gelu(self.first(image)) * scale[:, None, None, None]
        return self.second(hidden), hidden.mean((2, 3))


def feed(batch: int = 2, rows: int = 12, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "image": rng.standard_normal((batch, 3, rows, 16), dtype=np.float32),
        "scale": rng.random(batch, dtype=np.float32),
    }


@pytest.fixture(scope="session")
def part() -> Exportable:
    torch.manual_seed(0)
    return Exportable(
        name="tiny",
        module=TwoConvolutions().eval().requires_grad_(False),
        inputs=(TensorSpec(name="image", dims=DIMS), TensorSpec(name="scale", dims=("B",))),
        outputs=(TensorSpec(name="features", dims=DIMS), TensorSpec(name="means", dims=("B", 8))),
        feeds=lambda: [feed(2, 12), feed(3, 20)],
        tolerance={"features": 1e-4, "means": 1e-4},
    )


@pytest.fixture(scope="session")
def source(part: Exportable, tmp_path_factory: pytest.TempPathFactory) -> ModuleSource:
    folder = tmp_path_factory.mktemp("runners") / "tiny"
    export_artifact(folder, "tiny", Weights(source="random", seed=0), (part,), {})
    return ModuleSource(
        name="tiny",
        signature=Signature.of(part.inputs, part.outputs),
        torch_module=lambda: copy.deepcopy(part.module),
        onnx_path=folder / "tiny.onnx",
    )


@pytest.fixture(autouse=True)
def _compiled_once(monkeypatch: pytest.MonkeyPatch, common_folder: Path) -> None:
    """Tests of many kinds run the tiny module through torch.compile, whose compiler takes seconds each time."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(common_folder / "inductor"))
    if "runners.pytorch_compile" in sys.modules:
        monkeypatch.setattr("runners.pytorch_compile.COMPILING", {})


@pytest.fixture
def not_there(tmp_path: Path) -> Path:
    return tmp_path / "gone.onnx"
