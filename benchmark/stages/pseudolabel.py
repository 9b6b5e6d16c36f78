"""Slices and prompts → SAM → label maps. The same code for every backend; only the runners differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from benchmark.data.slices import Slice
from benchmark.prompts import BOX_CORNER, BOX_OPPOSITE, STRATEGIES, Prompt
from benchmark.stages.base import Labels, Outcome, PhaseClock, Unit, require_finite
from exporters.parity import MASKS_OF, Fit, masks_on_slice
from exporters.sam import Normalisation, SamModel
from runners.base import Runner, Value

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


def units(
    chosen: Iterable[Slice], labels: Mapping[int, str], strategies: Sequence[str], min_pixels: int
) -> Iterator[Unit]:
    """One unit a slice that holds an object; slices without any get no prompt, because prompts come from the reference.

    Args:
        chosen: the slices.
        labels: value → name of the labels to prompt for.
        strategies: names of prompt strategies.
        min_pixels: a label with fewer pixels in a slice is not prompted for there.
    """
    for piece in chosen:
        masks = {value: piece.label == value for value in labels}
        present = {value: mask for value, mask in masks.items() if np.count_nonzero(mask) >= min_pixels}
        if present:
            yield Unit(
                (piece,),
                {name: {value: STRATEGIES[name](mask) for value, mask in present.items()} for name in strategies},
            )


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
    prompts: Sequence[Prompt], shape: tuple[int, int], embeddings: Value, sam: SamInput
) -> dict[str, Value]:
    """The decoder's inputs for P prompts of one slice, named as in the official `SamOnnxModel`.

    Prompts count from the image's edge, SAM from the first pixel's centre and after resizing: hence the scale and the
    half pixel.
    """
    count = len(prompts)
    height, width = sam.content(shape)
    if sam.half_turn:
        prompts = [half_turn(prompt, shape) for prompt in prompts]
    scale = np.array([width / shape[1], height / shape[0]], dtype=np.float32)
    low = EMBEDDING_STRIDE * sam.grid
    return {
        "image_embeddings": embeddings,
        "point_coords": np.stack([prompt.coords * scale - np.float32(0.5) for prompt in prompts]),
        "point_labels": np.stack([prompt.labels for prompt in prompts]),
        "mask_input": np.zeros((count, 1, low, low), dtype=np.float32),
        "has_mask_input": np.zeros(1, dtype=np.float32),
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
    return Prompt(coords, prompt.labels)


def label_map(logits: NDArray[np.float32], values: Sequence[int]) -> Labels:
    """Masks of several labels as one map: a voxel goes to the label with the highest logit, if that is above 0.

    Args:
        logits: [P, H, W].
        values: the P labels' values.
    """
    best = logits.argmax(axis=0)
    top = np.take_along_axis(logits, best[None], axis=0)[0]
    named: Labels = np.array(values, dtype=np.uint8)[best]
    named[top <= 0] = 0
    return named


class PseudolabelPipeline:
    """Encoder and decoder of one backend. One embedding a slice serves all its labels and prompt strategies."""

    def __init__(self, encoder: Runner, decoder: Runner, sam: SamInput) -> None:
        self.encoder = encoder
        self.decoder = decoder
        self.sam = sam

    def process(self, unit: Unit) -> Outcome:
        """See `Pipeline.process`."""
        (piece,) = unit.slices
        shared = PhaseClock()
        with shared("preprocess"):
            image = preprocess(piece.image, self.sam)
        with shared("encode"):
            embeddings = self.encoder.run({"image": image})["image_embeddings"]
        labels: dict[str, Labels] = {}
        own: dict[str, Mapping[str, float]] = {}
        for strategy, prompts in unit.prompts.items():
            clock = PhaseClock()
            with clock("preprocess"):
                inputs = decoder_inputs(list(prompts.values()), piece.label.shape, embeddings, self.sam)
            with clock("decode"):
                masks = self.decoder.run(inputs)[MASKS_OF[self.sam.fit]].numpy()
            with clock("postprocess"):
                logits = masks_on_slice({MASKS_OF[self.sam.fit]: masks}, piece.label.shape, self.sam.fit)
                require_finite(logits)
                labels[strategy] = self._as_displayed(label_map(logits[:, 0], list(prompts)))[None]
            clock.ms["preprocess"] += shared.ms["preprocess"]
            own[strategy] = clock.ms
        return Outcome(labels, shared.ms, own)

    def _as_displayed(self, labels: Labels) -> Labels:
        return labels[::-1, ::-1] if self.sam.half_turn else labels
