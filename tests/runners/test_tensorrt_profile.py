"""The shapes a TensorRT engine is built for: every dynamic input in all three, and no call beyond them unseen."""

from __future__ import annotations

from typing import Any

import pytest

from exporters.manifest import TensorSpec
from runners.base import Signature
from runners.tensorrt_profile import DEFAULTS, PLANE, ProfileError, beyond, parse, profile_options, ranges, widened

DECODER = Signature.of(
    [
        TensorSpec(name="image_embeddings", dims=(1, 256, 64, 64)),
        TensorSpec(name="point_coords", dims=("P", "N", 2)),
        TensorSpec(name="point_labels", dims=("P", "N")),
        TensorSpec(name="mask_input", dims=("R", 1, 256, 256)),
    ],
    [TensorSpec(name="masks", dims=("P", 1, "H", "W"))],
)


def test_every_dynamic_input_and_no_fixed_one_is_in_all_three_shapes() -> None:
    sizes = ranges(DECODER, parse({"P": [1, 40, 80]}))
    assert profile_options(DECODER, sizes) == {
        "trt_profile_min_shapes": "point_coords:1x1x2,point_labels:1x1,mask_input:1x1x256x256",
        "trt_profile_opt_shapes": "point_coords:40x2x2,point_labels:40x2,mask_input:1x1x256x256",
        "trt_profile_max_shapes": "point_coords:80x16x2,point_labels:80x16,mask_input:64x1x256x256",
    }


def test_a_module_of_fixed_sizes_needs_no_profile() -> None:
    fixed = Signature.of([TensorSpec(name="image", dims=(1, 3, 64, 64))], [])
    assert ranges(fixed, {}) == {} and profile_options(fixed, {}) == {}
    assert beyond(fixed, {}, {"image": (1, 3, 64, 64)}) is None


def test_a_dimension_without_a_name_that_we_know_is_one_of_an_image() -> None:
    image = Signature.of([TensorSpec(name="image", dims=("B", 1, "H", "W"))], [])
    assert ranges(image, {}) == {"B": DEFAULTS["B"], "H": PLANE, "W": PLANE}
    assert ranges(image, {"H": (1, 2, 3), "P": (1, 1, 1)})["H"] == (1, 2, 3), "another module's dimension is no error"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([1, 2, 3], r"option profile is \[1, 2, 3\]; give dimension"),
        ({"P": 8}, r"option profile.P is 8; give \[least, best, most\]"),
        ({"P": [1, 8]}, "option profile.P"),
        ({"P": [8, 1, 64]}, "option profile.P"),
        ({"P": [0, 1, 2]}, "option profile.P"),
        ({"P": [1, 2.0, 3]}, "option profile.P"),
        ({"P": [True, 2, 3]}, "option profile.P"),
        ({"P": "128"}, "option profile.P"),
    ],
)
def test_a_profile_that_cannot_be_meant_so_is_refused(given: Any, told: str) -> None:
    with pytest.raises(ProfileError, match=told):
        parse(given)


@pytest.mark.parametrize(("prompts", "points", "fits"), [(1, 1, True), (64, 16, True), (65, 2, False), (3, 17, False)])
def test_a_call_beyond_the_profile_is_told_with_the_profile_that_holds_it(
    prompts: int, points: int, fits: bool
) -> None:
    shapes = {
        "image_embeddings": (1, 256, 64, 64),
        "point_coords": (prompts, points, 2),
        "point_labels": (prompts, points),
        "mask_input": (1, 1, 256, 256),
    }
    sizes = ranges(DECODER, {})
    told = beyond(DECODER, sizes, shapes)
    assert (told is None) == fits
    if prompts == 65:
        assert told is not None and told.startswith(
            "P is 65 in input point_coords, and the TensorRT engine was built for 1"
        )
        assert "set the option profile: {P: [1, 8, 65]}" in told
        wider = ranges(DECODER, parse({"P": [1, 8, 65]}))
        assert beyond(DECODER, wider, shapes) is None, "the advice helps"


def test_without_a_profile_sizes_outside_those_met_build_an_engine_anew() -> None:
    image = Signature.of([TensorSpec(name="image", dims=("B", 1, "H"))], [])
    met: dict[str, tuple[int, int]] = {}
    asked = [(2, 1, 8), (2, 1, 8), (4, 1, 8), (3, 1, 8), (3, 1, 9), (1, 1, 8)]
    assert [widened(met, image, {"image": shape}) for shape in asked] == [True, False, True, False, True, True]
    assert met == {"B": (1, 4), "H": (8, 9)}
