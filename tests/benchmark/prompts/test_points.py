from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.prompts import NEGATIVE, POSITIVE, Effort, Target, deepest_point, tight_box
from benchmark.prompts.points import box_and_point, box_and_points, point, points, points_and_negatives
from tests.benchmark.prompts.drawn import box_of, brief, check, masks, seeds, targets, voxels

counts = st.integers(1, 20)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def disc(radius: int, side: int = 81) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] - side // 2
    inside: np.ndarray = np.hypot(rows, columns) <= radius
    return inside


def distances(mask: np.ndarray) -> np.ndarray:
    """From each voxel to the nearest of a mask, by brute force."""
    grid = np.argwhere(np.ones_like(mask))
    nearest = ((grid[:, None] - np.argwhere(mask)[None]) ** 2).sum(-1).min(1)
    return np.sqrt(nearest).reshape(mask.shape)


# The deepest.


@brief
@given(masks)
def test_the_point_lies_in_the_middle_of_a_voxel_of_the_object(mask: np.ndarray) -> None:
    x, y = deepest_point(mask).coords[0]
    assert (x % 1, y % 1) == (0.5, 0.5)
    assert mask[int(y), int(x)]


@brief
@given(masks)
def test_no_voxel_of_the_object_is_deeper_than_the_point(mask: np.ndarray) -> None:
    """Depth by brute force: the distance to the nearest voxel that is not the object, those beyond the border too."""
    depth = distances(~np.pad(mask, 1))[1:-1, 1:-1]
    (voxel,) = voxels(deepest_point(mask), POSITIVE)
    # Of several the first, row by row.
    assert voxel == tuple(np.argwhere(depth == depth.max())[0])


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


def test_a_point_holds_no_padding_because_the_decoders_inputs_add_it() -> None:
    prompt = deepest_point(np.ones((3, 3), bool))
    assert prompt.labels.tolist() == [1]
    assert prompt.coords.tolist() == [[1.5, 1.5]]
    assert prompt.effort == Effort(clicks=1)


# Several.


@brief
@given(targets(), counts, seeds)
def test_positive_points_are_different_voxels_of_the_object_as_many_as_it_has(
    target: Target, count: int, seed: int
) -> None:
    prompt = points(target, rng(seed), count)
    check(prompt, target)
    assert len(prompt.labels) == min(count, np.count_nonzero(target.mask))
    assert prompt.effort == Effort(clicks=len(prompt.labels))
    assert prompt.coords[0].tolist() == point(target, rng()).coords[0].tolist(), "the first is the deepest"


@brief
@given(targets(), counts, seeds)
def test_the_edge_is_clicked_on_only_when_nothing_else_is_left(target: Target, count: int, seed: int) -> None:
    clicked = voxels(points(target, rng(seed), count), POSITIVE)[1:]
    padded = np.pad(target.mask, 1)
    inner = {
        (row, column)
        for row, column in np.argwhere(target.mask).tolist()
        if padded[row : row + 3, column + 1].all() and padded[row + 1, column : column + 3].all()
    } - set(voxels(deepest_point(target.mask), POSITIVE))
    if set(clicked) - inner:
        assert inner <= set(clicked)


def test_every_inner_voxel_is_as_likely_as_any_other() -> None:
    mask = disc(3, side=9)
    target, generator = Target(mask, mask), rng()
    drawn = [voxels(points(target, generator, 2), POSITIVE)[1] for _ in range(1500)]
    inner, times = np.unique(drawn, axis=0, return_counts=True)
    assert len(inner) == np.count_nonzero(distances(~mask) > 1) - 1
    assert times == pytest.approx(1500 / len(inner), rel=0.4)


# Beside the object.


@brief
@given(targets(), counts, counts, seeds)
def test_negative_points_lie_in_a_ring_around_the_object_outside_its_label(
    target: Target, positives: int, negatives: int, seed: int
) -> None:
    prompt = points_and_negatives(target, rng(seed), positives, negatives)
    check(prompt, target)
    clicked = voxels(prompt, NEGATIVE)
    distance = distances(target.mask)
    reach = max(3.0, np.sqrt(np.count_nonzero(target.mask) / np.pi) / 2)
    ring = (distance >= 2) & (distance <= reach) & ~target.label
    assert all(ring[voxel] for voxel in clicked)
    assert len(clicked) == min(negatives, np.count_nonzero(ring)), "as many as there are"
    assert prompt.effort == Effort(clicks=len(prompt.labels))
    assert len(voxels(prompt, POSITIVE)) == min(positives, np.count_nonzero(target.mask))


@pytest.mark.parametrize(("radius", "farthest"), [(1, 3), (4, 3), (20, 10)])
def test_the_ring_grows_with_the_object_and_is_filled_on_all_sides(radius: int, farthest: int) -> None:
    mask = disc(radius)
    clicked = voxels(points_and_negatives(Target(mask, mask), rng(), 1, 100), NEGATIVE)
    offsets = np.array(clicked) - 40
    distance = np.hypot(offsets[:, 0], offsets[:, 1]) - radius
    assert distance.min() > 1
    assert distance.max() == pytest.approx(farthest, abs=1)
    assert len(np.unique(np.sign(offsets), axis=0)) >= 4, "in all four quarters"


def test_where_there_is_no_room_beside_the_object_no_negative_is_set() -> None:
    full = np.ones((8, 8), bool)
    prompt = points_and_negatives(Target(full, full), rng(), 2, 3)
    assert prompt.labels.tolist() == [1, 1]
    assert prompt.effort == Effort(clicks=2)
    one = np.zeros_like(full)
    one[4, 4] = True
    assert points_and_negatives(Target(one, full), rng(), 1, 3).labels.tolist() == [1], "all around is its own label"


# With a box.


@brief
@given(targets(), counts, seeds)
def test_points_come_before_the_box_as_in_sams_prompt_encoder(target: Target, count: int, seed: int) -> None:
    one, several = box_and_point(target, rng(seed)), box_and_points(target, rng(seed), count)
    alone = points(target, rng(seed), count)
    assert one.labels.tolist() == [1, 2, 3]
    assert several.labels.tolist() == [*alone.labels.tolist(), 2, 3]
    np.testing.assert_array_equal(several.coords[:-2], alone.coords)
    for prompt in (one, several):
        check(prompt, target)
        assert box_of(prompt) == box_of(tight_box(target.mask))
        assert prompt.effort == Effort(clicks=len(prompt.labels) - 2, boxes=1)


@brief
@given(targets(), counts, counts, seeds)
def test_the_same_randomness_gives_the_same_clicks_and_leaves_the_target_alone(
    target: Target, positives: int, negatives: int, seed: int
) -> None:
    before = target.mask.copy(), target.label.copy()
    first, again = (points_and_negatives(target, rng(seed), positives, negatives) for _ in range(2))
    np.testing.assert_array_equal(first.coords, again.coords)
    np.testing.assert_array_equal(before, (target.mask, target.label))
