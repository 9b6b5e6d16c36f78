"""From a volume to what a segmentation network wants to see, and from its logits back to the volume's grid.

One class a kind of preprocessing; the pipelines, the training and the exporter's samples all go through them, so that a
network sees the same thing wherever it runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.data.volume import Volume
from benchmark.errors import InputError
from exporters.unet_config import UNetConfig

Channels = NDArray[np.uint8]
"""Channel numbers of the network: 0 is the background."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A volume as a network sees it.

    Attributes:
        image: float32 [N, C, *spatial]; N are slices for a 2-D network, and 1 for a 3-D one.
        volume: where it came from.
        state: what the way back needs besides.
    """

    image: torch.Tensor
    volume: Volume
    state: Any = None


class UNetInput(Protocol):
    """One kind of preprocessing."""

    stored: bool
    """Whether it wants the file's own voxels (`benchmark.data.stored`)."""

    def prepare(self, volume: Volume) -> Prepared:
        """What the network sees of a volume."""
        ...

    def labels(self, prepared: Prepared, logits: torch.Tensor) -> Channels:
        """The network's answer [N, K, *spatial] as channel numbers [X, Y, Z] of the volume, in LPS."""
        ...

    def reference(self, volume: Volume) -> Channels | None:
        """The volume's reference labels (values, not channels) on the network's grid [N, *spatial].

        None where this kind of preprocessing brings images alone there.
        """
        ...

    def describe(self) -> str:
        """In words, for reports."""
        ...


def unet_input(config: UNetConfig) -> UNetInput:
    """The preprocessing that a network was trained with.

    Raises:
        InputError: its package is missing, or the network and the preprocessing do not go together.
    """
    kind = config.preprocessing.kind
    if kind == "slices":
        return SliceInput(config)
    if kind == "volumes":
        from benchmark.stages.unet_volumes import VolumeInput

        return VolumeInput(config)
    if kind == "transforms":
        from benchmark.stages.unet_transforms import TransformInput

        return TransformInput(config)
    from benchmark.stages.unet_nnunet import NnUNetInput

    return NnUNetInput(config)


def require_channels(config: UNetConfig, found: int, where: str) -> None:
    """Refuses an image with another number of channels than the network takes.

    Raises:
        InputError: it has.
    """
    if config.in_channels != found:
        raise InputError(
            f"{where}: the network takes {config.in_channels} channel(s) and the image has {found}; take a network "
            "trained on such images"
        )


class SliceInput:
    """Axial slices in their own grid, the intensity window scaled to 0–1."""

    stored = False

    def __init__(self, config: UNetConfig) -> None:
        require_channels(config, 1, "preprocessing `slices`")
        self.config = config

    def prepare(self, volume: Volume) -> Prepared:
        """See `UNetInput.prepare`; N are all the slices, rows from front to back."""
        return Prepared(slices_as_batch(np.ascontiguousarray(volume.image.T)), volume)

    def labels(self, prepared: Prepared, logits: torch.Tensor) -> Channels:
        """See `UNetInput.labels`."""
        return np.ascontiguousarray(winners(logits).T)

    def reference(self, volume: Volume) -> Channels:
        """See `UNetInput.reference`."""
        return np.ascontiguousarray(volume.label.T)

    def describe(self) -> str:
        """See `UNetInput.describe`."""
        return "axial slices in their own grid, the task's intensity window scaled to 0–1"


def slices_as_batch(images: NDArray[np.float32]) -> torch.Tensor:
    """Slices [n, H, W] of 0–255 as the 2-D UNet takes them, [n, 1, H, W] of 0–1."""
    return torch.from_numpy(images[:, None]) / 255


def winners(logits: torch.Tensor) -> Channels:
    """The channel with the largest logit, of equals the first: [N, *spatial] of logits [N, K, *spatial].

    It is found where the logits are, and one byte a voxel comes to the host. Channel by channel it takes less time on a
    CPU than NumPy's argmax, and an eighth of PyTorch's.
    """
    highest = logits[:, 0].clone()
    channels = torch.zeros(highest.shape, dtype=torch.uint8, device=logits.device)
    for channel in range(1, logits.shape[1]):
        values = logits[:, channel]
        channels.masked_fill_(values > highest, channel)
        torch.maximum(highest, values, out=highest)
    found: Channels = channels.cpu().numpy()
    return found


def only(batch: Channels) -> Channels:
    """The one volume of a batch."""
    (volume,) = batch
    single: Channels = volume
    return single


def channel_numbers(labels: Channels, names: Mapping[int, str]) -> Channels:
    """Label values as a network's channel numbers; values that it does not know become background.

    Args:
        labels: of any shape.
        names: the value and name of channels 1, 2, …
    """
    table = np.zeros(256, dtype=np.uint8)
    for channel, value in enumerate(names, start=1):
        table[value] = channel
    return table[labels]


def size_text(sizes: Sequence[float]) -> str:
    """`1.5 × 1.5 × 2`."""
    return " × ".join(f"{size:g}" for size in sizes)
