"""Clicks after SAM's answer: seen as displayed, fed back as logits, counted, and no more than needed.

The decoder is a brush: a positive click paints the 3 × 3 voxels around it, a negative one erases them.
"""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.prompts import Effort
from benchmark.stages.base import Outcome
from benchmark.stages.sam_input import SamInput
from tests.benchmark.stages.fake_runners import TURNED, UPRIGHT, FakeDecoder, paint, pipeline
from tests.benchmark.stages.test_pseudolabel import unit_of

ONE_CLICK, TWO_CLICKS, NEVER = 1, 2, 3
NAMES = {ONE_CLICK: "square", TWO_CLICKS: "two squares", NEVER: "voxel"}

TURNS = pytest.mark.parametrize("sam", [UPRIGHT, TURNED], ids=["upright", "turned"])


def drawn(*values: int) -> np.ndarray:
    """Objects of which the brush gets one right with the first click, one with the second, and one never."""
    label = np.zeros((8, 8), np.uint8)
    if ONE_CLICK in values:
        label[0:3, 5:8] = ONE_CLICK
    if TWO_CLICKS in values:
        label[0:3, 0:3] = label[4:7, 1:4] = TWO_CLICKS
    if NEVER in values:
        label[6, 6] = NEVER
    return label


def run(decoder: FakeDecoder, label: np.ndarray, clicks: int, sam: SamInput, per_call: int = 16) -> Outcome:
    return pipeline(decoder, sam, per_call).process(unit_of(label, f"iterative{clicks}", labels=NAMES))


@TURNS
def test_a_click_is_set_where_the_mask_as_displayed_is_wrong(sam: SamInput) -> None:
    """Had the mask not been turned back, the second click would lie elsewhere and the object never become right."""
    decoder = FakeDecoder(paint)
    outcome = run(decoder, drawn(TWO_CLICKS), 2, sam)
    np.testing.assert_array_equal(outcome.labels["iterative2"][0], drawn(TWO_CLICKS))
    clicks = decoder.inputs[1]["point_coords"][0, :2] + 0.5
    if sam.half_turn:
        clicks = 8 - clicks
    assert clicks.tolist() == [[1.5, 1.5], [2.5, 5.5]]
    assert decoder.inputs[1]["point_labels"].tolist() == [[1, 1, -1]]
    assert outcome.effort == {"iterative2": Effort(clicks=2)}


@TURNS
def test_the_logits_of_the_chosen_mask_are_fed_back(sam: SamInput) -> None:
    decoder = FakeDecoder(paint, scores=[[0.1, 0.9, 0.2], [0.3, 0.2, 0.1]])
    outcome = run(decoder, drawn(TWO_CLICKS), 2, sam)
    first, second = decoder.inputs
    assert first["has_mask_input"].tolist() == [0]
    assert not first["mask_input"].any()
    assert second["has_mask_input"].tolist() == [1]
    np.testing.assert_array_equal(second["mask_input"], decoder.outputs[0]["low_res_masks"].array[:, 1:2])
    np.testing.assert_array_equal(outcome.labels["iterative2"][0], drawn(TWO_CLICKS))


def test_the_next_click_starts_from_the_last_answer_and_not_from_the_first() -> None:
    decoder = FakeDecoder(paint)
    run(decoder, drawn(NEVER), 4, TURNED)
    assert decoder.sizes == [(1, 2), (1, 3), (1, 4), (1, 5)]
    for inputs, before in zip(decoder.inputs[1:], decoder.outputs, strict=False):
        np.testing.assert_array_equal(inputs["mask_input"], before["low_res_masks"].array)
    assert any(0 in inputs["point_labels"] for inputs in decoder.inputs), "what is too much is clicked away"


@TURNS
def test_an_object_that_is_right_gets_no_further_click_and_keeps_its_mask(sam: SamInput) -> None:
    decoder = FakeDecoder(paint)
    label = drawn(ONE_CLICK, TWO_CLICKS, NEVER)
    outcome = run(decoder, label, 5, sam)
    assert [prompts for prompts, _ in decoder.sizes] == [3, 2, 1, 1, 1]
    found = outcome.labels["iterative5"][0]
    for value in (ONE_CLICK, TWO_CLICKS):
        np.testing.assert_array_equal(found == value, label == value)
    assert outcome.effort == {"iterative5": Effort(clicks=1 + 2 + 5)}


def test_the_logits_fed_back_are_those_of_the_objects_that_are_still_wrong() -> None:
    decoder = FakeDecoder(paint)
    run(decoder, drawn(ONE_CLICK, TWO_CLICKS, NEVER), 3, TURNED)
    first = decoder.outputs[0]["low_res_masks"].array
    np.testing.assert_array_equal(decoder.inputs[1]["mask_input"], first[1:])
    np.testing.assert_array_equal(decoder.inputs[2]["mask_input"], decoder.outputs[1]["low_res_masks"].array[1:])


def test_nothing_is_decoded_again_once_every_object_is_right() -> None:
    decoder = FakeDecoder(paint)
    outcome = run(decoder, drawn(ONE_CLICK, TWO_CLICKS), 9, UPRIGHT)
    assert decoder.sizes == [(2, 2), (1, 3)]
    assert outcome.effort == {"iterative9": Effort(clicks=3)}


@pytest.mark.parametrize("per_call", [1, 2, 3])
def test_corrections_are_the_same_in_batches_of_any_size(per_call: int) -> None:
    label = drawn(ONE_CLICK, TWO_CLICKS, NEVER)
    together = run(FakeDecoder(paint), label, 4, TURNED)
    outcome = run(FakeDecoder(paint), label, 4, TURNED, per_call)
    np.testing.assert_array_equal(outcome.labels["iterative4"], together.labels["iterative4"])
    assert outcome.effort == together.effort


def test_one_click_is_the_strategy_point() -> None:
    decoder = FakeDecoder(paint)
    unit = unit_of(drawn(ONE_CLICK, TWO_CLICKS), "point", "iterative1", labels=NAMES)
    outcome = pipeline(decoder, TURNED).process(unit)
    assert len(decoder.sizes) == 2
    np.testing.assert_array_equal(outcome.labels["point"], outcome.labels["iterative1"])
    assert outcome.effort["point"] == outcome.effort["iterative1"] == Effort(clicks=2)
