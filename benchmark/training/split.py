"""Which cases teach, which choose the best epoch, and which only test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.data.msd import CaseFiles
from benchmark.errors import InputError

LEFT_TO_TRAIN = 2
"""Fewer cases are too few to give one away for choosing an epoch."""

Cases = tuple[CaseFiles, ...]


@dataclass(frozen=True)
class Split:
    """The cases of a task, each in one set, but for `same_case`.

    Attributes:
        train: cases a UNet learns from.
        validation: cases whose Dice chooses the best epoch; none where too few would be left to train on.
        test: cases a UNet is measured on.
        same_case: the task has one case, and it serves for all three.
    """

    train: Cases
    validation: Cases
    test: Cases
    same_case: bool = False

    @property
    def names(self) -> dict[str, list[str]]:
        """The case ids of each set, as files and results hold them."""
        sets = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: [files.case for files in cases] for name, cases in sets.items()}


def draw_cases(cases: Sequence[CaseFiles], seed: int, limit: int | None = None) -> list[CaseFiles]:
    """The cases in an order drawn by seed, at most `limit` of them."""
    rng = np.random.default_rng(seed)
    return [cases[index] for index in rng.permutation(len(cases))][:limit]


def split_cases(
    drawn: Sequence[CaseFiles], test_share: float, validation_share: float, same_case: bool, where: str
) -> Split:
    """Splits drawn cases: the first are tested on, the next validate, the others train.

    Args:
        drawn: in the order of `draw_cases`.
        test_share: share of the cases that is only tested on; at least one, and one is left.
        validation_share: share of the others that chooses the best epoch; at least one if two are left to train on.
            0 for none.
        same_case: whether a single case may serve for all three.
        where: the task, for the error.

    Returns:
        The sets, each sorted by case.

    Raises:
        InputError: there is one case alone, and it may not serve for all.
    """
    if len(drawn) == 1:
        if not same_case:
            raise InputError(
                f"{where}: one case cannot be split into training and test cases; add cases, or set same_case: true to "
                "measure speed and parity alone"
            )
        one = tuple(drawn)
        return Split(one, one, one, same_case=True)
    tested = min(max(1, round(len(drawn) * test_share)), len(drawn) - 1)
    others = len(drawn) - tested
    validating = max(1, round(others * validation_share)) if validation_share else 0
    if others - validating < LEFT_TO_TRAIN:
        validating = 0
    return Split(
        train=_sorted(drawn[tested + validating :]),
        validation=_sorted(drawn[tested : tested + validating]),
        test=_sorted(drawn[:tested]),
    )


def _sorted(cases: Sequence[CaseFiles]) -> Cases:
    return tuple(sorted(cases, key=lambda files: files.case))
