from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from benchmark.prompts import STRATEGIES, deepest_point, tight_box

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12)).filter(np.any)


def test_the_box_of_a_drawn_object() -> None:
    mask = np.zeros((6, 8), bool)
    mask[2, 3] = mask[4, 5] = True
    box = tight_box(mask)
    # Voxels cover [c, c + 1] × [r, r + 1], so the right and lower edges are one beyond the last index.
    assert box.coords.tolist() == [[3, 2], [6, 5]]
    assert box.labels.tolist() == [2, 3]
    assert box.coords.dtype == box.labels.dtype == np.float32


def test_the_box_of_one_voxel_has_one_voxel() -> None:
    mask = np.zeros((3, 3), bool)
    mask[0, 2] = True
    assert tight_box(mask).coords.tolist() == [[2, 0], [3, 1]]


def test_a_box_is_not_padded_because_pytorch_does_not_pad_it() -> None:
    assert tight_box(np.ones((2, 2), bool)).labels.tolist() == [2, 3]


@given(masks)
def test_the_box_holds_the_whole_object_and_no_side_can_move_in(mask: np.ndarray) -> None:
    (x0, y0), (x1, y1) = tight_box(mask).coords.astype(int)
    total = np.count_nonzero(mask)
    assert np.count_nonzero(mask[y0:y1, x0:x1]) == total
    for smaller in (
        mask[y0 + 1 : y1, x0:x1],
        mask[y0 : y1 - 1, x0:x1],
        mask[y0:y1, x0 + 1 : x1],
        mask[y0:y1, x0 : x1 - 1],
    ):
        assert np.count_nonzero(smaller) < total


@given(masks)
def test_the_point_lies_in_the_middle_of_a_voxel_of_the_object(mask: np.ndarray) -> None:
    x, y = deepest_point(mask).coords[0]
    assert (x % 1, y % 1) == (0.5, 0.5)
    assert mask[int(y), int(x)]


@given(masks)
def test_no_voxel_of_the_object_is_deeper_than_the_point(mask: np.ndarray) -> None:
    """Depth by brute force: the distance to the nearest voxel that is not the object, those beyond the border too."""
    padded = np.pad(mask, 1)
    outside = np.argwhere(~padded)
    inside = np.argwhere(padded)
    depth = np.sqrt(((inside[:, None] - outside[None]) ** 2).sum(-1)).min(1)
    x, y = deepest_point(mask).coords[0]
    chosen = depth[(inside == (int(y) + 1, int(x) + 1)).all(1)]
    assert chosen == pytest.approx(depth.max())


@pytest.mark.parametrize("centre", [(20, 31), (33, 18)])
def test_the_point_of_a_disc_is_its_centre(centre: tuple[int, int]) -> None:
    rows, columns = np.mgrid[:50, :50]
    disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= 10**2
    assert deepest_point(disc).coords[0].tolist() == [centre[1] + 0.5, centre[0] + 0.5]


def test_an_object_cut_by_the_border_gets_its_point_inside_and_not_on_the_border() -> None:
    mask = np.zeros((21, 30), bool)
    mask[:, :9] = True  # touches three borders
    x, y = deepest_point(mask).coords[0]
    assert x == 4.5
    assert 4 < y < 17
    assert deepest_point(np.ones((5, 5), bool)).coords[0].tolist() == [2.5, 2.5]


def test_the_point_avoids_the_hole_where_the_centre_of_mass_falls() -> None:
    rows, columns = np.mgrid[:41, :41]
    radius = np.hypot(rows - 20, columns - 20)
    ring = (radius <= 18) & (radius >= 8)
    x, y = deepest_point(ring).coords[0]
    assert 11 <= np.hypot(x - 20.5, y - 20.5) <= 15


def test_the_padding_point_comes_last_so_that_both_backends_receive_it() -> None:
    point = deepest_point(np.ones((3, 3), bool))
    assert point.labels.tolist() == [1, -1]
    assert point.coords[1].tolist() == [0, 0]
    assert point.coords.dtype == point.labels.dtype == np.float32


@given(masks, st.sampled_from(sorted(STRATEGIES)))
def test_a_strategy_leaves_the_mask_alone_and_answers_the_same_twice(mask: np.ndarray, name: str) -> None:
    before = mask.copy()
    first, second = STRATEGIES[name](mask), STRATEGIES[name](mask)
    assert np.array_equal(mask, before)
    assert np.array_equal(first.coords, second.coords) and np.array_equal(first.labels, second.labels)
    assert first.coords.shape == (len(first.labels), 2)
