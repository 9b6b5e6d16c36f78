"""The parity ladder of a UNet: from the logits to the mask to Dice, on windows of real slices or volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.exportable import Feed
from exporters.hold import cpu_session, run_session
from exporters.manifest import LabelParity, WindowLadder
from exporters.parity import gate_failure

Floats = NDArray[np.float32]
Channels = NDArray[np.uint8]

LEARNED = 0.3
"""Below such a Dice of PyTorch's own the masks decide: a network that finds nothing cannot lose any Dice."""

NOTHING_FOUND = "neither side finds any label in these windows, so they say little"


@dataclass(frozen=True, eq=False)
class WindowSample:
    """Windows of one case.

    Attributes:
        name: where they are from.
        image: [B, C, *patch], as the network takes them.
        truth: [B, *patch], channel numbers of the reference labels; None where there are none on the network's grid.
    """

    name: str
    image: Floats
    truth: Channels | None = None

    def feeds(self) -> list[Feed]:
        """The windows one by one: a batch of large ones takes gigabytes."""
        return [{"image": self.image[index : index + 1]} for index in range(len(self.image))]


def pytorch_logits(module: Any, samples: Sequence[WindowSample]) -> list[Floats]:
    """PyTorch's logits [B, K, *patch] for every sample."""
    import torch

    answers = []
    for sample in samples:
        with torch.inference_mode():
            parts = [module(image=torch.from_numpy(np.array(feed["image"]))).numpy() for feed in sample.feeds()]
        answers.append(np.concatenate(parts))
    return answers


def climb_windows(
    folder: Path, samples: Sequence[WindowSample], answers: Sequence[Floats], labels: Sequence[str]
) -> WindowLadder:
    """Holds an artifact against PyTorch's answers.

    Args:
        folder: with unet.onnx.
        samples: the windows.
        answers: PyTorch's logits for them.
        labels: names of channels 1, 2, …

    Raises:
        ExportError: the file cannot be loaded or run.
    """
    path = folder / "unet.onnx"
    session = cpu_session(path)
    error, differing, voxels, finite = 0.0, 0, 0, True
    counts = [_Overlap(name) for name in labels]
    for sample, theirs in zip(samples, answers, strict=True):
        ours = np.concatenate([run_session(session, path, ["logits"], feed)[0] for feed in sample.feeds()])
        finite = finite and bool(np.isfinite(ours).all())
        error = float(np.maximum(error, np.abs(ours - theirs).max()))  # keeps NaN
        winners = ours.argmax(axis=1), theirs.argmax(axis=1)
        differing += int(np.count_nonzero(winners[0] != winners[1]))
        voxels += winners[0].size
        for channel, count in enumerate(counts, start=1):
            truth = None if sample.truth is None else sample.truth == channel
            count.add(winners[0] == channel, winners[1] == channel, truth)
    found = {count.name: count.parity() for count in counts}
    dice, dice_pytorch = (_mean([getattr(part, side) for part in found.values()]) for side in ("dice", "dice_pytorch"))
    mask_dice = _mean([part.mask_dice for part in found.values()])
    # NaN is never the largest logit, or always: either way the masks say nothing of it.
    learned = dice_pytorch is not None and dice_pytorch >= LEARNED
    failure = (
        gate_failure(dice if learned else None, dice_pytorch, mask_dice)
        if finite
        else "its answers hold NaN or infinity"
    )
    return WindowLadder(
        samples=[sample.name for sample in samples],
        windows=sum(len(sample.image) for sample in samples),
        logit_max_error=error if np.isfinite(error) else None,
        voxels_differing=differing / voxels,
        labels=found,
        mask_dice=mask_dice,
        dice=dice,
        dice_pytorch=dice_pytorch,
        reason=_why_no_dice(samples, dice, mask_dice),
        gate="fail" if failure else "pass",
        gate_reason=failure,
    )


def _why_no_dice(samples: Sequence[WindowSample], dice: float | None, mask_dice: float | None) -> str | None:
    if mask_dice is None:
        return NOTHING_FOUND
    if dice is not None:
        return None
    if all(sample.truth is None for sample in samples):
        return "there are no reference labels on the network's grid"
    return "the reference labels of these windows are none of the network's"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


class _Overlap:
    """Dice of one label, case by case; a case in which both sides are empty does not count."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._masks: list[float] = []
        self._ours: list[float] = []
        self._theirs: list[float] = []

    def add(self, ours: NDArray[np.bool_], theirs: NDArray[np.bool_], truth: NDArray[np.bool_] | None) -> None:
        if ours.any() or theirs.any():
            self._masks.append(_dice(ours, theirs))
        if truth is not None and truth.any():
            self._ours.append(_dice(ours, truth))
            self._theirs.append(_dice(theirs, truth))

    def parity(self) -> LabelParity:
        return LabelParity(mask_dice=_mean(self._masks), dice=_mean(self._ours), dice_pytorch=_mean(self._theirs))


def _dice(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> float:
    """Over all windows of a case together, through MONAI."""
    import torch
    from monai.metrics import compute_dice

    pair = [torch.from_numpy(side.reshape(1, 1, -1).astype(np.float32)) for side in (ours, theirs)]
    return float(compute_dice(pair[0], pair[1], ignore_empty=False))
