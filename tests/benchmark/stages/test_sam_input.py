"""What SAM is shown: geometry by hand and against the official transforms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.prompts import Effort, Prompt, deepest_point, join, tight_box
from benchmark.prompts.boxes import box_prompt
from benchmark.prompts.points import clicks
from benchmark.stages.sam_input import SamInput, decoder_inputs, half_turn, padded, preprocess, resized
from tests.benchmark.stages.fake_runners import STRETCHED, TURNED, UPRIGHT


def box(x0: float, y0: float, x1: float, y1: float) -> Prompt:
    return box_prompt((x0, y0, x1, y1))


NOTHING = np.zeros(1, np.float32)


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
    inputs = decoder_inputs([box(1, 2, 3, 6)], (8, 4), NOTHING, upright)
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
    assert inputs["mask_input"].shape == (1, 1, 8, 8), "none, once for all prompts"
    assert {value.dtype for value in inputs.values()} == {np.dtype(np.float32)}


def test_the_middle_of_a_pixel_lands_on_that_pixel_where_nothing_is_resized() -> None:
    inputs = decoder_inputs([clicks([(2, 3)], 1)], (8, 8), NOTHING, UPRIGHT)
    assert inputs["point_coords"][0, 0].tolist() == [3, 2]  # column 3, row 2, as SamPredictor counts


def test_prompts_turn_with_the_slice() -> None:
    inputs = decoder_inputs([box(2, 4, 6, 10)], (16, 8), NOTHING, TURNED)
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


# Padding.


def test_a_prompt_without_a_box_gets_the_padding_point_that_pytorchs_predictor_adds() -> None:
    prompt = join(clicks([(2, 3)], 1), clicks([(5, 1)], 0))
    inputs = decoder_inputs([prompt, prompt], (8, 8), NOTHING, UPRIGHT)
    assert inputs["point_labels"].tolist() == [[1, 0, -1]] * 2
    assert inputs["point_coords"].shape == (2, 3, 2)
    assert prompt.labels.tolist() == [1, 0], "the prompt given is untouched: padding is no click of a person"
    assert padded(prompt).effort == prompt.effort == Effort(clicks=2)


def test_a_box_is_not_padded_with_or_without_clicks_because_pytorch_does_not_pad_it() -> None:
    for prompt in (box(1, 2, 3, 4), join(clicks([(2, 3)], 1), box(1, 2, 3, 4))):
        assert padded(prompt) is prompt


@pytest.mark.parametrize("sam", [UPRIGHT, TURNED, STRETCHED], ids=["upright", "turned", "stretched"])
def test_the_padding_point_lies_where_the_official_predictor_puts_it_whatever_turn_or_stretch(sam: SamInput) -> None:
    """Its coordinates do not count (`PromptEncoder._embed_points`), but a far point would be a strange input."""
    inputs = decoder_inputs([clicks([(2, 3)], 1)], (8, 4), NOTHING, sam)
    assert inputs["point_coords"][0, 1].tolist() == [-0.5, -0.5]


# Mask prompts.


def test_logits_of_an_earlier_pass_go_back_as_they_came_and_are_counted() -> None:
    """They are on the decoder's own grid, so no turn and no scale concerns them."""
    low_res = np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)
    inputs = decoder_inputs([clicks([(2, 3)], 1)] * 2, (8, 4), NOTHING, TURNED, low_res)
    np.testing.assert_array_equal(inputs["mask_input"], low_res)
    assert inputs["has_mask_input"].tolist() == [1]
    assert {value.dtype for value in inputs.values()} == {np.dtype(np.float32)}
