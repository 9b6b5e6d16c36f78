"""Masks of many objects as one label map, without holding them all."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from benchmark.stages.base import Labels


class Overlay:
    """A label map that grows mask by mask: a voxel goes to the object with the highest logit, if that is above 0.

    It lies where the first masks are, so that on a GPU they never leave it. The same code on a CPU takes half the time
    of NumPy's fancy indexing, and a third of what a maximum over the masks with its index takes.

    Args:
        shape: rows and columns of the slice.

    Attributes:
        labels: uint8 [H, W], the map so far.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.labels = torch.zeros(shape, dtype=torch.uint8)
        self._highest = torch.zeros(shape, dtype=torch.float32)

    def add(self, logits: torch.Tensor, values: Sequence[int]) -> None:
        """Lays masks over the map; of equal logits the first that was added stays.

        Args:
            logits: float32 [P, H, W], finite.
            values: the label of each mask; several may share one, as the components of an object do.
        """
        self.labels, self._highest = self.labels.to(logits.device), self._highest.to(logits.device)
        for value, mask in zip(values, logits, strict=True):
            self.labels.masked_fill_(mask > self._highest, value)
            torch.maximum(self._highest, mask, out=self._highest)

    def on_host(self, half_turn: bool = False) -> Labels:
        """The map in host memory, one byte a pixel.

        Args:
            half_turn: whether the masks lay turned by 180°; turned back, the map is again as the slice is displayed.
        """
        labels = self.labels.flip(0, 1) if half_turn else self.labels
        host: Labels = labels.cpu().numpy()
        return host
