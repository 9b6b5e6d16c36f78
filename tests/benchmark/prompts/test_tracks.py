from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.prompts.base import Per
from benchmark.prompts.pieces import edges, number_pieces
from benchmark.prompts.tracks import Section, boxes_every, find_tracks, section_mask
from tests.benchmark.prompts.drawn import box_of, brief, volumes

Box = tuple[int, int, int, int]


def track(boxes: Mapping[int, Box]) -> dict[int, Section]:
    return {k: Section(box, (1,)) for k, box in boxes.items()}


def boxes(found: Mapping[int, Section], every: int) -> dict[int, list[float]]:
    return {k: box_of(prompt) for k, prompt in boxes_every(found, every).items()}


def volume(shape: tuple[int, int, int], *blocks: tuple[slice, slice, slice]) -> np.ndarray:
    label = np.zeros(shape, np.uint8)
    for block in blocks:
        label[block] = 2
    return label


# Interpolation.


def test_boxes_between_two_drawn_ones_are_their_means_weighted_by_distance() -> None:
    grown = track({4: (0, 10, 20, 30), 5: (9, 9, 10, 10), 6: (9, 9, 10, 10), 7: (9, 9, 10, 10), 8: (8, 10, 40, 34)})
    assert boxes(grown, 4) == {
        4: [0, 10, 20, 30],
        5: [2, 10, 25, 31],
        6: [4, 10, 30, 32],
        7: [6, 10, 35, 33],
        8: [8, 10, 40, 34],
    }


def test_the_last_slice_gets_a_box_of_its_own_wherever_the_steps_fall() -> None:
    found = track({k: (k, k, 2 * k + 2, 2 * k + 2) for k in range(3)} | {3: (9, 9, 12, 14)})
    assert boxes(found, 2)[3] == [9, 9, 12, 14]
    assert boxes(found, 2)[1] == [1, 1, 4, 4]
    assert [prompt.effort.boxes for prompt in boxes_every(found, 2).values()] == [0.75] * 4


def test_boxes_are_interpolated_across_a_gap_and_none_is_drawn_in_it() -> None:
    """Steps of 3 from slice 0 fall on 3, where nothing is, and on 6."""
    found = track({0: (0, 0, 6, 6), 1: (5, 5, 6, 6), 5: (5, 5, 6, 6), 6: (6, 0, 12, 18), 7: (1, 2, 3, 4)})
    assert boxes(found, 3) == {
        0: [0, 0, 6, 6],
        1: [1, 0, 7, 8],
        5: [5, 0, 11, 16],
        6: [6, 0, 12, 18],
        7: [1, 2, 3, 4],
    }
    assert sum(prompt.effort.boxes for prompt in boxes_every(found, 3).values()) == pytest.approx(3)


def test_an_object_of_one_slice_has_one_box() -> None:
    found = track({9: (1, 2, 3, 4)})
    assert boxes(found, 5) == {9: [1, 2, 3, 4]}
    assert boxes_every(found, 5)[9].effort.boxes == 1


spans = st.integers(0, 20).flatmap(lambda x: st.tuples(st.just(x), st.integers(x + 1, 25)))
tracks = st.dictionaries(
    st.integers(0, 30), st.tuples(spans, spans).map(lambda s: (s[0][0], s[1][0], s[0][1], s[1][1])), min_size=1
).map(lambda found: track(dict(sorted(found.items()))))


@brief
@given(tracks, st.integers(1, 12))
def test_drawn_boxes_are_tight_others_lie_between_and_the_effort_is_the_boxes_drawn(
    found: dict[int, Section], every: int
) -> None:
    prompts = boxes_every(found, every)
    assert list(prompts) == list(found)
    first, last = min(found), max(found)
    drawn = [k for k in found if (k - first) % every == 0 or k == last]
    assert sum(prompt.effort.boxes for prompt in prompts.values()) == pytest.approx(len(drawn))
    assert len({prompt.effort for prompt in prompts.values()}) == 1
    for k, prompt in prompts.items():
        before, after = max(d for d in drawn if d <= k), min(d for d in drawn if d >= k)
        a, b = np.array(found[before].box), np.array(found[after].box)
        share = (k - before) / (after - before) if after > before else 0.0
        np.testing.assert_allclose(box_of(prompt), a * (1 - share) + b * share, atol=1e-5)
        x0, y0, x1, y1 = box_of(prompt)
        assert x1 - x0 >= 1 - 1e-5 and y1 - y0 >= 1 - 1e-5


@brief
@given(tracks)
def test_with_a_box_in_every_slice_each_is_tight(found: dict[int, Section]) -> None:
    assert boxes(found, 1) == {k: list(section.box) for k, section in found.items()}
    assert {prompt.effort.boxes for prompt in boxes_every(found, 1).values()} == {1}


# Objects through a volume.


def test_a_label_is_one_object_or_as_many_as_its_components() -> None:
    label = volume((10, 8, 6), (slice(1, 3), slice(2, 5), slice(0, 3)), (slice(6, 9), slice(0, 2), slice(2, 5)))
    (whole,) = find_tracks(label, {2}, "object", 1)[2]
    assert {k: section.box for k, section in whole.items()} == {
        0: (1, 2, 3, 5),
        1: (1, 2, 3, 5),
        2: (1, 0, 9, 5),
        3: (6, 0, 9, 2),
        4: (6, 0, 9, 2),
    }
    first, second = find_tracks(label, {2}, "component", 1)[2]
    assert {k: section.box for k, section in first.items()} == dict.fromkeys((0, 1, 2), (1, 2, 3, 5))
    assert {k: section.box for k, section in second.items()} == dict.fromkeys((2, 3, 4), (6, 0, 9, 2))


def test_branches_that_meet_elsewhere_are_one_object_of_two_pieces() -> None:
    label = volume(
        (9, 3, 2),
        (slice(0, 9), slice(0, 3), slice(0, 1)),
        (slice(0, 2), slice(0, 3), slice(1, 2)),
        (slice(7, 9), slice(0, 3), slice(1, 2)),
    )
    (vessel,) = find_tracks(label, {2}, "component", 1)[2]
    assert vessel == {0: Section((0, 0, 9, 3), (1,)), 1: Section((0, 0, 9, 3), (1, 2))}


def test_a_slice_with_too_few_voxels_is_none_of_the_objects_slices() -> None:
    label = volume((6, 6, 5), (slice(1, 4), slice(1, 4), slice(0, 5)))
    label[:, :, 2] = 0
    label[1, 1, 2] = 2
    for per in ("object", "component"):
        (found,) = find_tracks(label, {2}, per, 9)[2]
        assert list(found) == [0, 1, 3, 4]
        assert not find_tracks(label, {2}, per, 10)[2]


def test_only_labels_asked_for_are_followed() -> None:
    label = volume((4, 4, 4), (slice(0, 2), slice(0, 2), slice(0, 2)))
    assert find_tracks(label, {1, 3}, "object", 1) == {}


@brief
@given(volumes, st.sampled_from(["object", "component"]), st.integers(1, 4), st.booleans())
def test_sections_are_the_parts_of_the_volumes_objects(
    label: np.ndarray, per: Per, min_pixels: int, fortran: bool
) -> None:
    """Held against the whole volume's components, without any bounding box."""
    label = np.asfortranarray(label) if fortran else label
    found = find_tracks(label, {1, 2, 3}, per, min_pixels)
    for value in (1, 2, 3):
        bodies = number_pieces(label == value) if per == "component" else (label == value).astype(int)
        expected = []
        for body in range(1, bodies.max() + 1):
            for k in range(label.shape[2]):
                mask = (bodies[:, :, k] == body).T
                pieces = number_pieces(mask)
                sizes = [np.count_nonzero(pieces == n) for n in range(1, pieces.max() + 1)]
                if sizes and (sum(sizes) if per == "object" else max(sizes)) >= min_pixels:
                    expected.append((k, edges(mask), mask.tobytes()))
        got = [
            (k, section.box, section_mask(number_pieces((label[:, :, k] == value).T), section).tobytes())
            for one in found.get(value, [])
            for k, section in one.items()
        ]
        assert sorted(got) == sorted(expected)
        assert all(list(one) == sorted(one) for one in found.get(value, []))
