"""Operations counted from shapes alone are those that PyTorch counts while it computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from exporters.exportable import Exportable
from exporters.flops import count_flops
from exporters.hold import run_pytorch
from exporters.manifest import TensorSpec
from exporters.unet import build_unet
from exporters.unet_config import SlidingWindow, monai_unet


class Product(nn.Module):
    """[R, 4] → [R, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight


class Keeping(Product):
    """Keeps its latest answer, as a module with a cache does."""

    kept: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.kept = super().forward(x)
        return self.kept


class Unfakeable(Product):
    """Leaves PyTorch on its way, for which a fake tensor has no numbers."""

    ran_on: type | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Unfakeable.ran_on = type(torch.from_numpy(np.sqrt(x.numpy())))
        return super().forward(x)


def really(part: Exportable, feed: dict[str, np.ndarray]) -> int:
    return run_pytorch(part, [feed])[1]


def shapes_of(feed: dict[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return {name: value.shape for name, value in feed.items()}


def test_products_and_convolutions_are_counted_by_hand() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 10 * 12, 5)).eval()
    convolution = 2 * (2 * 10 * 12) * 8 * (3 * 9)
    linear = 2 * 2 * (8 * 10 * 12) * 5
    assert count_flops(module, {"input": (2, 3, 10, 12)}) == convolution + linear


def test_nothing_is_computed() -> None:
    """These inputs alone would take 15 GiB, and the hidden layer 300."""
    module = nn.Sequential(nn.Conv2d(1, 20, 3, padding=1), nn.Conv2d(20, 1, 1)).eval()
    batch, side = 1000, 2000
    assert count_flops(module, {"input": (batch, 1, side, side)}) == 2 * batch * side**2 * (20 * 9 + 20)


@pytest.mark.slow
def test_litemedsams_encoder(litemedsam: Any) -> None:
    part = litemedsam.encoder
    feed = {"image": np.random.default_rng(0).random((1, 3, 256, 256), dtype=np.float32)}
    counted = count_flops(part.module, shapes_of(feed))
    assert counted == really(part, feed)
    assert count_flops(part.module, {"image": (4, 3, 256, 256)}) == 4 * counted


def decoder_feed(prompts: int, points: int, with_mask: bool, size: tuple[int, int]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(prompts)
    return {
        "image_embeddings": rng.standard_normal((1, 256, 64, 64), dtype=np.float32),
        "point_coords": 256 * rng.random((prompts, points, 2), dtype=np.float32),
        "point_labels": np.ones((prompts, points), np.float32),
        "mask_input": np.zeros((prompts, 1, 256, 256), np.float32),
        "has_mask_input": np.full(prompts if with_mask else 1, float(with_mask), np.float32),
        "orig_im_size": np.array(size, np.float32),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prompts", "points", "with_mask", "size"),
    [(1, 2, False, (512, 512)), (3, 2, True, (101, 122)), (8, 5, False, (60, 300)), (1, 1, False, (40, 40))],
)
def test_litemedsams_decoder(
    prompts: int, points: int, with_mask: bool, size: tuple[int, int], litemedsam: Any
) -> None:
    """The size of its masks is a number in an input, so that one is real."""
    part = litemedsam.decoder
    feed = decoder_feed(prompts, points, with_mask, size)
    counted = count_flops(part.module, shapes_of(feed), {"orig_im_size": feed["orig_im_size"]})
    assert counted == really(part, feed)


def test_a_size_that_depends_on_numbers_nobody_gave_is_not_guessed(litemedsam: Any) -> None:
    """Ones would count masks of one pixel."""
    shapes = shapes_of(decoder_feed(3, 2, False, (100, 100)))
    assert count_flops(litemedsam.decoder.module, shapes) is None


@pytest.mark.parametrize("patch", [(32, 48), (32, 16, 16)])
def test_unets_of_two_and_three_dimensions(patch: tuple[int, ...]) -> None:
    config = monai_unet({1: "liver", 4: "spleen"}, SlidingWindow(patch=patch), (4, 8, 16), (2, 2), 1)
    module = build_unet(config).eval()
    part = Exportable("unet", module, (), (TensorSpec(name="logits", dims=("B", 3, *patch)),), lambda: [], {})
    image = np.random.default_rng(0).random((3, 1, *patch), dtype=np.float32)
    counted = count_flops(module, {"image": image.shape})
    assert counted is not None and counted > 0
    assert counted == really(part, {"image": image})


def test_a_module_that_cannot_be_faked_is_run_once_with_the_same_count() -> None:
    module = Unfakeable()
    assert count_flops(module, {"x": (6, 4)}) == 2 * 6 * 4 * 5
    assert Unfakeable.ran_on is torch.Tensor


def test_inputs_that_do_not_fit_have_no_count() -> None:
    assert count_flops(Product(), {"x": (6, 3)}) is None
    assert count_flops(Product(), {"y": (6, 4)}) is None


def test_a_module_that_keeps_something_keeps_nothing_fake_and_stays_as_it_was() -> None:
    """It is the one that the backend goes on to measure."""
    module = Keeping()
    weights = module.weight.data_ptr()
    assert count_flops(module, {"x": (6, 4)}) == 2 * 6 * 4 * 5
    assert module.kept is None
    assert module.weight.data_ptr() == weights
    result = module(torch.ones(2, 4))
    assert type(result) is torch.Tensor and type(module.kept) is torch.Tensor


def test_given_values_win_over_shapes() -> None:
    x = np.ones((6, 4), np.float32)
    assert count_flops(Product(), {"x": (1, 4)}, {"x": x}) == 2 * 6 * 4 * 5
