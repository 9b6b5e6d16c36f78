"""Masks laid over one another: as an argmax over all of them would have it, without holding them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.stages.overlay import Overlay


def argmax(logits: np.ndarray, values: list[int]) -> np.ndarray:
    """The naive way: the first of the highest, where that is above 0."""
    if not values:
        return np.zeros(logits.shape[1:], np.uint8)
    best = np.array(values, np.uint8)[logits.argmax(axis=0)]
    return np.where(logits.max(axis=0) > 0, best, 0).astype(np.uint8)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), shape=st.tuples(st.integers(1, 5), st.integers(1, 5)), count=st.integers(0, 6))
def test_any_masks_in_any_batches_give_what_argmax_gives(
    data: st.DataObject, shape: tuple[int, int], count: int
) -> None:
    # Few levels, so that equal logits and exact zeros are common.
    levels = st.sampled_from([-2.0, -0.5, 0.0, 0.5, 1.0, 3e38])
    cells = count * shape[0] * shape[1]
    logits = np.array(data.draw(st.lists(levels, min_size=cells, max_size=cells)), np.float32).reshape(count, *shape)
    values = data.draw(st.lists(st.integers(1, 255), min_size=count, max_size=count))
    overlay, start = Overlay(shape), 0
    while start < count:
        size = data.draw(st.integers(1, count - start))
        overlay.add(torch.from_numpy(logits[start : start + size]), values[start : start + size])
        start += size
    np.testing.assert_array_equal(overlay.on_host(), argmax(logits, values))
    np.testing.assert_array_equal(overlay.on_host(half_turn=True), argmax(logits[:, ::-1, ::-1], values))
    assert overlay.on_host().dtype == np.uint8


def test_a_logit_of_exactly_0_is_no_object_as_in_sam() -> None:
    overlay = Overlay((1, 2))
    overlay.add(torch.tensor([[[0.0, 1e-30]]]), [7])
    assert overlay.labels.tolist() == [[0, 7]]


def test_the_components_of_a_label_join() -> None:
    overlay = Overlay((1, 3))
    overlay.add(torch.tensor([[[1.0, -1, -1]], [[-1, -1, 1]]]), [4, 4])
    assert overlay.labels.tolist() == [[4, 0, 4]]


def test_a_mask_without_its_label_is_an_error_not_dropped() -> None:
    with pytest.raises(ValueError, match="argument"):
        Overlay((1, 1)).add(torch.ones(2, 1, 1), [1])
