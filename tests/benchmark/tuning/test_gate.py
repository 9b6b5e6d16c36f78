"""The gate: the very rule of a run, on masks that are counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.tuning.gate import judge, stacked

LABELS = {1: "organ", 2: "tumour"}
TRUTH = np.array([[[1, 1, 1, 1], [2, 2, 0, 0]]], np.uint8)


def maps(value: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    return {"box": {"case": value}}


def test_the_same_masks_hold_the_gate_and_overlap_wholly() -> None:
    found = judge(maps(TRUTH), maps(TRUTH), {"case": TRUTH}, LABELS)
    assert (found.dice, found.mask_dice, found.failure) == ({"box": 1.0}, {"box": 1.0}, None)


def test_a_candidate_that_loses_dice_is_refused_with_both_numbers() -> None:
    worse = TRUTH.copy()
    worse[0, 0, 0] = 0  # organ: 2 · 3 / (3 + 4) = 0.8571; tumour 1; mean 0.9286
    found = judge(maps(worse), maps(TRUTH), {"case": TRUTH}, LABELS)
    assert found.dice["box"] == pytest.approx((6 / 7 + 1) / 2)
    assert found.failure == "box: Dice 0.9286 is below 99.9% of pytorch's 1.0000"


def test_a_candidate_that_is_better_than_the_reference_passes() -> None:
    worse = TRUTH.copy()
    worse[0, 0, 0] = 0
    assert judge(maps(TRUTH), maps(worse), {"case": TRUTH}, LABELS).failure is None


def test_random_weights_have_no_dice_and_their_masks_decide() -> None:
    other = np.zeros_like(TRUTH)
    other[0, 0, :2] = 1
    found = judge(maps(other), maps(TRUTH), {"case": TRUTH}, LABELS, no_dice="random weights")
    assert found.dice == {"box": None}
    assert found.failure is not None and "masks overlap pytorch's with Dice 0.3333" in found.failure


def test_every_variant_must_hold_it() -> None:
    worse = np.zeros_like(TRUTH)
    ours = {"box": {"case": TRUTH}, "point": {"case": worse}}
    theirs = {"box": {"case": TRUTH}, "point": {"case": TRUTH}}
    found = judge(ours, theirs, {"case": TRUTH}, LABELS)
    assert found.failure is not None and found.failure.startswith("point: Dice 0.0000")


def test_slices_of_different_sizes_make_one_case() -> None:
    assert stacked([np.zeros((2, 3), np.uint8), np.ones((2, 3), np.uint8)]).shape == (2, 2, 3)
    assert stacked([np.zeros((2, 3), np.uint8), np.ones((1, 3), np.uint8)]).tolist() == [0] * 6 + [1] * 3
