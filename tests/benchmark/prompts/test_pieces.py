from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from benchmark.prompts.pieces import edges, number_pieces, objects, window
from tests.benchmark.prompts.drawn import brief, masks, volumes


def flooded(mask: np.ndarray) -> np.ndarray:
    """Components by flooding from each voxel in turn, so numbered in the order of their first voxels."""
    numbered = np.zeros(mask.shape, np.int32)
    count = 0
    for start in map(tuple, np.argwhere(mask)):
        if numbered[start]:
            continue
        count += 1
        open_ends = [start]
        while open_ends:
            at = open_ends.pop()
            if all(0 <= i < n for i, n in zip(at, mask.shape, strict=True)) and mask[at] and not numbered[at]:
                numbered[at] = count
                steps = product((-1, 0, 1), repeat=mask.ndim)
                open_ends += [tuple(i + d for i, d in zip(at, step, strict=True)) for step in steps]
    return numbered


@brief
@given(masks)
def test_pieces_of_a_slice_are_numbered_row_by_row_however_it_lies_in_memory(mask: np.ndarray) -> None:
    expected = flooded(mask)
    np.testing.assert_array_equal(number_pieces(mask), expected)
    np.testing.assert_array_equal(number_pieces(np.asfortranarray(mask)), expected)
    np.testing.assert_array_equal(number_pieces(np.pad(mask, ((3, 0), (0, 2)))[3:, : mask.shape[1]]), expected)


@brief
@given(masks, st.integers(0, 3), st.integers(0, 3))
def test_pieces_have_the_same_numbers_in_a_part_that_holds_them_all(mask: np.ndarray, above: int, left: int) -> None:
    """A track finds its pieces in the label's bounding box, a slice in the whole."""
    whole = number_pieces(np.pad(mask, ((above, 1), (left, 2))))
    np.testing.assert_array_equal(whole[above:-1, left:-2], number_pieces(mask))


@brief
@given(volumes)
def test_pieces_of_a_volume_touch_at_corners(volume: np.ndarray) -> None:
    np.testing.assert_array_equal(number_pieces(volume > 1), flooded(volume > 1))


@brief
@given(masks, st.integers(0, 5))
def test_a_window_holds_the_object_and_its_margin(mask: np.ndarray, margin: int) -> None:
    x0, y0, x1, y1 = edges(mask)
    rows, columns = window(mask, margin)
    assert np.count_nonzero(mask[rows, columns]) == np.count_nonzero(mask)
    assert (rows.start, columns.start) == (max(0, y0 - margin), max(0, x0 - margin))
    assert (rows.stop, columns.stop) == (y1 + margin, x1 + margin)


def test_components_come_by_falling_size_and_of_the_same_size_by_their_first_voxel() -> None:
    label = np.array(
        [
            [0, 1, 0, 0, 1, 1],
            [0, 0, 0, 0, 0, 0],
            [1, 1, 0, 0, 1, 0],
            [0, 0, 0, 1, 0, 1],
        ],
        bool,
    )
    firsts = [tuple(np.argwhere(mask)[0]) for mask in objects(label, "component", 1)]
    assert firsts == [(2, 4), (0, 4), (2, 0), (0, 1)]
    assert [np.count_nonzero(mask) for mask in objects(label, "component", 2)] == [3, 2, 2]
    assert list(objects(label, "component", 4)) == []


def test_many_components_of_one_size_keep_their_order() -> None:
    """Up to 16 numbers any sort of numpy's does."""
    label = np.zeros((20, 80), bool)
    label[::2, ::4] = True
    label[::2, 1::12] = True  # every third has two voxels
    found = list(objects(label, "component", 1))
    keys = [(-np.count_nonzero(mask), int(np.argmax(mask))) for mask in found]
    assert keys == sorted(keys)
    assert len(keys) == 10 * 20


@brief
@given(masks, st.integers(1, 6))
def test_components_are_the_label_without_its_specks(label: np.ndarray, min_pixels: int) -> None:
    found = list(objects(label, "component", min_pixels))
    numbered = flooded(label)
    expected = [numbered == n for n in range(1, numbered.max() + 1) if np.count_nonzero(numbered == n) >= min_pixels]
    assert {mask.tobytes() for mask in found} == {mask.tobytes() for mask in expected}
    assert len(found) == len(expected)


@brief
@given(masks, st.integers(1, 6))
def test_an_object_is_the_whole_label_if_it_is_large_enough(label: np.ndarray, min_pixels: int) -> None:
    found = list(objects(label, "object", min_pixels))
    assert len(found) == (np.count_nonzero(label) >= min_pixels)
    for mask in found:
        np.testing.assert_array_equal(mask, label)
