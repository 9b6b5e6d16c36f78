"""Dice through MONAI, and the rules for empty masks.

- The reference holds the label: Dice as usual; a prediction without it gives 0.
- The reference lacks the label: no Dice (null), because there is nothing to find; it does not enter any mean. A value
  of 1 here, as some harnesses give, would let a case without the organ raise the score.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint8]

EMPTY_REFERENCE = "the reference has no such label in this case"


def dice_per_label(predicted: Labels, reference: Labels, labels: Mapping[int, str]) -> dict[str, float | None]:
    """Dice of each label over a whole case.

    Args:
        predicted: label values of any shape.
        reference: label values of the same shape.
        labels: value → name; other values are not looked at.

    Returns:
        name → Dice; None where the reference lacks the label.
    """
    import torch
    from monai.metrics import compute_dice

    result: dict[str, float | None] = {}
    for value, name in labels.items():
        # One label at a time: one-hot volumes of all labels would need as many times the memory.
        pair = [torch.from_numpy(np.equal(array, value))[None, None] for array in (predicted, reference)]
        score = float(compute_dice(pair[0], pair[1], include_background=True, ignore_empty=True))
        result[name] = None if np.isnan(score) else score
    return result


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of what is there; None if nothing is."""
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None
