from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.prompts import Effort, Target, tight_box
from benchmark.prompts.boxes import jittered_box, wider_box
from tests.benchmark.prompts.drawn import box_of, brief, check, masks, seeds, targets

TOLERANCE = 1e-4  # coordinates are float32


def square(side: int = 60, first: int = 20, last: int = 40) -> Target:
    mask = np.zeros((side, side), bool)
    mask[first:last, first:last] = True
    return Target(mask, mask)


def test_the_box_of_a_drawn_object() -> None:
    mask = np.zeros((6, 8), bool)
    mask[2, 3] = mask[4, 5] = True
    box = tight_box(mask)
    # Voxels cover [c, c + 1] × [r, r + 1], so the right and lower edges are one beyond the last index.
    assert box.coords.tolist() == [[3, 2], [6, 5]]
    assert box.labels.tolist() == [2, 3]
    assert box.coords.dtype == box.labels.dtype == np.float32
    assert box.effort == Effort(boxes=1)


def test_the_box_of_one_voxel_has_one_voxel() -> None:
    mask = np.zeros((3, 3), bool)
    mask[0, 2] = True
    assert tight_box(mask).coords.tolist() == [[2, 0], [3, 1]]


def test_a_box_is_not_padded_because_pytorch_does_not_pad_it() -> None:
    assert tight_box(np.ones((2, 2), bool)).labels.tolist() == [2, 3]


@brief
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


# With a margin.


def test_a_margin_widens_each_side() -> None:
    assert box_of(wider_box(square(), np.random.default_rng(), margin=5)) == [15, 15, 45, 45]


def test_a_margin_ends_at_the_slice() -> None:
    target = square(side=43, first=2)
    assert box_of(wider_box(target, np.random.default_rng(), margin=5)) == [0, 0, 43, 43]


@brief
@given(targets(), st.integers(0, 1000))
def test_a_wider_box_holds_the_tight_one(target: Target, margin: int) -> None:
    wide = wider_box(target, np.random.default_rng(), margin)
    check(wide, target)
    (x0, y0, x1, y1), (a0, b0, a1, b1) = box_of(tight_box(target.mask)), box_of(wide)
    assert a0 <= x0 and b0 <= y0 and x1 <= a1 and y1 <= b1
    height, width = target.mask.shape
    assert (x0 - a0, y0 - b0, a1 - x1, b1 - y1) == tuple(
        min(margin, room) for room in (x0, y0, width - x1, height - y1)
    )
    assert wide.effort == Effort(boxes=1)


# With an error.


@brief
@given(targets(), st.integers(1, 100), seeds)
def test_no_side_is_farther_from_its_place_than_said(target: Target, percent: int, seed: int) -> None:
    """Also where the box is kept in the slice, or from closing."""
    moved = jittered_box(target, np.random.default_rng(seed), percent)
    check(moved, target)
    assert moved.effort == Effort(boxes=1)
    tight, box = np.array(box_of(tight_box(target.mask))), np.array(box_of(moved))
    allowed = np.tile(tight[2:] - tight[:2], 2) * percent / 100
    assert (np.abs(box - tight) <= allowed + TOLERANCE).all()
    assert (box[2:] - box[:2] >= 1 - TOLERANCE).all()


def test_each_side_moves_on_its_own_and_as_far_as_said() -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([box_of(jittered_box(square(), rng, 10)) for _ in range(2000)])
    errors = boxes - [20, 20, 40, 40]
    assert np.abs(errors).max() == pytest.approx(2, abs=0.01)
    # Of a uniform distribution from -2 to 2: mean 0, deviation 4 / √12; the sides know nothing of each other.
    assert np.abs(errors.mean(axis=0)).max() < 0.1
    assert errors.std(axis=0) == pytest.approx(4 / np.sqrt(12), rel=0.05)
    assert np.abs(np.corrcoef(errors.T) - np.eye(4)).max() < 0.1


def test_the_error_goes_with_the_boxs_own_width_and_height() -> None:
    mask = np.zeros((100, 100), bool)
    mask[40:50, 10:90] = True
    rng = np.random.default_rng(0)
    boxes = np.array([box_of(jittered_box(Target(mask, mask), rng, 10)) for _ in range(500)])
    assert np.abs(boxes - [10, 40, 90, 50]).max(axis=0) == pytest.approx([8, 1, 8, 1], rel=0.05)
