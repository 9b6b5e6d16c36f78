"""Whether a candidate's answers are good enough to be timed, by the reference labels and the reference's masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.metrics import Labels, dice_per_label, mean
from exporters.parity import gate_failure

Maps = Mapping[str, Mapping[str, Labels]]
"""Variant → case → label maps [n, H, W] of the slices that count."""


@dataclass(frozen=True)
class Judgement:
    """What a candidate's masks are worth.

    Attributes:
        dice: variant → against the reference labels, the mean over cases and labels; None where it means nothing.
        mask_dice: variant → between its masks and the reference's.
        failure: why it does not hold the gate; None if it does.
    """

    dice: Mapping[str, float | None]
    mask_dice: Mapping[str, float | None]
    failure: str | None


def judge(
    maps: Maps, theirs: Maps, truth: Mapping[str, Labels], labels: Mapping[int, str], no_dice: str | None = None
) -> Judgement:
    """Holds masks against the reference labels and the reference's masks, as a run does: see `gate_failure`.

    Args:
        maps: the candidate's.
        theirs: the reference's, of the same variants and cases.
        truth: case → reference labels.
        labels: value → name of those that count.
        no_dice: why Dice against the labels means nothing, as with random weights; None where it does.
    """
    dice: dict[str, float | None] = {}
    overlap: dict[str, float | None] = {}
    failures = []
    for variant, cases in maps.items():
        reference = None if no_dice else _dice(theirs[variant], truth, labels)
        dice[variant] = None if no_dice else _dice(cases, truth, labels)
        overlap[variant] = _dice(cases, theirs[variant], labels)
        failure = gate_failure(dice[variant], reference, overlap[variant])
        if failure is not None:
            failures.append(f"{variant}: {failure}")
    return Judgement(dice, overlap, "; ".join(failures) or None)


def _dice(ours: Mapping[str, Labels], theirs: Mapping[str, Labels], labels: Mapping[int, str]) -> float | None:
    scores = (dice_per_label(ours[case], theirs[case], labels) for case in ours)
    return mean(score for per_label in scores for score in per_label.values())


def stacked(pieces: Sequence[Labels]) -> Labels:
    """Label maps of one case's slices in one array; of different sizes in a row, since Dice counts voxels."""
    if len({piece.shape for piece in pieces}) == 1:
        return np.stack(pieces)
    return np.concatenate([piece.ravel() for piece in pieces])
