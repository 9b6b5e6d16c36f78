from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from benchmark.prompts import NEGATIVE, POSITIVE, next_click
from tests.benchmark.prompts.drawn import brief

pairs = array_shapes(min_dims=2, max_dims=2, max_side=12).flatmap(
    lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.bool_, shape))
)


def drawn(*rows: str) -> tuple[np.ndarray, np.ndarray]:
    """Target and answer: `+` missed, `-` surplus, `o` found."""
    picture = np.array([list(row) for row in rows])
    return np.isin(picture, ["+", "o"]), np.isin(picture, ["-", "o"])


def test_a_click_goes_into_the_middle_of_what_was_missed() -> None:
    target, predicted = drawn(
        "...........",
        ".++++++....",
        ".++++++oo..",
        ".++++++oo..",
        ".++++++oo--",
        ".++++++....",
        ".+.........",
    )
    # Depth 3 has (3, 3) alone: (3, 4) is only 3 from the right, too, and comes later.
    assert next_click(target, predicted) == (3.5, 3.5, POSITIVE)


def test_a_click_goes_into_the_middle_of_what_is_too_much() -> None:
    target, predicted = drawn(
        "oo-----",
        "oo-----",
        "oo-----",
        "++-----",
        "++-----",
    )
    assert next_click(target, predicted) == (4.5, 2.5, NEGATIVE)


def test_the_border_is_an_edge() -> None:
    target, predicted = drawn("+++++", "+++++", "+++++")
    assert next_click(target, predicted) == (1.5, 1.5, POSITIVE), "not in the corner"


def test_size_counts_before_depth() -> None:
    """A long thin error is larger than a small compact one."""
    target, predicted = drawn("++++++++++", "..........", "---.......", "---.......", "---.......")
    assert next_click(target, predicted) == (0.5, 0.5, POSITIVE)


def test_missed_and_surplus_voxels_that_touch_are_two_regions() -> None:
    target, predicted = drawn("+++---", "+++---", "++.---")
    click = next_click(target, predicted)
    assert click is not None
    assert click.label == NEGATIVE


def test_of_equal_errors_the_missed_one_is_clicked_on_and_of_those_the_topmost() -> None:
    assert next_click(*drawn("--..++")) == (4.5, 0.5, POSITIVE)
    assert next_click(*drawn("......", ".+..+.", "......", ".+....")) == (1.5, 1.5, POSITIVE)
    assert next_click(*drawn("......", "-.....", "......", "...-..")) == (0.5, 1.5, NEGATIVE)


def test_voxels_that_touch_at_corners_are_one_region() -> None:
    target, predicted = drawn("+....", ".+...", "..+..", ".....", "--...")
    click = next_click(target, predicted)
    assert click is not None
    assert click.label == POSITIVE


def test_without_an_error_there_is_no_click() -> None:
    assert next_click(*drawn("oo..")) is None
    assert next_click(*drawn("....")) is None


@brief
@given(pairs)
def test_a_click_always_says_what_is_right_where_the_answer_is_wrong(pair: tuple[np.ndarray, np.ndarray]) -> None:
    target, predicted = pair
    click = next_click(target, predicted)
    if click is None:
        assert np.array_equal(target, predicted)
        return
    row, column = int(click.y), int(click.x)
    assert (click.x % 1, click.y % 1) == (0.5, 0.5)
    assert target[row, column] != predicted[row, column]
    assert click.label == (POSITIVE if target[row, column] else NEGATIVE)
    assert next_click(target, predicted) == click
    reverse = next_click(predicted, target)
    assert reverse is not None
    assert bool(np.any(target & ~predicted)) or reverse.label == POSITIVE


@brief
@given(pairs)
def test_a_person_who_clicks_on_and_mends_each_region_comes_to_an_end(pair: tuple[np.ndarray, np.ndarray]) -> None:
    target, predicted = pair[0], pair[1].copy()
    for _ in range(target.size):
        click = next_click(target, predicted)
        if click is None:
            break
        predicted[int(click.y), int(click.x)] = click.label == POSITIVE
    assert np.array_equal(target, predicted)
