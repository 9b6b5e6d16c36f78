"""From a slice to SAM's label map: geometry by hand, the official transforms, and both backends on a real slice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.data.slices import Slice
from benchmark.lanes import LaneSettings, module_source, open_lanes
from benchmark.metrics import dice_per_label
from benchmark.prompts import Prompt, deepest_point, tight_box
from benchmark.results import LaneKey
from benchmark.stages.base import NotFiniteError
from benchmark.stages.pseudolabel import (
    PseudolabelPipeline,
    SamInput,
    decoder_inputs,
    half_turn,
    label_map,
    preprocess,
    resized,
    units,
)
from runners.base import DeviceTensor

UPRIGHT = SamInput(image_size=8, grid=2, normalisation="minmax", half_turn=False)
TURNED = SamInput(image_size=8, grid=2, normalisation="minmax", half_turn=True)
STRETCHED = SamInput(image_size=8, grid=2, normalisation="minmax", half_turn=True, fit="stretch")
LITEMEDSAM = SamInput(image_size=256, grid=64, normalisation="minmax", half_turn=True)


def piece(image: Any, label: Any = None, index: int = 0) -> Slice:
    image = np.array(image, dtype=np.float32)
    label = np.zeros(image.shape, np.uint8) if label is None else np.array(label, dtype=np.uint8)
    return Slice("case", index, image, label, (1.0, 1.0))


def box(x0: float, y0: float, x1: float, y1: float) -> Prompt:
    return Prompt(np.array([[x0, y0], [x1, y1]], np.float32), np.array([2, 3], np.float32))


# Geometry.


@settings(max_examples=300, deadline=None)
@given(height=st.integers(1, 1200), width=st.integers(1, 1200), side=st.sampled_from([256, 1024]))
def test_the_resized_shape_is_that_of_the_official_transform(height: int, width: int, side: int) -> None:
    from segment_anything.utils.transforms import ResizeLongestSide

    assert resized(height, width, side) == ResizeLongestSide.get_preprocess_shape(height, width, side)


def test_a_slice_is_scaled_to_0_and_1_and_padded_below_and_to_the_right() -> None:
    image = np.arange(8 * 4, dtype=np.float32).reshape(8, 4) + 100
    prepared = preprocess(image, UPRIGHT)
    assert (prepared.shape, prepared.dtype) == ((1, 3, 8, 8), np.float32)
    assert prepared.flags["C_CONTIGUOUS"]
    for channel in prepared[0]:
        np.testing.assert_allclose(channel[:, :4], (image - 100) / 31, atol=1e-6)
        assert not channel[:, 4:].any(), "padding is 0, not the scaled 0"
    wide = preprocess(np.ascontiguousarray(image.T), UPRIGHT)[0, 0]
    np.testing.assert_allclose(wide[:4], (image.T - 100) / 31, atol=1e-6)
    assert not wide[4:].any()


def test_a_half_turn_turns_the_slice_and_not_the_padding() -> None:
    image = np.arange(8 * 4, dtype=np.float32).reshape(8, 4)
    prepared = preprocess(image, TURNED)[0, 0]
    np.testing.assert_allclose(prepared[:, :4], image[::-1, ::-1] / 31, atol=1e-6)
    assert not prepared[:, 4:].any()


def test_shrinking_averages_as_antialiased_interpolation_does() -> None:
    """Halving with antialiasing weighs four source pixels by 1, 3, 3, 1 eighths; without it, only the middle two."""
    weights = np.zeros((8, 18))
    for row in range(8):
        weights[row, 2 * row : 2 * row + 4] = (1, 3, 3, 1)
    weights = weights[:, 1:-1]  # what lies outside has no weight
    weights /= weights.sum(axis=1, keepdims=True)
    image = np.random.default_rng(0).uniform(0, 255, (16, 16)).astype(np.float32)
    small = weights @ image @ weights.T
    expected = (small - small.min()) / (small.max() - small.min())
    np.testing.assert_allclose(preprocess(image, UPRIGHT)[0, 0], expected, atol=1e-5)


def test_a_constant_slice_becomes_zeros_and_not_nan() -> None:
    assert not preprocess(np.full((5, 7), 80, np.float32), UPRIGHT).any()


def test_an_unknown_normalisation_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown normalisation 'zscore'"):
        preprocess(np.zeros((4, 4), np.float32), SamInput(8, 2, "zscore", half_turn=False))


def test_sams_own_normalisation_differs_by_channel_and_pads_with_zeros() -> None:
    """(80 − 123.675) / 58.395 and so on, as `Sam.preprocess` does."""
    sam = SamInput(8, 2, "imagenet", half_turn=False)
    prepared = preprocess(np.full((8, 4), 80, np.float32), sam)
    for channel, value in zip(prepared[0], (-0.747924, -0.635154, -0.410109), strict=True):
        np.testing.assert_allclose(channel[:, :4], value, atol=1e-5)
        assert not channel[:, 4:].any()


def test_a_stretched_slice_fills_the_square_and_its_prompts_move_by_axis() -> None:
    """As MedSAM's own code: `box / [W, H, W, H] * 1024`, whatever the proportions."""
    image = np.tile(np.linspace(0, 31, 4, dtype=np.float32), (8, 1))
    assert preprocess(image, STRETCHED)[0, 0].min(axis=0).argmax() == 0, "it lies turned"
    assert (preprocess(image, STRETCHED)[0, 0][:, 0] == 1).all(), "no padding"
    upright = SamInput(8, 2, "minmax", half_turn=False, fit="stretch")
    inputs = decoder_inputs([box(1, 2, 3, 6)], (8, 4), np.zeros(1, np.float32), upright)
    assert inputs["point_coords"].tolist() == [[[1.5, 1.5], [5.5, 5.5]]]
    assert inputs["orig_im_size"].tolist() == [8, 8], "the low-resolution side: the decoder's own masks are not used"


def test_prompts_move_to_the_resized_square_and_to_pixel_centres() -> None:
    """A 16 × 8 slice halves to 8 × 4; an edge at x lies at x / 2, and SAM counts from the first pixel's centre."""
    embedding = np.zeros((1, 256, 2, 2), np.float32)
    inputs = decoder_inputs([box(2, 4, 6, 10), box(0, 0, 8, 16)], (16, 8), embedding, UPRIGHT)
    assert inputs["image_embeddings"] is embedding
    assert inputs["point_coords"].tolist() == [[[0.5, 1.5], [2.5, 4.5]], [[-0.5, -0.5], [3.5, 7.5]]]
    assert inputs["point_labels"].tolist() == [[2, 3], [2, 3]]
    assert inputs["orig_im_size"].tolist() == [16, 8]
    assert inputs["has_mask_input"].tolist() == [0]
    assert inputs["mask_input"].shape == (2, 1, 8, 8)
    assert {value.dtype for value in inputs.values()} == {np.dtype(np.float32)}


def test_the_middle_of_a_pixel_lands_on_that_pixel_where_nothing_is_resized() -> None:
    point = Prompt(np.array([[3.5, 2.5], [0, 0]], np.float32), np.array([1, -1], np.float32))
    inputs = decoder_inputs([point], (8, 8), np.zeros(1, np.float32), UPRIGHT)
    assert inputs["point_coords"][0, 0].tolist() == [3, 2]  # column 3, row 2, as SamPredictor counts


def test_prompts_turn_with_the_slice() -> None:
    inputs = decoder_inputs([box(2, 4, 6, 10)], (16, 8), np.zeros(1, np.float32), TURNED)
    # Turned: x from 8 − 6 to 8 − 2, y from 16 − 10 to 16 − 4; halved; half a pixel off.
    assert inputs["point_coords"].tolist() == [[[0.5, 2.5], [2.5, 5.5]]]
    assert inputs["point_labels"].tolist() == [[2, 3]]


MASKS = st.tuples(st.integers(2, 20), st.integers(2, 20), st.integers(0, 2**32 - 1))


def random_mask(height: int, width: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) < 0.2
    mask[rng.integers(height), rng.integers(width)] = True
    return mask


@settings(max_examples=100, deadline=None)
@given(given_mask=MASKS)
def test_a_turned_box_is_the_box_of_the_turned_mask_and_turning_twice_changes_nothing(
    given_mask: tuple[int, int, int],
) -> None:
    mask = random_mask(*given_mask)
    prompt = tight_box(mask)
    turned = half_turn(prompt, mask.shape)
    np.testing.assert_array_equal(turned.coords, tight_box(mask[::-1, ::-1]).coords)
    assert (turned.coords[0] < turned.coords[1]).all(), "the first corner is again the smaller"
    np.testing.assert_array_equal(half_turn(turned, mask.shape).coords, prompt.coords)
    np.testing.assert_array_equal(turned.labels, prompt.labels)


@settings(max_examples=100, deadline=None)
@given(given_mask=MASKS)
def test_a_turned_point_is_still_on_its_object_and_the_prompt_given_is_untouched(
    given_mask: tuple[int, int, int],
) -> None:
    mask = random_mask(*given_mask)
    prompt = deepest_point(mask)
    before = prompt.coords.copy()
    x, y = half_turn(prompt, mask.shape).coords[0]
    assert mask[::-1, ::-1][int(y), int(x)]
    np.testing.assert_array_equal(prompt.coords, before)


# Masks into one map.


def test_a_voxel_goes_to_the_highest_logit_and_to_the_background_where_none_is_above_0() -> None:
    first = np.array([[3.0, -1.0, 0.0, 2.0], [0.1, -5.0, -0.1, 9.0]], np.float32)
    second = np.array([[2.0, -2.0, 0.0, 4.0], [-9.0, 1e-6, -0.2, 9.5]], np.float32)
    found = label_map(np.stack([first, second]), [7, 3])
    assert found.dtype == np.uint8
    assert found.tolist() == [[7, 0, 0, 3], [7, 3, 0, 3]]


# Units of work.


def test_units_hold_a_prompt_for_every_label_that_is_there_with_enough_pixels() -> None:
    label = np.zeros((6, 6), np.uint8)
    label[0:2, 0:3] = 1  # six pixels
    label[4, 4:6] = 2  # two pixels
    label[5, 0] = 9  # not asked for
    pieces = [
        piece(np.zeros((6, 6)), label, 0),
        piece(np.zeros((6, 6)), None, 1),
        piece(np.zeros((6, 6)), label * 2, 2),
    ]
    made = list(units(pieces, {1: "a", 2: "b"}, ["box", "point"], min_pixels=3))
    assert [unit.slices[0].index for unit in made] == [0, 2], "a slice without objects gets no prompt"
    assert {name: list(prompts) for name, prompts in made[0].prompts.items()} == {"box": [1], "point": [1]}
    assert list(made[1].prompts["box"]) == [2]  # 1 became 2, 2 became 4
    assert made[0].prompts["box"][1].coords.tolist() == [[0, 0], [3, 2]]
    both = list(units(pieces[:1], {1: "a", 2: "b"}, ["box"], min_pixels=2))
    assert list(both[0].prompts["box"]) == [1, 2]
    assert list(units(pieces[:1], {1: "a"}, ["box"], min_pixels=7)) == []


# The pipeline over fake runners.


class Given(DeviceTensor):
    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> str:
        return str(self.array.dtype)

    def numpy(self) -> np.ndarray:
        return self.array


class FakeEncoder:
    def __init__(self) -> None:
        self.calls = 0
        self.embedding = Given(np.zeros((1, 256, 2, 2), np.float32))

    def run(self, inputs: Mapping[str, Any]) -> dict[str, DeviceTensor]:
        self.calls += 1
        return {"image_embeddings": self.embedding}


class FakeDecoder:
    """Answers each box prompt with a mask that fills it, on the slice's grid as the decoder was shown it."""

    def __init__(self, bad: float | None = None) -> None:
        self.inputs: list[Mapping[str, Any]] = []
        self.bad = bad

    def run(self, inputs: Mapping[str, Any]) -> dict[str, DeviceTensor]:
        self.inputs.append(inputs)
        height, width = (int(side) for side in inputs["orig_im_size"])
        scale = 8 / max(height, width)
        masks = np.full((len(inputs["point_coords"]), 1, height, width), -1, np.float32)
        for mask, coords in zip(masks, inputs["point_coords"], strict=True):
            (x0, y0), (x1, y1) = np.rint((coords + 0.5) / scale).astype(int)
            mask[0, y0:y1, x0:x1] = 1
        if self.bad is not None:
            masks[-1, 0, 0, 0] = self.bad
        return {"masks": Given(masks), "low_res_masks": Given(masks)}


def two_organs() -> Slice:
    label = np.zeros((8, 6), np.uint8)
    label[1:4, 0:3], label[5:8, 2:6] = 1, 4
    return piece(np.arange(48).reshape(8, 6), label)


@pytest.mark.parametrize("sam", [UPRIGHT, TURNED, STRETCHED], ids=["upright", "turned", "stretched"])
def test_masks_come_back_where_the_object_is(sam: SamInput) -> None:
    """With a decoder that fills its boxes the label map must be the reference: a turn too few or many would show."""
    (unit,) = units([two_organs()], {1: "a", 4: "b"}, ["box"], 1)
    outcome = PseudolabelPipeline(FakeEncoder(), FakeDecoder(), sam).process(unit)  # type: ignore[arg-type]
    assert outcome.labels["box"].shape == (1, 8, 6)
    np.testing.assert_array_equal(outcome.labels["box"][0], unit.slices[0].label)


def test_one_embedding_serves_all_labels_and_strategies_and_stays_on_its_device() -> None:
    encoder, decoder = FakeEncoder(), FakeDecoder()
    (unit,) = units([two_organs()], {1: "a", 4: "b"}, ["box"], 1)
    unit = type(unit)(unit.slices, dict.fromkeys(("box", "again", "third"), unit.prompts["box"]))
    outcome = PseudolabelPipeline(encoder, decoder, UPRIGHT).process(unit)  # type: ignore[arg-type]
    assert encoder.calls == 1
    assert len(decoder.inputs) == 3, "the labels of a strategy are decoded together"
    assert all(inputs["image_embeddings"] is encoder.embedding for inputs in decoder.inputs)
    assert set(outcome.labels) == {"box", "again", "third"}
    assert set(outcome.shared_ms) == {"preprocess", "encode"}
    for name in outcome.labels:
        assert list(outcome.phases(name)) == ["preprocess", "encode", "decode", "postprocess"]
        assert outcome.phases(name)["preprocess"] >= outcome.shared_ms["preprocess"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_decoder_that_answers_with_no_number_fails_rather_than_labels(bad: float) -> None:
    (unit,) = units([two_organs()], {1: "a", 4: "b"}, ["box"], 1)
    with pytest.raises(NotFiniteError):
        PseudolabelPipeline(FakeEncoder(), FakeDecoder(bad), UPRIGHT).process(unit)  # type: ignore[arg-type]


# LiteMedSAM on a real slice.


@pytest.fixture(scope="module")
def organs(abdomen_slice: Slice) -> dict[int, str]:
    """The three largest of the slice and the smallest."""
    values, counts = np.unique(abdomen_slice.label[abdomen_slice.label > 0], return_counts=True)
    by_size = values[np.argsort(counts)]
    return {int(value): f"organ {value}" for value in sorted({*by_size[-3:], by_size[0]})}


@pytest.mark.slow
def test_both_backends_label_a_real_slice_alike_and_as_the_official_predictor_does(
    abdomen_slice: Slice, organs: dict[int, str], litemedsam: Any, official_sam: Any, encoder_folder: Path,
    decoder_folder: Path,
) -> None:  # fmt: skip
    """Official predictor: one label at a time, its own transform of points and boxes, its own padding and resizing."""
    parts = [module_source(litemedsam.encoder, encoder_folder), module_source(litemedsam.decoder, decoder_folder)]
    sources = {"fp32": parts}
    (unit,) = units([abdomen_slice], organs, ["box", "point"], 5)
    lane_settings = LaneSettings((LaneKey("pytorch"), LaneKey("onnxruntime")), "cpu", torch.get_num_threads())
    with open_lanes(lane_settings, sources, lambda pair: PseudolabelPipeline(pair[0], pair[1], LITEMEDSAM)) as lanes:
        found = {backend: lane.process(unit).labels for backend, lane in lanes.items()}
        assert lanes["onnxruntime"].attestation["decoder"].providers == ["CPUExecutionProvider"]
        assert all(lane.first_call_ms and lane.load_ms > 0 for lane in lanes.values())
    prompted = {value: organs[value] for value in unit.prompts["box"]}
    for strategy in ("box", "point"):
        parity = dice_per_label(found["onnxruntime"][strategy], found["pytorch"][strategy], prompted)
        assert all(score is None or score >= 0.999 for score in parity.values()), parity
        official = _official_label_map(abdomen_slice, list(prompted), strategy, litemedsam, official_sam)
        same = dice_per_label(found["pytorch"][strategy][0], official, prompted)
        assert all(score is None or score >= 0.999 for score in same.values()), same
    accuracy = dice_per_label(found["pytorch"]["box"][0], abdomen_slice.label, prompted)
    scores = [score for score in accuracy.values() if score is not None]
    assert np.mean(scores) > 0.6, f"boxes around organs give masks of organs: {accuracy}"


def _official_label_map(
    shown: Slice, values: list[int], strategy: str, litemedsam: Any, official_sam: Any
) -> np.ndarray:
    from segment_anything import SamPredictor

    image, label = shown.image[::-1, ::-1].copy(), shown.label[::-1, ::-1]
    predictor = SamPredictor(official_sam)
    size = predictor.transform.get_preprocess_shape(*image.shape, 256)
    small = torch.nn.functional.interpolate(torch.from_numpy(image)[None, None], size, mode="bilinear", antialias=True)
    small = (small - small.min()) / (small.max() - small.min())
    square = torch.zeros(1, 3, 256, 256)
    square[..., : size[0], : size[1]] = small
    with torch.inference_mode():
        official_sam.image_encoder.embedding = litemedsam.encoder.module(square)
    predictor.set_torch_image(torch.zeros(1, 3, *size), image.shape)
    logits = []
    for value in values:
        # Pixel edges become SAM's coordinates by the half pixel its prompt encoder adds back, after resizing.
        prompt = tight_box(label == value) if strategy == "box" else deepest_point(shown.label == value)
        coords = prompt.coords.astype(np.float64)
        if strategy == "point":
            coords = np.array([image.shape[1], image.shape[0]]) - coords[:1]
        coords = torch.from_numpy(predictor.transform.apply_coords(coords, image.shape)).float() - 0.5
        point, corners = (coords[None], None) if strategy == "point" else (None, coords.reshape(1, 4))
        labels = torch.ones(1, 1) if strategy == "point" else None
        logits.append(predictor.predict_torch(point, labels, corners, multimask_output=False, return_logits=True)[0])
    stacked = torch.cat(logits)[:, 0].numpy()
    merged = np.zeros(image.shape, np.uint8)
    highest = np.zeros(image.shape, np.float32)
    for value, mask in zip(values, stacked, strict=True):  # a plain loop: paint where higher than all before and than 0
        merged[mask > highest] = value
        highest = np.maximum(highest, mask)
    return merged[::-1, ::-1]
