"""What a SAM takes: a slice as its encoder's square, and prompts as its decoder's coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from benchmark.prompts import BOX_CORNER, BOX_OPPOSITE, PADDING, Prompt
from exporters.parity import Fit
from exporters.sam import Normalisation, SamModel
from runners.base import Value

EMBEDDING_STRIDE = 4
"""Low-resolution masks are four times the embedding's grid (segment-anything, `mask_decoder.py`)."""


@dataclass(frozen=True)
class SamInput:
    """How a variant of SAM takes its images.

    Attributes:
        image_size: S, the side of the padded square.
        grid: side of the embedding grid.
        normalisation: `minmax` scales each slice to [0, 1], `imagenet` uses SAM's mean and deviation.
        fit: `pad` scales the long side to S and pads the other, `stretch` scales both to S.
        half_turn: it was trained on slices rotated by 180° from radiological display, so it is shown them that way.
    """

    image_size: int
    grid: int
    normalisation: Normalisation
    half_turn: bool
    fit: Fit = "pad"

    @classmethod
    def of(cls, model: SamModel) -> SamInput:
        """The input of a registered variant."""
        return cls(model.image_size, model.grid, model.normalisation, model.half_turn, model.fit)

    def content(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Height and width that a slice of this shape has within the square."""
        if self.fit == "stretch":
            return self.image_size, self.image_size
        return resized(shape[0], shape[1], self.image_size)


def resized(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width after the long side became `side` (segment-anything, `ResizeLongestSide`)."""
    scale = side / max(height, width)
    return int(height * scale + 0.5), int(width * scale + 0.5)


def preprocess(image: NDArray[np.float32], sam: SamInput) -> NDArray[np.float32]:
    """A slice as the encoder takes it: long side to S, normalised, zero-padded below and to the right.

    Args:
        image: [H, W], 0–255.
        sam: the variant's input.

    Returns:
        [1, 3, S, S].
    """
    size = sam.content((image.shape[0], image.shape[1]))
    tensor = torch.from_numpy(image)[None, None]
    if sam.half_turn:
        tensor = tensor.flip(2, 3)
    small = functional.interpolate(tensor, size, mode="bilinear", align_corners=False, antialias=True)
    normalised = _normalise(small, sam.normalisation).expand(1, 3, -1, -1)
    padded = functional.pad(normalised, (0, sam.image_size - size[1], 0, sam.image_size - size[0]))
    result: NDArray[np.float32] = padded.contiguous().numpy()
    return result


PIXEL_MEAN, PIXEL_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of SAM's training images, per channel, 0–255 (segment-anything, `build_sam.py`)."""


def _normalise(image: torch.Tensor, how: Normalisation) -> torch.Tensor:
    """[1, 1, H, W] in 0–255 → what the encoder was trained on; `imagenet` gives three channels."""
    if how == "imagenet":
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
        return (image - mean) / std
    if how != "minmax":
        raise ValueError(f"unknown normalisation {how!r}")
    low, high = image.min(), image.max()
    # MedSAM's own preprocessing divides by at least 1e-8, so that a constant slice becomes zeros.
    return (image - low) / (high - low).clamp(min=1e-8)


def decoder_inputs(
    prompts: Sequence[Prompt],
    shape: tuple[int, int],
    embeddings: Value,
    sam: SamInput,
    low_res: Value | None = None,
) -> dict[str, Value]:
    """The decoder's inputs for P prompts of one slice, named as in the official `SamOnnxModel`.

    Prompts count from the image's edge, SAM from the first pixel's centre and after resizing: hence the scale and the
    half pixel.

    Args:
        prompts: all with the same number of points.
        shape: the slice's height and width.
        embeddings: the encoder's answer, [1, 256, h, w].
        sam: the variant's input.
        low_res: logits of an earlier pass as mask prompts, [P, 1, 4h, 4w]; None where there are none.
    """
    height, width = sam.content(shape)
    prompts = [padded(half_turn(prompt, shape) if sam.half_turn else prompt) for prompt in prompts]
    scale = np.array([width / shape[1], height / shape[0]], dtype=np.float32)
    low = EMBEDDING_STRIDE * sam.grid
    return {
        "image_embeddings": embeddings,
        "point_coords": np.stack([prompt.coords * scale - np.float32(0.5) for prompt in prompts]),
        "point_labels": np.stack([prompt.labels for prompt in prompts]),
        "mask_input": np.zeros((1, 1, low, low), dtype=np.float32) if low_res is None else low_res,
        "has_mask_input": np.full(1, low_res is not None, dtype=np.float32),
        # Of a stretched slice the decoder's own masks are not used (`masks_on_slice`), so they may be small.
        "orig_im_size": np.array(shape if sam.fit == "pad" else (low, low), dtype=np.float32),
    }


def half_turn(prompt: Prompt, shape: tuple[int, int]) -> Prompt:
    """The prompt on the slice rotated by 180°; a box's corners change places, so that the first is again the smaller.

    Args:
        prompt: on the slice as displayed.
        shape: the slice's height and width.
    """
    coords = np.array([shape[1], shape[0]], dtype=np.float32) - prompt.coords
    first, opposite = prompt.labels == BOX_CORNER, prompt.labels == BOX_OPPOSITE
    coords[first], coords[opposite] = coords[opposite], coords[first]
    return replace(prompt, coords=coords)


def padded(prompt: Prompt) -> Prompt:
    """The prompt with SAM's padding point, if it has no box.

    PyTorch's predictor pads the points when there is no box (`PromptEncoder._embed_points`, `pad=True`). The padding is
    made here, so that every backend receives the same points.
    """
    if BOX_CORNER in prompt.labels:
        return prompt
    coords = np.concatenate([prompt.coords, np.zeros((1, 2), dtype=np.float32)])
    return replace(prompt, coords=coords, labels=np.append(prompt.labels, np.float32(PADDING)))
