from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from benchmark.metrics import dice_per_label, mean

LABELS = {1: "organ", 4: "tumour"}


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(array_shapes(min_dims=1, max_dims=3, max_side=5))
    values = arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 4]))
    return draw(values), draw(values)


@given(pairs())
def test_dice_is_twice_the_overlap_over_the_sum_of_the_sizes(pair: tuple[np.ndarray, np.ndarray]) -> None:
    predicted, reference = pair
    scores = dice_per_label(predicted, reference, LABELS)
    assert list(scores) == list(LABELS.values())
    for value, name in LABELS.items():
        ours, theirs = set(np.flatnonzero(predicted == value)), set(np.flatnonzero(reference == value))
        expected = 2 * len(ours & theirs) / (len(ours) + len(theirs)) if theirs else None
        assert scores[name] == (None if expected is None else pytest.approx(expected, abs=1e-6))


def test_a_large_volume_loses_no_precision_that_the_gate_could_feel() -> None:
    rng = np.random.default_rng(0)
    reference = (rng.random((40, 256, 256)) < 0.7).astype(np.uint8)
    predicted = np.where(rng.random(reference.shape) < 0.001, 1 - reference, reference).astype(np.uint8)
    expected = 2 * np.count_nonzero(predicted & reference) / (int(predicted.sum()) + int(reference.sum()))
    assert dice_per_label(predicted, reference, {1: "organ"})["organ"] == pytest.approx(expected, abs=1e-6)


def test_missing_what_is_there_scores_zero() -> None:
    assert dice_per_label(np.zeros(4, np.uint8), np.ones(4, np.uint8), {1: "organ"}) == {"organ": 0.0}


def test_a_label_that_the_reference_lacks_has_no_dice_whether_predicted_or_not() -> None:
    reference = np.zeros(4, np.uint8)
    assert dice_per_label(np.ones(4, np.uint8), reference, {1: "organ"}) == {"organ": None}
    assert dice_per_label(reference, reference, {1: "organ"}) == {"organ": None}


def test_nothing_at_all_has_no_dice() -> None:
    empty = np.zeros((0, 0, 0), np.uint8)
    assert dice_per_label(empty, empty, {1: "organ"}) == {"organ": None}


def test_a_mean_leaves_out_what_is_not_there() -> None:
    assert mean([0.5, None, 1.0]) == 0.75
    assert mean([0.0, None]) == 0.0
    assert mean(iter([None, None])) is None
    assert mean([]) is None
