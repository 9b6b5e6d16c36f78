"""Device memory runs out: the batch is lowered only if that was asked for, and it is told; the labels stay the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.stages.batches import WINDOWS_ADVICE, Batch
from benchmark.stages.pseudolabel import Pseudolabelling
from benchmark.stages.segment import Segmenting
from benchmark.stages.windows import WindowedNetwork
from exporters.unet_config import SlidingWindow, monai_unet
from runners.base import DeviceTensor, OutOfDeviceMemoryError
from runners.device import Device
from tests.benchmark.stages.fake_runners import UPRIGHT, FakeDecoder, FakeEncoder, Given, paint
from tests.benchmark.stages.test_pseudolabel import five_specks, unit_of


class Small(FakeDecoder):
    """Its device holds so many prompts at once."""

    def __init__(self, holds: int, **rest: Any) -> None:
        super().__init__(**rest)
        self.holds = holds
        self.tried: list[int] = []

    def run(self, inputs: Mapping[str, Any]) -> dict[str, DeviceTensor]:
        self.tried.append(len(inputs["point_labels"]))
        if self.tried[-1] > self.holds:
            raise OutOfDeviceMemoryError("CUDA out of memory")
        return super().run(inputs)


def pipeline(decoder: FakeDecoder, size: int, then: Any) -> Any:
    return Pseudolabelling(UPRIGHT, size, then)([FakeEncoder(), decoder])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("holds", "tried", "left"),
    [(8, [5], 8), (4, [5, 2, 2, 1], 2), (2, [5, 2, 2, 1], 2), (1, [5, 2, 1, 1, 1, 1, 1], 1)],
)
def test_prompts_are_halved_until_they_fit_and_none_is_lost_or_decoded_twice(
    holds: int, tried: list[int], left: int
) -> None:
    decoder = Small(holds)
    made = pipeline(decoder, 8, "halve")
    outcome = made.process(unit_of(five_specks(), "box", per="component"))
    np.testing.assert_array_equal(outcome.labels["box"][0], five_specks())
    assert (decoder.tried, made.prompts_per_call) == (tried, left)
    assert outcome.effort["box"].boxes == 5
    assert sum(size for size, _ in decoder.sizes) == 5
    said = (f"batch lowered from 8 to {left} prompts because device memory ran out",)
    assert made.notes == (() if left == 8 else said)
    assert decoder.set_ups == sum(size > holds for size in tried), "such a pass is no warm time, so it is repeated"
    made.process(unit_of(five_specks(), "box", per="component"))
    assert all(size <= left for size in decoder.tried[len(tried) :]), "what did not fit is not tried again"


def test_corrections_that_do_not_fit_begin_anew_with_fewer_prompts() -> None:
    unit = unit_of(five_specks(), "iterative3", per="component")
    whole = pipeline(FakeDecoder(paint), 8, "fail").process(unit)
    halved = pipeline(Small(2, draw=paint), 8, "halve").process(unit)
    np.testing.assert_array_equal(halved.labels["iterative3"], whole.labels["iterative3"])
    assert halved.effort == whole.effort


def test_without_being_asked_nothing_is_lowered_and_the_error_says_what_to_do() -> None:
    decoder = Small(4)
    with pytest.raises(
        OutOfDeviceMemoryError,
        match=r"^5 prompts at once do not fit into the device's memory; set measure\.on_out_of_memory: halve, or "
        r"sam\.prompts_per_call below 5 \(CUDA out of memory\)$",
    ):
        pipeline(decoder, 8, "fail").process(unit_of(five_specks(), "box", per="component"))
    assert decoder.tried == [5]


def test_where_not_even_one_fits_it_fails_whatever_was_asked() -> None:
    decoder = Small(0)
    with pytest.raises(OutOfDeviceMemoryError, match="one of the prompts alone does not fit"):
        pipeline(decoder, 8, "halve").process(unit_of(five_specks(), "box", per="component"))
    assert decoder.tried == [5, 2, 1]


class SmallNetwork:
    """Answers with the image and its opposite; its device holds so many windows at once. One memory for all answers."""

    device = Device("cpu")
    device_ms = 0.0
    set_ups = 0

    def __init__(self, holds: int) -> None:
        self.holds = holds
        self.sizes: list[int] = []
        self._memory = np.zeros((64, 2, 8, 8), np.float32)

    def run(self, inputs: Mapping[str, Any]) -> dict[str, DeviceTensor]:
        image = inputs["image"]
        self.sizes.append(len(image))
        if len(image) > self.holds:
            raise OutOfDeviceMemoryError("CUDA out of memory")
        answer = self._memory[: len(image)]
        answer[:] = np.concatenate([image, -image], axis=1)
        return {"logits": Given(answer)}


def windowed(network: SmallNetwork, then: Any, **settings: Any) -> WindowedNetwork:
    return WindowedNetwork(network, SlidingWindow(patch=(8, 8), **settings), 8, then)  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [{}, {"mirror_axes": (0, 1)}, {"steps": "even", "overlap": 0.5}])
def test_windows_are_halved_until_they_fit_and_blend_to_the_same_logits(settings: dict[str, Any]) -> None:
    image = torch.from_numpy(np.random.default_rng(0).random((3, 1, 20, 13), dtype=np.float32))
    whole, small = SmallNetwork(64), SmallNetwork(3)
    expected = windowed(whole, "fail", **settings)
    lowered = windowed(small, "halve", **settings)
    torch.testing.assert_close(lowered(image), expected(image), rtol=0, atol=0)
    assert lowered.notes == ("batch lowered from 8 to 2 windows because device memory ran out",)
    assert small.sizes[:3] == [8, 4, 2] and max(small.sizes[2:]) == 2
    assert lowered.seen == expected.seen and small.set_ups == 2


def test_windows_that_do_not_fit_fail_with_advice_unless_halving_was_asked_for() -> None:
    network = SmallNetwork(3)
    with pytest.raises(OutOfDeviceMemoryError, match=r"8 windows at once.*unet\.windows_per_batch below 8"):
        windowed(network, "fail")(torch.zeros(3, 1, 20, 13))
    assert network.sizes == [8]


def test_the_recipe_of_a_network_hands_on_what_was_asked_for() -> None:
    config = monai_unet({1: "liver"}, SlidingWindow(patch=(8, 8)), (4, 8), (2,), 1)
    recipe = Segmenting(config, config.windows, 8, "reference", (1,), "halve")
    made = recipe([SmallNetwork(1)])  # type: ignore[list-item]
    made.network(torch.zeros(3, 1, 8, 8))
    assert made.notes == ("batch lowered from 8 to 1 windows because device memory ran out",)


def test_a_batch_that_stayed_as_it_was_has_nothing_to_say() -> None:
    assert Batch(8, "windows", "halve", WINDOWS_ADVICE).notes == ()
