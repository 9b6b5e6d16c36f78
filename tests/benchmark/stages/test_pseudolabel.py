"""From prompts to a label map over fake runners: batches, components, several masks, and where each mask lies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmark.data.slices import Slice
from benchmark.prompts import Click, Effort, Prompter, deepest_point, join, tight_box
from benchmark.stages.base import NotFiniteError, Unit
from benchmark.stages.batches import PROMPTS_PER_CALL, fastest
from benchmark.stages.pseudolabel import PseudolabelPipeline, units, with_click
from benchmark.stages.sam_input import SamInput
from tests.benchmark.stages.fake_runners import STRETCHED, TURNED, UPRIGHT, FakeDecoder, FakeEncoder, paint, pipeline

ORGANS = {1: "a", 4: "b"}
FITS = pytest.mark.parametrize("sam", [UPRIGHT, TURNED, STRETCHED], ids=["upright", "turned", "stretched"])


def piece(label: Any, index: int = 0) -> Slice:
    label = np.array(label, dtype=np.uint8)
    image = np.arange(label.size, dtype=np.float32).reshape(label.shape)
    return Slice("case", index, image, label, (1.0, 1.0))


def units_of(pieces: list[Slice], *strategies: str, labels: dict[int, str] = ORGANS, **settings: Any) -> list[Unit]:
    volume = np.stack([each.label.T for each in pieces], axis=-1)
    return list(units(pieces, Prompter.of(strategies, labels, **settings).case("case", volume)))


def unit_of(label: Any, *strategies: str, **settings: Any) -> Unit:
    (unit,) = units_of([piece(label)], *strategies, **settings)
    return unit


def two_organs() -> np.ndarray:
    label = np.zeros((8, 6), np.uint8)
    label[1:4, 0:3], label[5:8, 2:6] = 1, 4
    return label


def five_specks() -> np.ndarray:
    """Components of 6, 5, 4, 3 and 2 voxels, all boxes."""
    label = np.zeros((8, 8), np.uint8)
    label[0:2, 0:3], label[3, 0:5], label[5:7, 0:2], label[0, 5:8], label[6:8, 7] = 1, 1, 1, 1, 1
    return label


# Units of work.


def test_a_slice_without_anything_to_prompt_for_is_no_unit() -> None:
    label = two_organs()
    pieces = [piece(label, 0), piece(np.zeros_like(label), 1), piece(np.where(label == 4, 4, 0), 2)]
    made = units_of(pieces, "box", "point")
    assert [unit.slices[0].index for unit in made] == [0, 2]
    asked = {name: [given.value for given in prompts] for name, prompts in made[0].prompts.items()}
    assert asked == {"box": [1, 4], "point": [1, 4]}
    assert [given.value for given in made[1].prompts["box"]] == [4]


def test_a_unit_knows_how_often_each_strategy_corrects() -> None:
    unit = unit_of(two_organs(), "box", "iterative1", "iterative5")
    assert dict(unit.corrections) == {"box": 0, "iterative1": 0, "iterative5": 4}


# One embedding, many prompts.


@FITS
def test_masks_come_back_where_the_object_is(sam: SamInput) -> None:
    """With a decoder that fills its boxes the label map must be the reference: a turn too few or many would show."""
    outcome = pipeline(FakeDecoder(), sam).process(unit_of(two_organs(), "box"))
    assert outcome.labels["box"].shape == (1, 8, 6)
    np.testing.assert_array_equal(outcome.labels["box"][0], two_organs())


def test_one_embedding_serves_all_labels_and_strategies_and_stays_on_its_device() -> None:
    encoder, decoder = FakeEncoder(), FakeDecoder()
    unit = unit_of(two_organs(), "box", "box-margin1", "box+point")
    outcome = pipeline(decoder, encoder=encoder).process(unit)
    assert encoder.calls == 1
    assert decoder.sizes == [(2, 2), (2, 2), (2, 3)], "the labels of a strategy are decoded together"
    assert all(inputs["image_embeddings"] is encoder.embedding for inputs in decoder.inputs)
    assert not encoder.embedding.fetched
    assert set(outcome.labels) == {"box", "box-margin1", "box+point"}
    assert set(outcome.shared_ms) == {"preprocess", "encode"}
    for name in outcome.labels:
        assert list(outcome.phases(name)) == ["preprocess", "encode", "decode", "postprocess"]
        assert outcome.phases(name)["preprocess"] >= outcome.shared_ms["preprocess"]


@pytest.mark.parametrize(("strategy", "fetched"), [("box", False), ("iterative2", True)])
def test_low_resolution_logits_leave_the_device_for_corrections_alone(strategy: str, fetched: bool) -> None:
    decoder = FakeDecoder(paint if fetched else FakeDecoder().draw)
    pipeline(decoder).process(unit_of(two_organs(), strategy))
    assert all(outputs["masks"].fetched for outputs in decoder.outputs)
    assert decoder.outputs[0]["low_res_masks"].fetched is fetched


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_decoder_that_answers_with_no_number_fails_rather_than_labels(bad: float) -> None:
    with pytest.raises(NotFiniteError):
        pipeline(FakeDecoder(bad=bad)).process(unit_of(two_organs(), "box"))


# Batches.


@pytest.mark.parametrize(
    ("per_call", "sizes"),
    [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (16, [5])],
)
@FITS
def test_components_of_a_label_are_prompted_for_one_by_one_and_become_one_map_in_batches_of_any_size(
    per_call: int, sizes: list[int], sam: SamInput
) -> None:
    decoder = FakeDecoder()
    outcome = pipeline(decoder, sam, per_call).process(unit_of(five_specks(), "box", per="component"))
    assert decoder.sizes == [(size, 2) for size in sizes]
    np.testing.assert_array_equal(outcome.labels["box"][0], five_specks())
    assert outcome.effort == {"box": Effort(boxes=5)}
    whole = FakeDecoder()
    pipeline(whole, sam, per_call).process(unit_of(five_specks(), "box"))
    assert whole.sizes == [(1, 2)], "per object they have one box around them all"


def test_prompts_with_different_numbers_of_points_go_through_the_decoder_in_calls_of_their_own() -> None:
    """An object of one voxel takes one click whatever the strategy asks for, and has not to be padded to more."""
    label = np.zeros((8, 8), np.uint8)
    label[1, 1], label[4:7, 1:4], label[4:7, 5:8] = 1, 2, 3
    decoder = FakeDecoder(paint)
    unit = unit_of(label, "points3", labels={1: "speck", 2: "left", 3: "right"})
    outcome = pipeline(decoder).process(unit)
    assert sorted(decoder.sizes) == [(1, 2), (2, 4)], "the padding point is one more"
    assert outcome.effort == {"points3": Effort(clicks=1 + 3 + 3)}
    found = outcome.labels["points3"][0]
    for given in unit.prompts["points3"]:
        for x, y in np.floor(given.prompt.coords).astype(int):
            assert found[y, x] == given.value, "every mask has the value of its own prompt"


def test_a_pipeline_takes_its_backends_fastest_number_of_prompts_unless_it_is_told_one() -> None:
    class Known(FakeDecoder):
        backend = "onnxruntime"

    def per_call(decoder: FakeDecoder, asked: int | None) -> int:
        return pipeline(decoder, prompts_per_call=asked).prompts_per_call

    assert per_call(Known(), None) == PROMPTS_PER_CALL["onnxruntime", "cpu"]
    assert per_call(FakeDecoder(), None) == fastest("fake", "cpu")
    assert per_call(Known(), 3) == 3


# Several masks.


@FITS
def test_of_three_masks_each_prompt_gets_the_one_with_the_highest_predicted_iou(sam: SamInput) -> None:
    """The others say the opposite, so one wrong choice would show."""
    decoder = FakeDecoder(scores=[[0.2, 0.1, 0.9], [0.8, 0.7, 0.1]])
    outcome = pipeline(decoder, sam).process(unit_of(two_organs(), "box"))
    assert decoder.outputs[0]["masks"].shape[1] == 3
    np.testing.assert_array_equal(outcome.labels["box"][0], two_organs())


# Effort.


def test_what_a_person_did_is_added_up_over_the_objects_of_each_strategy() -> None:
    unit = unit_of(two_organs(), "box", "box+points2", "box-every2")
    outcome = pipeline(FakeDecoder()).process(unit)
    assert outcome.effort["box"] == Effort(boxes=2)
    assert outcome.effort["box+points2"] == Effort(clicks=4, boxes=2)
    assert outcome.effort["box-every2"] == Effort(boxes=2), "objects of one slice are drawn there"


# A click more.


def test_a_further_click_goes_after_the_clicks_and_before_the_box_as_sams_prompt_encoder_orders_them() -> None:
    mask = two_organs() == 1
    prompt = join(deepest_point(mask), tight_box(mask))
    more = with_click(prompt, Click(5.5, 6.5, 0))
    assert more.labels.tolist() == [1, 0, 2, 3]
    assert more.coords.tolist() == [[1.5, 2.5], [5.5, 6.5], [0, 1], [3, 4]]
    assert (more.coords.dtype, more.labels.dtype) == (np.float32, np.float32)
    assert more.effort == Effort(clicks=2, boxes=1)
    assert prompt.labels.tolist() == [1, 2, 3], "the prompt given is untouched"
    assert with_click(tight_box(mask), Click(1.5, 1.5, 1)).labels.tolist() == [1, 2, 3]


def test_a_slice_can_be_made_ready_by_another_thread_before_its_turn() -> None:
    """`prepare` runs no backend, so that a runner is used by one thread."""
    encoder, decoder = FakeEncoder(), FakeDecoder()
    made: PseudolabelPipeline = pipeline(decoder, encoder=encoder)
    prepared = made.prepare(unit_of(two_organs(), "box"))
    assert (encoder.calls, decoder.sizes) == (0, [])
    assert prepared.image.shape == (1, 3, 8, 8)
    outcome = made.finish(prepared)
    assert outcome.shared_ms["preprocess"] > 0
    np.testing.assert_array_equal(outcome.labels["box"][0], two_organs())
