"""Runners in the place of a SAM: an encoder that counts, and a decoder that draws what a prompt says.

The encoder's square, and with it the grid of low-resolution logits, has 8 × 8 pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmark.stages.pseudolabel import PseudolabelPipeline
from benchmark.stages.sam_input import SamInput
from runners.base import DeviceTensor
from runners.device import Device

SIDE = 8
UPRIGHT = SamInput(image_size=SIDE, grid=2, normalisation="minmax", half_turn=False)
TURNED = SamInput(image_size=SIDE, grid=2, normalisation="minmax", half_turn=True)
STRETCHED = SamInput(image_size=SIDE, grid=2, normalisation="minmax", half_turn=True, fit="stretch")

Draw = Callable[[np.ndarray, np.ndarray, tuple[int, int]], np.ndarray]
"""Points in pixels of a grid from its edge, their labels, the grid's shape → logits."""


class Given(DeviceTensor):
    """An array that notes whether it was fetched from its device."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.fetched = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> str:
        return str(self.array.dtype)

    def numpy(self) -> np.ndarray:
        self.fetched = True
        return self.array


class FakeEncoder:
    device_ms = 0.0
    set_ups = 0

    def __init__(self) -> None:
        self.calls = 0
        self.embedding = Given(np.zeros((1, 256, 2, 2), np.float32))

    def run(self, inputs: Mapping[str, Any]) -> dict[str, DeviceTensor]:
        self.calls += 1
        return {"image_embeddings": self.embedding}


def fill_box(coords: np.ndarray, labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The box of the prompt, filled."""
    logits = np.full(shape, -1, np.float32)
    (x0, y0), (x1, y1) = np.rint(coords[np.isin(labels, (2, 3))]).astype(int)
    logits[y0:y1, x0:x1] = 1
    return logits


def paint(coords: np.ndarray, labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Every positive click adds the 3 × 3 voxels around it, every negative one takes them away, in their order."""
    logits = np.full(shape, -1, np.float32)
    for (x, y), label in zip(np.floor(coords).astype(int), labels, strict=True):
        if label in (0, 1):
            logits[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = 1 if label else -1
    return logits


class FakeDecoder:
    """Draws each prompt on the grids that it was asked for, and notes inputs and outputs.

    Args:
        draw: makes the logits of the right mask.
        scores: predicted IoU of each prompt's masks, row by row of all calls; the highest is the right one and the
            others say the opposite.
        bad: a number that one voxel of the last mask has instead.
    """

    device_ms = 0.0
    set_ups = 0

    backend = "fake"
    device = Device("cpu")

    def __init__(
        self, draw: Draw = fill_box, scores: list[list[float]] | None = None, bad: float | None = None
    ) -> None:
        self.draw, self.scores, self.bad = draw, scores, bad
        self.inputs: list[Mapping[str, Any]] = []
        self.outputs: list[dict[str, Given]] = []

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """P and N of each call."""
        return [inputs["point_labels"].shape for inputs in self.inputs]

    def run(self, inputs: Mapping[str, Any]) -> dict[str, DeviceTensor]:
        self.inputs.append(inputs)
        shape = tuple(int(side) for side in inputs["orig_im_size"])
        scores = np.array([self._scores() for _ in inputs["point_coords"]], np.float32)
        masks, low_res = (
            self._draw(inputs, shape, max(shape) / SIDE, scores),
            self._draw(inputs, (SIDE, SIDE), 1, scores),
        )
        if self.bad is not None:
            masks[-1, 0, 0, 0] = self.bad
        found = {"masks": Given(masks), "iou_predictions": Given(scores), "low_res_masks": Given(low_res)}
        self.outputs.append(found)
        return dict(found)

    def _scores(self) -> list[float]:
        return self.scores.pop(0) if self.scores is not None else [1.0]

    def _draw(self, inputs: Mapping[str, Any], shape: tuple[int, ...], scale: float, scores: np.ndarray) -> np.ndarray:
        masks = np.empty((*scores.shape, *shape), np.float32)
        for row, (coords, labels) in enumerate(zip(inputs["point_coords"], inputs["point_labels"], strict=True)):
            drawn = self.draw((coords + 0.5) * scale, labels, (shape[0], shape[1]))
            for mask in range(scores.shape[1]):
                masks[row, mask] = drawn if mask == scores[row].argmax() else -drawn
        return masks


def pipeline(
    decoder: FakeDecoder, sam: SamInput = UPRIGHT, prompts_per_call: int | None = None, encoder: Any = None
) -> PseudolabelPipeline:
    """The pipeline over fake runners."""
    return PseudolabelPipeline(encoder or FakeEncoder(), decoder, sam, prompts_per_call)  # type: ignore[arg-type]
