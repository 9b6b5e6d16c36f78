from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmark.data.slices import count_labelled, slices
from benchmark.data.volume import Volume


def make_volume(labelled: tuple[int, ...] = (2, 3, 7), depth: int = 10) -> Volume:
    label = np.zeros((3, 4, depth), np.uint8)
    label[1, 2, list(labelled)] = 5
    image = np.arange(label.size, dtype=np.float32).reshape(label.shape)
    return Volume("case_1", image, label, (0.5, 0.7, 3.0), SimpleNamespace())  # type: ignore[arg-type]


def test_rows_run_along_y_and_columns_along_x() -> None:
    volume = make_volume()
    third = list(slices(volume))[3]
    assert third.image.shape == third.label.shape == (4, 3)
    assert third.image[2, 1] == volume.image[1, 2, 3]
    assert third.label[2, 1] == 5
    assert third.spacing == (0.7, 0.5)
    assert (third.case, third.index) == ("case_1", 3)
    assert third.image.dtype == np.float32 and third.label.dtype == np.uint8


def test_a_kept_slice_does_not_keep_its_volume_in_memory() -> None:
    volume = make_volume()
    first = next(slices(volume))
    assert first.image.flags.c_contiguous and first.label.flags.c_contiguous
    assert not np.shares_memory(first.image, volume.image) and not np.shares_memory(first.label, volume.label)


def test_slices_are_cut_one_at_a_time() -> None:
    class Counting:
        """An array that notes which slices are taken from it."""

        def __init__(self, array: np.ndarray) -> None:
            self.array, self.taken = array, 0

        def __getitem__(self, key: Any) -> np.ndarray:
            self.taken += 1
            return self.array[key]

    volume = make_volume()
    image = Counting(volume.image)
    stream = slices(Volume("c", image, volume.label, volume.spacing, volume.geometry))  # type: ignore[arg-type]
    assert isinstance(stream, Iterator) and image.taken == 0
    next(stream)
    assert image.taken == 1


def test_only_labelled_leaves_out_empty_slices() -> None:
    assert [s.index for s in slices(make_volume(), only_labelled=True)] == [2, 3, 7]
    assert count_labelled(make_volume().label) == 3


def test_a_volume_without_labels_has_no_labelled_slice() -> None:
    assert list(slices(make_volume(labelled=()), only_labelled=True)) == []
    assert list(slices(make_volume(labelled=()), only_labelled=True, limit=3)) == []


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(0, []), (1, [5]), (2, [2, 7]), (5, [1, 3, 5, 7, 9]), (10, [*range(10)]), (99, [*range(10)])],
)
def test_a_limit_spreads_evenly_and_prefers_middles_to_ends(limit: int, expected: list[int]) -> None:
    assert [s.index for s in slices(make_volume(), limit=limit)] == expected


def test_a_limit_counts_only_eligible_slices() -> None:
    assert [s.index for s in slices(make_volume(), only_labelled=True, limit=1)] == [3]


def test_a_negative_limit_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="limit"):
        slices(make_volume(), limit=-1)
