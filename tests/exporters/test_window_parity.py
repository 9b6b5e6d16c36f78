"""The ladder of a UNet tells what a smaller type or a wrong graph does to the labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from exporters.manifest import Manifest, WindowLadder
from exporters.window_parity import NOTHING_FOUND, WindowSample, climb_windows

SHAPE = ("B", 3, 1, 4)
LABELS = ("liver", "spleen")


def artifact(folder: Path, add: list[float] | None = None, factor: float = 1.0) -> Path:
    """A graph whose logits are its image, times a factor, with something added to each channel."""
    node = [
        helper.make_node("Mul", ["image", "factor"], ["scaled"]),
        helper.make_node("Add", ["scaled", "add"], ["logits"]),
    ]
    constants = [
        helper.make_tensor("factor", TensorProto.FLOAT, [], [factor]),
        helper.make_tensor("add", TensorProto.FLOAT, [3, 1, 1], add or [0, 0, 0]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("image", "logits")]
    graph = helper.make_graph(node, "g", values[:1], values[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), folder / "unet.onnx")
    return folder


def one_hot(labels: list[int]) -> np.ndarray:
    """Logits [1, 3, 1, 4] whose largest channels these are, by a margin of 1."""
    return np.eye(3, dtype=np.float32)[np.array(labels)].T[None, :, None, :]


def sample(labels: list[int], truth: list[int] | None = None, name: str = "case") -> WindowSample:
    return WindowSample(name, one_hot(labels), None if truth is None else np.array(truth, np.uint8)[None, None])


def climb(folder: Path, *samples: WindowSample) -> WindowLadder:
    """PyTorch's answers are the images themselves."""
    return climb_windows(folder, samples, [each.image for each in samples], LABELS)


def test_the_same_logits_pass_with_nothing_differing(tmp_path: Path) -> None:
    ladder = climb(artifact(tmp_path), sample([0, 1, 1, 2], [0, 1, 1, 2]))
    assert (ladder.gate, ladder.gate_reason, ladder.reason) == ("pass", None, None)
    assert (ladder.logit_max_error, ladder.voxels_differing) == (0, 0)
    assert (ladder.mask_dice, ladder.dice, ladder.dice_pytorch) == (1, 1, 1)
    assert (ladder.samples, ladder.windows) == (["case"], 1)


def test_dice_is_as_counted_by_hand(tmp_path: Path) -> None:
    """Spleen gets 2 more everywhere, so every voxel is spleen: liver is lost, spleen is one of four."""
    ladder = climb(artifact(tmp_path, add=[0, 0, 2]), sample([0, 1, 1, 2], [0, 1, 0, 2]))
    assert ladder.logit_max_error == 2
    assert ladder.voxels_differing == 0.75
    liver, spleen = ladder.labels["liver"], ladder.labels["spleen"]
    assert (liver.mask_dice, liver.dice) == (0, 0)
    assert liver.dice_pytorch == pytest.approx(2 * 1 / (2 + 1))
    assert spleen.mask_dice == pytest.approx(2 * 1 / (4 + 1))
    assert spleen.dice == pytest.approx(2 * 1 / (4 + 1))
    assert spleen.dice_pytorch == 1
    assert ladder.dice == pytest.approx(0.2)
    assert ladder.dice_pytorch == pytest.approx((2 / 3 + 1) / 2)
    assert ladder.gate == "fail"
    assert ladder.gate_reason == "Dice 0.2000 is below 99.9% of pytorch's 0.8333"


def test_a_network_that_finds_nothing_right_cannot_pass_by_losing_nothing(tmp_path: Path) -> None:
    """PyTorch's own Dice is 0: by Dice anything would pass, so the masks decide."""
    ladder = climb(artifact(tmp_path, add=[0, 0, 2]), sample([0, 1, 1, 2], [1, 2, 2, 1]))
    assert (ladder.dice_pytorch, ladder.gate) == (0, "fail")
    assert ladder.gate_reason == "its masks overlap pytorch's with Dice 0.2000, below 0.999"
    assert climb(artifact(tmp_path), sample([0, 1, 1, 2], [1, 2, 2, 1])).gate == "pass"


def test_a_label_counts_in_the_cases_where_it_stands(tmp_path: Path) -> None:
    """Where both sides are empty nothing was compared, and a mean with ones would hide the rest."""
    first, second = sample([0, 1, 0, 0], [0, 1, 0, 0], "a"), sample([0, 0, 0, 2], [0, 1, 0, 2], "b")
    ladder = climb(artifact(tmp_path), first, second)
    assert ladder.labels["spleen"].mask_dice == 1
    assert ladder.labels["liver"].dice_pytorch == pytest.approx((1 + 0) / 2)
    assert (ladder.samples, ladder.windows) == (["a", "b"], 2)


def test_without_reference_labels_the_masks_decide(tmp_path: Path) -> None:
    ladder = climb(artifact(tmp_path, add=[0, 0, 2]), sample([0, 1, 1, 2]))
    assert (ladder.dice, ladder.dice_pytorch) == (None, None)
    assert ladder.reason == "there are no reference labels on the network's grid"
    assert ladder.gate_reason == "its masks overlap pytorch's with Dice 0.2000, below 0.999"
    none_of_these = climb(artifact(tmp_path), sample([0, 1, 1, 2], [0, 0, 0, 0]))
    assert none_of_these.reason == "the reference labels of these windows are none of the network's"
    assert none_of_these.gate == "pass"


def test_windows_in_which_nothing_is_found_say_so(tmp_path: Path) -> None:
    ladder = climb(artifact(tmp_path), sample([0, 0, 0, 0]))
    assert (ladder.gate, ladder.mask_dice, ladder.reason) == ("pass", None, NOTHING_FOUND)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_answers_that_are_no_numbers_fail(factor: float, tmp_path: Path) -> None:
    ladder = climb(artifact(tmp_path, factor=factor), sample([0, 1, 1, 2], [0, 1, 1, 2]))
    assert (ladder.gate, ladder.gate_reason) == ("fail", "its answers hold NaN or infinity")
    assert ladder.logit_max_error is None
    assert WindowLadder.model_validate_json(ladder.model_dump_json()) == ladder  # JSON has no NaN


def test_a_manifest_tells_the_two_ladders_apart(tmp_path: Path) -> None:
    ladder = climb(artifact(tmp_path), sample([0, 1, 1, 2]))
    fields = {"model": "unet-2d", "weights": {"source": "random"}, "opset": 20, "precision": "fp32", "versions": {}}
    manifest = Manifest.model_validate({**fields, "settings": {}, "files": {}, "export_seconds": 1, "parity": ladder})
    assert Manifest.model_validate_json(manifest.model_dump_json()).parity == ladder
