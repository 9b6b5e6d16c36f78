"""The decoder written anew for the graph computes what Meta's computes, with half the arithmetic."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

pytest.importorskip("segment_anything", reason="the official implementation is not installed")
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer

from exporters.sam_modules import Masks, SamDecoder
from exporters.sam_networks import randomise
from exporters.two_way import GraphDecoder, GraphMaskDecoder, faster_decoder

CHANNELS, GRID, SIDE = 64, 8, 32
"""Of a small decoder: four heads with 8 channels each, where the official has eight with 16."""

MASKS: tuple[Masks, ...] = ("one", "three", "all")
CLOSE = 1e-4
"""Of the largest number."""

PROMPTS = [(1, 2, False), (3, 2, True), (2, 5, True), (16, 2, False), (1, 12, False)]
"""P, N, with a mask prompt. Twelve points are more tokens than the rewrite is good for."""


@cache
def small(masks: Masks = "one", depth: int = 2) -> SamDecoder:
    torch.manual_seed(0)
    prompt_encoder = PromptEncoder(CHANNELS, (GRID, GRID), (SIDE, SIDE), mask_in_chans=4)
    transformer = TwoWayTransformer(depth=depth, embedding_dim=CHANNELS, mlp_dim=96, num_heads=4)
    mask_decoder = MaskDecoder(transformer_dim=CHANNELS, transformer=transformer, iou_head_hidden_dim=32)
    for seed, part in enumerate((prompt_encoder, mask_decoder)):
        randomise(part, seed)
    strengthen(mask_decoder)
    return SamDecoder(prompt_encoder, mask_decoder, SIDE, masks).eval().requires_grad_(False)


def strengthen(mask_decoder: Any) -> None:
    """Attention of trained weights is far from even, and where biases are about 0 a wrong one would hardly show."""
    with torch.no_grad():
        for name, parameter in mask_decoder.named_parameters():
            if "attn" in name and name.endswith("bias"):
                parameter.mul_(50)
            elif name.endswith(("q_proj.weight", "k_proj.weight")):
                parameter.mul_(4)


def feed(prompts: int, points: int, with_mask: bool, grid: int = GRID, channels: int = CHANNELS) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(prompts + 100 * points)
    kinds = [2.0, 3.0, 1.0, 0.0, -1.0]

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    return {
        "image_embeddings": 2 * random(1, channels, grid, grid),
        "point_coords": 4 * grid * torch.rand((prompts, points, 2), generator=generator),
        "point_labels": torch.tensor([(kinds * points)[:points]] * prompts),
        "mask_input": 3 * random(prompts, 1, 4 * grid, 4 * grid),
        "has_mask_input": torch.full((1,), float(with_mask)),
        "orig_im_size": torch.tensor([23.0, 31.0]),
    }


def run(decoder: SamDecoder, given_feed: dict[str, Any]) -> tuple[torch.Tensor, ...]:
    with torch.inference_mode():
        return decoder(**given_feed)


def assert_same(decoder: SamDecoder, given_feed: dict[str, Any]) -> None:
    for ours, theirs in zip(run(faster_decoder(decoder), given_feed), run(decoder, given_feed), strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= CLOSE * theirs.abs().max()


# The same function.


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize(("prompts", "points", "with_mask"), PROMPTS)
def test_masks_and_scores_are_those_of_the_official_decoder(
    masks: Masks, prompts: int, points: int, with_mask: bool
) -> None:
    decoder = small(masks)
    assert isinstance(faster_decoder(decoder), GraphDecoder)
    assert_same(decoder, feed(prompts, points, with_mask))


@settings(max_examples=40, deadline=None)
@given(prompts=st.integers(1, 5), points=st.integers(1, 8), with_mask=st.booleans(), masks=st.sampled_from(MASKS))
def test_in_double_precision_nothing_is_left_of_the_difference_whatever_the_prompts(
    prompts: int, points: int, with_mask: bool, masks: Masks
) -> None:
    """So it is rounding alone: a wrong term as small as fp32's noise would show here."""
    given_feed = {name: value.double() for name, value in feed(prompts, points, with_mask).items()}
    official, faster = (run(each, given_feed) for each in in_double(masks))
    for ours, theirs in zip(faster, official, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=1e-10)


@cache
def in_double(masks: Masks) -> tuple[SamDecoder, SamDecoder]:
    """Without the resize to the slice, whose matrices are fp32 in both."""
    pair = tuple(copy.deepcopy(decoder).double() for decoder in (small(masks), faster_decoder(small(masks))))
    for decoder in pair:
        decoder._to_original_size = lambda low_res, size: low_res  # type: ignore[method-assign]
    return pair[0], pair[1]


@pytest.mark.parametrize("depth", [1, 3])
def test_a_transformer_of_another_depth_is_rewritten_too(depth: int) -> None:
    """The first layer is special: its queries have no positions."""
    assert_same(small(depth=depth), feed(2, 3, True))


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize(("prompts", "points", "with_mask"), [(1, 2, False), (3, 4, True)])
def test_litemedsams_own_weights_give_the_same_masks(
    masks: Masks, prompts: int, points: int, with_mask: bool, litemedsam: Any
) -> None:
    own = litemedsam.decoder.module
    decoder = SamDecoder(own.prompt_encoder, own.mask_decoder, own.image_size, masks).eval()
    assert_same(decoder, feed(prompts, points, with_mask, grid=64, channels=256))


@pytest.mark.parametrize(
    "left_out",
    [
        "cross_attn_token_to_image.q_proj.bias", "cross_attn_token_to_image.v_proj.bias",
        "cross_attn_image_to_token.q_proj.bias", "cross_attn_image_to_token.v_proj.bias",
        "cross_attn_image_to_token.out_proj.bias", "final_attn_token_to_image.v_proj.bias",
        "output_upscaling.0.bias", "output_upscaling.1.weight", "output_upscaling.3.bias",
    ],
)  # fmt: skip
def test_every_part_that_is_rewritten_matters_so_that_the_comparison_is_not_vacuous(left_out: str) -> None:
    decoder, without = small(), copy.deepcopy(small())
    with torch.no_grad():
        for name, parameter in without.named_parameters():
            if name.endswith(left_out):
                parameter.zero_()
    given_feed = feed(2, 3, True)
    expected = run(decoder, given_feed)[2]
    assert (run(without, given_feed)[2] - expected).abs().max() > 5 * CLOSE * expected.abs().max()
    assert_same(without, given_feed)


def test_the_keys_bias_is_left_out_because_softmax_does_not_see_it() -> None:
    without = copy.deepcopy(small())
    with torch.no_grad():
        for name, parameter in without.named_parameters():
            if name.endswith("k_proj.bias"):
                parameter.zero_()
    given_feed = feed(2, 3, True)
    torch.testing.assert_close(run(without, given_feed)[2], run(small(), given_feed)[2], atol=1e-4, rtol=1e-4)


def test_an_upscaling_without_a_bias_is_rewritten_too() -> None:
    decoder = copy.deepcopy(small())
    decoder.mask_decoder.output_upscaling[3].bias = None
    assert_same(decoder, feed(2, 3, True))


# What is left alone.


def test_the_original_stays_as_it_was_and_its_weights_are_shared() -> None:
    decoder = small()
    before, answer = copy.deepcopy(decoder.state_dict()), run(decoder, feed(2, 3, True))
    kinds = [type(module) for module in decoder.modules()]
    faster = faster_decoder(decoder)
    run(faster, feed(2, 3, True))
    assert faster is not decoder
    assert [type(module) for module in decoder.modules()] == kinds
    assert all(torch.equal(decoder.state_dict()[name], value) for name, value in before.items())
    assert all(torch.equal(*pair) for pair in zip(run(decoder, feed(2, 3, True)), answer, strict=True))
    theirs, ours = dict(decoder.named_parameters()), dict(faster.named_parameters())
    assert set(ours) == set(theirs), "they keep their names, and none is new"
    assert all(ours[name] is theirs[name] for name in theirs)
    assert not any(module.training for module in faster.modules())


def test_what_is_rewritten_lies_in_modules_because_fp16_goes_by_their_scopes() -> None:
    faster = faster_decoder(small())
    assert isinstance(faster.mask_decoder, GraphMaskDecoder)
    names = {name for name, module in faster.named_modules() if type(module).__module__ == "exporters.two_way"}
    assert names == {"", "mask_decoder", "mask_decoder.transformer", "mask_decoder.output_upscaling"}


class OtherTransformer(TwoWayTransformer):
    """Bears another name, so nothing is known of it."""


@pytest.mark.parametrize("change", ["transformer", "layers", "upscaling", "kernel", "nothing of it"])
def test_a_decoder_that_is_not_built_like_the_official_one_comes_back_as_it_is(change: str) -> None:
    decoder = copy.deepcopy(small())
    mask_decoder = decoder.mask_decoder
    if change == "transformer":
        mask_decoder.transformer = OtherTransformer(1, CHANNELS, 4, 96)
    elif change == "layers":
        mask_decoder.transformer.layers[1] = torch.nn.Identity()
    elif change == "upscaling":
        mask_decoder.output_upscaling[1] = torch.nn.Identity()
    elif change == "kernel":
        mask_decoder.output_upscaling[0] = torch.nn.ConvTranspose2d(CHANNELS, CHANNELS // 4, 4, stride=2, padding=1)
    else:
        decoder.mask_decoder = torch.nn.Identity()
    assert faster_decoder(decoder) is decoder


# Less arithmetic.


def test_a_box_takes_little_more_than_half_the_arithmetic(litemedsam: Any) -> None:
    def flops(decoder: SamDecoder) -> int:
        with FlopCounterMode(display=False) as counter:
            run(decoder, feed(1, 2, False, grid=64, channels=256))
        return int(counter.get_total_flops())

    decoder = litemedsam.decoder.module
    assert flops(faster_decoder(decoder)) < 0.54 * flops(decoder)
