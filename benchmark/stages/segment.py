"""Slices → UNet → label maps, through MONAI's sliding windows. The same code for every backend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice

import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference

from benchmark.data.slices import Slice
from benchmark.stages.base import Labels, Outcome, PhaseClock, Unit, require_finite
from exporters.unet_config import SlidingWindow
from runners.base import Runner


def units(chosen: Iterable[Slice], batch: int) -> Iterator[Unit]:
    """Batches of up to `batch` slices of one shape, in order."""
    for _, same_shape in groupby(chosen, key=lambda piece: piece.image.shape):
        while pieces := tuple(islice(same_shape, batch)):
            yield Unit(pieces, {})


def match_labels(network: Mapping[int, str], task: Mapping[int, str]) -> tuple[list[int], dict[int, str]]:
    """What a network's channels are in a task, matched by name.

    Args:
        network: value → name of channels 1, 2, … as it was trained.
        task: value → name of the task's labels.

    Returns:
        The task's value of each channel, 0 for one that the task does not know; and the labels that both have.
    """
    values = {name: value for value, name in task.items()}
    channels = [values.get(name, 0) for name in network.values()]
    return channels, {value: name for value, name in task.items() if value in channels}


class SegmentPipeline:
    """One backend's UNet.

    Args:
        unet: its runner.
        variant: the kind of labels it was trained on.
        channels: the label value of output channels 1, 2, …
        windows: the sliding windows.
        batch: windows that go through the network at once.
    """

    def __init__(self, unet: Runner, variant: str, channels: Sequence[int], windows: SlidingWindow, batch: int) -> None:
        self.unet = unet
        self.variant = variant
        self.windows = windows
        self.batch = batch
        self._values = np.array([0, *channels], dtype=np.uint8)

    def process(self, unit: Unit) -> Outcome:
        """See `Pipeline.process`."""
        clock = PhaseClock()
        with clock("preprocess"):
            images = torch.from_numpy(np.stack([piece.image for piece in unit.slices])[:, None]) / 255
        with clock("infer"):
            logits = sliding_window_inference(
                images, self.windows.patch, self.batch, self._predict, overlap=self.windows.overlap
            )
        with clock("postprocess"):
            values = torch.as_tensor(logits).numpy()
            require_finite(values)
            labels: Labels = self._values[values.argmax(axis=1)]
        return Outcome({self.variant: labels}, {}, {self.variant: clock.ms})

    def _predict(self, windows: torch.Tensor) -> torch.Tensor:
        output = self.unet.run({"image": windows.contiguous().numpy()})["logits"]
        return torch.from_numpy(output.numpy())
