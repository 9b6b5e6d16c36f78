"""What a prompt strategy is given and what it answers.

Coordinates are x, y in voxels from the slice's edge: the voxel in row r and column c covers [c, c + 1] × [r, r + 1], so
that they keep their place when the slice is resized.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

NEGATIVE, POSITIVE, BOX_CORNER, BOX_OPPOSITE, PADDING = 0, 1, 2, 3, -1
"""SAM's point labels (segment-anything, `prompt_encoder.py`)."""

Per = Literal["object", "component"]
"""What gets a prompt of its own: all voxels of a label together, or each connected component of them."""


@dataclass(frozen=True)
class Effort:
    """What a person does for prompts. Fractions arise where one box serves several slices (`box-every<k>`).

    Attributes:
        clicks: points set.
        boxes: boxes drawn.
    """

    clicks: float = 0.0
    boxes: float = 0.0

    def __add__(self, other: Effort) -> Effort:
        return Effort(self.clicks + other.clicks, self.boxes + other.boxes)


@dataclass(frozen=True, eq=False)
class Prompt:
    """The points of one prompt, in the order of SAM's prompt encoder: clicks first, then the two corners of a box.

    The point that pads a prompt without a box is SAM's affair, not a person's, and is added with the decoder's inputs.

    Attributes:
        coords: float32 [N, 2], x and y.
        labels: float32 [N], SAM's point labels.
        effort: what it costs a person.
    """

    coords: NDArray[np.float32]
    labels: NDArray[np.float32]
    effort: Effort


def join(first: Prompt, *others: Prompt) -> Prompt:
    """Several prompts for one object as one; a box comes last.

    `PromptEncoder.forward` puts points before boxes, and the exported decoder sees one list in that order.
    """
    prompts = (first, *others)
    return Prompt(
        np.concatenate([prompt.coords for prompt in prompts]),
        np.concatenate([prompt.labels for prompt in prompts]),
        sum((prompt.effort for prompt in others), first.effort),
    )


@dataclass(frozen=True, eq=False)
class Target:
    """What a prompt is for.

    Attributes:
        mask: bool [H, W], the object or one of its connected components; not empty.
        label: bool [H, W], everything of the same label in the slice. Negatives lie outside it: who clicks on another
            part of the same organ does not say that it is none.
    """

    mask: Mask
    label: Mask


First = Callable[[Target, np.random.Generator], Prompt]
"""Derives the prompt that SAM sees first."""


@dataclass(frozen=True)
class Strategy:
    """A prompt strategy, with its numbers filled in.

    Attributes:
        name: as in a run specification, such as `points3+neg2`.
        first: target and randomness → prompt.
        corrections: further clicks, each set with `next_click` where SAM's last answer is wrong.
        every: a person draws a box in every k-th slice only; the boxes between are interpolated.
        needs: kinds of prompt a model must know: of `box`, `point`, `mask`.
    """

    name: str
    first: First
    corrections: int = 0
    every: int = 1
    needs: frozenset[str] = field(kw_only=True)


@dataclass(frozen=True, eq=False)
class ObjectPrompt:
    """A prompt and the object it is for.

    Attributes:
        value: the label's value.
        prompt: what SAM sees first.
        target: bool [H, W], what corrections aim at.
        spared: bool [H, W], what is left of the same label: a mask that reaches there is not corrected, since that is
            no error of the label. None where the target is all of it.
    """

    value: int
    prompt: Prompt
    target: Mask
    spared: Mask | None = None

    def counted(self, predicted: Mask) -> Mask:
        """What of a predicted mask counts when it is corrected."""
        return predicted if self.spared is None else predicted & ~self.spared
