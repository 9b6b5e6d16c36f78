"""Slices or volumes → segmentation network → label maps. The same code for every backend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice

import numpy as np

from benchmark.data.slices import Slice
from benchmark.data.stored import with_stored
from benchmark.data.volume import Volume
from benchmark.sections import LaneSpec, OnOutOfMemory
from benchmark.stages.base import Labels, Outcome, PhaseClock, Unit, require_finite
from benchmark.stages.on_device import Wait, device_memory, waiting_for
from benchmark.stages.unet_input import UNetInput, slices_as_batch, unet_input, winners
from benchmark.stages.windows import WindowedNetwork
from exporters.unet_config import SlidingWindow, UNetConfig
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


def volume_unit(volume: Volume, chosen: Sequence[Slice], stored: bool) -> Iterator[Unit]:
    """One unit: the whole volume, and the slices of it that count.

    Args:
        volume: the case.
        chosen: the slices; without any there is no unit.
        stored: whether the network is shown the file's own voxels; they are read here, out of every backend's time.
    """
    if chosen:
        yield Unit(tuple(chosen), {}, volume=with_stored(volume) if stored else volume)


@dataclass(frozen=True)
class Segmenting:
    """Makes a pipeline of a loaded runner; it can be sent to another process.

    Attributes:
        config: the network's.
        windows: how an image is covered.
        batch: windows that go through the network at once.
        variant: the kind of labels it was trained on, or its checkpoint's name.
        channels: the label value of output channels 1, 2, …
        on_out_of_memory: see `WindowedNetwork`.
    """

    config: UNetConfig
    windows: SlidingWindow
    batch: int
    variant: str
    channels: tuple[int, ...]
    on_out_of_memory: OnOutOfMemory = "fail"

    @property
    def whole_volumes(self) -> bool:
        """Whether it is shown volumes rather than slices."""
        return self.config.preprocessing.kind != "slices"

    def __call__(self, runners: Sequence[Runner]) -> SegmentPipeline | VolumePipeline:
        """The pipeline."""
        network = WindowedNetwork(runners[0], self.windows, self.batch, self.on_out_of_memory)
        if self.whole_volumes:
            return VolumePipeline(network, self.variant, self.channels, unet_input(self.config))
        return SegmentPipeline(network, self.variant, self.channels)

    def for_lane(self, own: LaneSpec) -> Segmenting:
        """With the lane's own number of windows at once, where it has one. Units of work stay the same for all."""
        return replace(self, batch=own.windows_per_batch or self.batch)


class SegmentPipeline:
    """One backend's 2-D UNet on slices in their own grid.

    Args:
        network: its runner behind sliding windows.
        variant: the kind of labels it was trained on.
        channels: the label value of output channels 1, 2, …
        wait: for the device at the end of each phase; by default as the network's device needs it.
    """

    def __init__(
        self, network: WindowedNetwork, variant: str, channels: Sequence[int], wait: Wait | None = None
    ) -> None:
        self.network = network
        self.variant = variant
        self._values = np.array([0, *channels], dtype=np.uint8)
        self._wait = wait or waiting_for(network.unet.device)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a report has to say of how it ran."""
        return self.network.notes

    def process(self, unit: Unit) -> Outcome:
        """See `Pipeline.process`."""
        clock, before = PhaseClock(self.network.unet, wait=self._wait), self.network.seen
        with clock("preprocess"):
            images = slices_as_batch(np.stack([piece.image for piece in unit.slices]))
        with clock("infer"):
            logits = self.network(images)
        with device_memory(), clock("postprocess"):
            require_finite(logits)
            labels: Labels = self._values[winners(logits)]
        return _outcome(self.variant, labels, clock, self.network.seen - before)


class VolumePipeline:
    """One backend's network that is shown whole volumes: our 3-D UNet, a bundle, an nnU-Net.

    Args:
        network: its runner behind sliding windows.
        variant: the kind of labels it was trained on, or its checkpoint's name.
        channels: the label value of output channels 1, 2, …
        seen_as: its preprocessing and the way back.
        wait: for the device at the end of each phase; by default as the network's device needs it.
    """

    def __init__(
        self, network: WindowedNetwork, variant: str, channels: Sequence[int], seen_as: UNetInput,
        wait: Wait | None = None,
    ) -> None:  # fmt: skip
        self.network = network
        self.variant = variant
        self.seen_as = seen_as
        self._values = np.array([0, *channels], dtype=np.uint8)
        self._wait = wait or waiting_for(network.unet.device)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a report has to say of how it ran."""
        return self.network.notes

    def process(self, unit: Unit) -> Outcome:
        """See `Pipeline.process`."""
        if unit.volume is None:
            raise ValueError("a network on volumes needs units with a volume")
        clock, before = PhaseClock(self.network.unet, wait=self._wait), self.network.seen
        with clock("preprocess"):
            prepared = self.seen_as.prepare(unit.volume)
        with clock("infer"):
            logits = self.network(prepared.image)
        with device_memory(), clock("postprocess"):
            require_finite(logits)
            whole = self._values[self.seen_as.labels(prepared, logits)]
            labels: Labels = np.ascontiguousarray(whole[:, :, [piece.index for piece in unit.slices]].T)
        return _outcome(self.variant, labels, clock, self.network.seen - before)


def _outcome(variant: str, labels: Labels, clock: PhaseClock, windows: int) -> Outcome:
    return Outcome(
        {variant: labels}, {}, {variant: clock.ms}, windows=windows, own_device_ms={variant: clock.device_ms}
    )
