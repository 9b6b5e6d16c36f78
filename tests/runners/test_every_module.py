"""Every kind of module gives PyTorch's fp32 numbers in every backend: what a run would measure is the same thing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.lanes import module_source
from exporters.base import export_artifact
from exporters.exportable import Exportable
from exporters.manifest import TensorSpec, Weights
from runners.base import Array
from runners.device import Device
from runners.registry import make_runner

CPU = Device("cpu")
LARGEST_ERROR = 1e-3
LEAST_DICE = 0.999


def answers(backend: str, part: Exportable, folder: Path, feeds: list[dict[str, Array]], **options: Any) -> list[Any]:
    if backend == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    with make_runner(backend, module_source(part, folder), CPU, 1, options) as runner:
        return [{name: value.numpy().copy() for name, value in runner.run(feed).items()} for feed in feeds]


def hold(got: list[Any], expected: list[Any], mask: str | None = None) -> None:
    for mine, theirs in zip(got, expected, strict=True):
        for name, values in theirs.items():
            assert np.abs(mine[name] - values).max() <= LARGEST_ERROR, name
        if mask is not None:
            a, b = mine[mask] > 0, theirs[mask] > 0
            assert b.any()
            assert 2 * (a & b).sum() / (a.sum() + b.sum()) >= LEAST_DICE


def prompts(embedding: Array, count: int) -> dict[str, Array]:
    rng = np.random.default_rng(count)
    return {
        "image_embeddings": embedding,
        "point_coords": np.sort(256 * rng.random((count, 2, 2), dtype=np.float32), axis=1),
        "point_labels": np.tile(np.array([2, 3], dtype=np.float32), (count, 1)),
        "mask_input": np.zeros((1, 1, 256, 256), dtype=np.float32),
        "has_mask_input": np.zeros(1, dtype=np.float32),
        "orig_im_size": np.array([64, 48], dtype=np.float32),
    }


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "options"), [("openvino", {}), ("pytorch", {"channels_last": True})])
def test_litemedsam_for_one_and_for_16_prompts(
    backend: str, options: dict[str, Any], litemedsam: Any, litemedsam_folder: Path
) -> None:
    image = [{"image": np.random.default_rng(0).random((1, 3, 256, 256), dtype=np.float32)}]
    expected = answers("pytorch", litemedsam.encoder, litemedsam_folder, image)
    hold(answers(backend, litemedsam.encoder, litemedsam_folder, image, **options), expected)
    asked = [prompts(expected[0]["image_embeddings"], count) for count in (1, 16)]
    masks = answers("pytorch", litemedsam.decoder, litemedsam_folder, asked)
    hold(answers(backend, litemedsam.decoder, litemedsam_folder, asked, **options), masks, "masks")


@pytest.fixture(scope="module", params=[2, 3], ids=["2d", "3d"])
def unet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Exportable, Path, int]:
    import torch
    from monai.networks.nets import UNet

    from exporters.unet_networks import SegmentationUNet

    axes: int = request.param
    torch.manual_seed(0)
    # Residual units in 2-D, plain convolutions in 3-D: each block that torch.compile meets is a C++ compilation more.
    network = UNet(axes, 1, 3, channels=(4, 8), strides=(2,), num_res_units=3 - axes)
    space = (16, 8, 12)[:axes]
    part = Exportable(
        name="unet",
        module=SegmentationUNet(network).eval().requires_grad_(False),
        inputs=(TensorSpec(name="image", dims=("B", 1, *space)),),
        outputs=(TensorSpec(name="logits", dims=("B", 3, *space)),),
        feeds=lambda: [windows(axes, 2), windows(axes, 3)],
        tolerance={"logits": 1e-4},
    )
    folder = tmp_path_factory.mktemp("unet") / f"{axes}d"
    export_artifact(folder, "unet", Weights(source="random", seed=0), (part,), {})
    return part, folder, axes


def windows(axes: int, batch: int) -> dict[str, Array]:
    space = (16, 8, 12)[:axes]
    return {"image": np.random.default_rng(batch).standard_normal((batch, 1, *space), dtype=np.float32)}


@pytest.mark.parametrize(
    ("backend", "options"),
    [
        ("openvino", {}),
        ("pytorch", {"channels_last": True}),
        pytest.param("pytorch-compile", {"dynamic": True}, marks=pytest.mark.slow),
    ],
)
def test_a_small_unet_in_batches_of_two_sizes(
    backend: str, options: dict[str, Any], unet: tuple[Exportable, Path, int]
) -> None:
    part, folder, axes = unet
    feeds = [windows(axes, batch) for batch in (2, 5)]
    expected = answers("pytorch", part, folder, feeds)
    hold(answers(backend, part, folder, feeds, **options), expected, "logits")
