"""Sliding windows around a runner: nnU-Net's places and weights, mirroring, and blending, against independent code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmark.stages.windows import WindowedNetwork, describe, even_starts, mirrorings, nnunet_gaussian
from exporters.unet_config import SlidingWindow
from runners.device import Device
from tests.benchmark.stages.fake_runners import Given


class Network:
    """Givens with a fixed map of the window's own places, so that what is flipped or blended can be told."""

    device = Device("cpu")

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.batches: list[int] = []

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Given]:
        image = inputs["image"]
        assert image.flags["C_CONTIGUOUS"]
        self.batches.append(len(image))
        return {"logits": Given(self.answer(image))}


def network(answer: Any, windows: SlidingWindow, batch: int = 2) -> tuple[WindowedNetwork, Network]:
    runner = Network(answer)
    return WindowedNetwork(runner, windows, batch), runner  # type: ignore[arg-type]


@given(length=st.integers(1, 300), patch=st.integers(4, 128), step=st.sampled_from([0.25, 0.5, 0.75, 1.0]))
def test_even_windows_begin_where_nnunets_do(length: int, patch: int, step: float) -> None:
    nnunet = pytest.importorskip("nnunetv2.inference.sliding_window_prediction")
    size = max(length, patch)  # smaller images are padded first
    (expected,) = nnunet.compute_steps_for_sliding_window((size,), (patch,), step)
    assert even_starts(size, patch, 1 - step) == expected


@pytest.mark.parametrize("size", [(21, 30), (5, 30), (8, 12), (3, 4)])
@pytest.mark.parametrize("blending", ["constant", "gaussian"])
def test_evenly_spread_windows_cover_every_voxel_of_every_slice(size: tuple[int, int], blending: Any) -> None:
    windows = SlidingWindow(patch=(8, 12), overlap=0.5, blending=blending, steps="even")
    image = torch.from_numpy(np.random.default_rng(0).random((3, 1, *size), dtype=np.float32))
    windowed, runner = network(lambda seen: np.concatenate([seen, 2 * seen], axis=1), windows, batch=4)
    torch.testing.assert_close(windowed(image), torch.cat([image, 2 * image], dim=1), rtol=1e-5, atol=1e-6)
    assert windowed.seen == sum(runner.batches)
    assert max(runner.batches) <= 4


def test_where_both_ways_put_the_same_windows_they_blend_alike() -> None:
    """21 voxels, patches of 9, 5 in common: both begin at 0, 4, 8, 12."""
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.random((2, 1, 21, 21), dtype=np.float32))
    ramp = rng.random((1, 1, 9, 9)).astype(np.float32)
    fixed, even = (SlidingWindow(patch=(9, 9), overlap=5 / 9, steps=steps) for steps in ("fixed", "even"))  # type: ignore[arg-type]
    found = [network(lambda seen: seen * ramp, windows)[0](image) for windows in (fixed, even)]
    torch.testing.assert_close(found[0], found[1])


def test_nnunets_weights_are_nnunets() -> None:
    nnunet = pytest.importorskip("nnunetv2.inference.sliding_window_prediction")
    windows = SlidingWindow(patch=(20, 33, 16), overlap=0.5, blending="gaussian", steps="even")
    expected = nnunet.compute_gaussian((20, 33, 16), 1 / 8, 1, torch.float32, torch.device("cpu"))
    torch.testing.assert_close(nnunet_gaussian(windows), expected)


def test_a_network_that_only_sees_its_window_gives_the_same_map_wherever_windows_lie() -> None:
    windows = SlidingWindow(patch=(8, 12), overlap=0.4, blending="gaussian")
    image = torch.from_numpy(np.random.default_rng(0).random((3, 1, 21, 30), dtype=np.float32))
    windowed, runner = network(lambda seen: np.concatenate([seen, 2 * seen], axis=1), windows, batch=4)
    found = windowed(image)
    torch.testing.assert_close(found, torch.cat([image, 2 * image], dim=1), rtol=1e-5, atol=1e-6)
    assert windowed.seen == sum(runner.batches)
    assert max(runner.batches) <= 4


def test_mirrored_answers_are_averaged_over_every_set_of_axes() -> None:
    """A network that answers with its window's column number: mirrored over columns, the mean is the middle."""
    windows = SlidingWindow(patch=(4, 6), mirror_axes=(0, 1))
    columns = np.broadcast_to(np.arange(6, dtype=np.float32), (1, 1, 4, 6))
    windowed, runner = network(lambda seen: np.repeat(columns, len(seen), axis=0), windows)
    found = windowed(torch.zeros(1, 1, 4, 6))
    torch.testing.assert_close(found, torch.full((1, 1, 4, 6), 2.5))
    assert len(runner.batches) == 4, "none, rows, columns, both"
    assert windowed.seen == 1, "a window counts once, however often it is mirrored"


def test_a_backend_that_reuses_its_memory_does_not_spoil_the_average() -> None:
    memory = np.zeros((1, 1, 2, 2), dtype=np.float32)

    def answer(seen: np.ndarray) -> np.ndarray:
        np.copyto(memory, seen)
        return memory

    windowed, _ = network(answer, SlidingWindow(patch=(2, 2), mirror_axes=(1,)))
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    torch.testing.assert_close(windowed(image), image)


def test_the_sets_of_mirrored_axes_are_nnunets() -> None:
    assert mirrorings(()) == []
    assert mirrorings((0, 1, 2)) == [(2,), (3,), (4,), (2, 3), (2, 4), (3, 4), (2, 3, 4)]


def test_an_image_smaller_than_a_window_is_padded_with_zeros_on_both_sides() -> None:
    seen: list[np.ndarray] = []

    def answer(image: np.ndarray) -> np.ndarray:
        seen.append(image)
        return image

    windowed, _ = network(answer, SlidingWindow(patch=(4, 5)))
    image = torch.ones(1, 1, 2, 2)
    assert windowed(image).shape == (1, 1, 2, 2)
    expected = np.zeros((4, 5), dtype=np.float32)
    expected[1:3, 1:3] = 1
    np.testing.assert_array_equal(seen[0][0, 0], expected)


def test_a_record_holds_the_whole_specification() -> None:
    told = describe(SlidingWindow(patch=(64, 64, 32), overlap=0.5, mirror_axes=(0,)), 4)
    assert told["patch"] == [64, 64, 32]
    assert set(told) == {*SlidingWindow.model_fields, "windows_per_batch"}
