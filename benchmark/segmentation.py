"""The segmentation stage of one network on one task: windows, preprocessing, and what a run measures with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from benchmark.data.slices import Slice
from benchmark.data.volume import Volume
from benchmark.errors import InputError
from benchmark.lanes import Sources
from benchmark.measure.group import Work
from benchmark.plan import PlannedTask
from benchmark.sections import OnOutOfMemory, UnetSpec
from benchmark.stages.base import Unit
from benchmark.stages.segment import Segmenting, match_labels, units, volume_unit
from benchmark.stages.unet_input import UNetInput, unet_input
from benchmark.stages.windows import describe
from exporters.unet import LoadedUNet
from exporters.unet_config import SlidingWindow


@dataclass(frozen=True)
class Segmentation:
    """A network as a run uses it on a task.

    Attributes:
        unet: the network.
        variant: the kind of labels it was trained on, or its checkpoint's name.
        windows: its own, with what the specification changes.
        batch: windows that go through it at once.
        channels: the task's value of output channels 1, 2, …; 0 for one that the task does not know.
        labels: value → name of what both know.
        seen_as: its preprocessing.
    """

    unet: LoadedUNet
    variant: str
    windows: SlidingWindow
    batch: int
    channels: list[int]
    labels: dict[int, str]
    seen_as: UNetInput

    @classmethod
    def of(cls, unet: LoadedUNet, variant: str, settings: UnetSpec, planned: PlannedTask) -> Segmentation:
        """Puts a network and a task together.

        Raises:
            InputError: they have no label in common, or its preprocessing cannot be had.
        """
        config = unet.config
        channels, labels = match_labels(config.labels, planned.task.labels)
        if not labels:
            raise InputError(
                f"UNet {variant}: segments {', '.join(config.labels.values())}, none of which is a label of "
                f"{planned.name} ({', '.join(planned.task.labels.values())}); take a checkpoint trained for this task"
            )
        own = {"overlap": settings.overlap, "blending": settings.blending}
        windows = config.windows.model_copy(update={key: value for key, value in own.items() if value is not None})
        return cls(unet, variant, windows, settings.windows_per_batch, channels, labels, unet_input(config))

    @property
    def whole_volumes(self) -> bool:
        """Whether it is shown volumes rather than slices."""
        return self._recipe.whole_volumes

    @property
    def sliding_window(self) -> dict[str, object]:
        """As records hold it."""
        return describe(self.windows, self.batch)

    @property
    def content(self) -> dict[str, object]:
        """What decides its numbers, for the key of its records."""
        return {
            "checkpoint": self.unet.weights.key,
            "windows": self.sliding_window,
            "labels": self.labels,
            "preprocessing": self.unet.config.preprocessing.model_dump(mode="json"),
        }

    def work(self, sources: Sources, on_out_of_memory: OnOutOfMemory = "fail") -> Work:
        """What a group measures.

        Args:
            sources: precision → the modules.
            on_out_of_memory: whether fewer windows are tried when the device's memory does not hold a batch.
        """
        recipe = replace(self._recipe, on_out_of_memory=on_out_of_memory)
        return Work(sources=sources, pipeline=recipe, units=self._units, labels=self.labels)

    @property
    def _recipe(self) -> Segmenting:
        return Segmenting(self.unet.config, self.windows, self.batch, self.variant, tuple(self.channels))

    def _units(self, volume: Volume, chosen: Sequence[Slice]) -> Iterator[Unit]:
        if self.whole_volumes:
            return volume_unit(volume, chosen, self.seen_as.stored)
        return units(chosen, self.batch)
