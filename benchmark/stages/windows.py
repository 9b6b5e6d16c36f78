"""A runner behind MONAI's sliding windows: one way to cover a slice or volume, for every backend and network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations, product
from typing import Any, TypeAlias

import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference
from scipy.ndimage import gaussian_filter

from benchmark.sections import OnOutOfMemory
from benchmark.stages.batches import WINDOWS_ADVICE, Batch
from benchmark.stages.on_device import as_value, device_memory, tensor_of, torch_device
from exporters.unet_config import SlidingWindow
from runners.base import OutOfDeviceMemoryError, Runner


class WindowedNetwork:
    """A segmentation network that takes images of any size.

    Args:
        unet: its runner; `image` [B, C, *patch] → `logits` [B, K, *patch].
        windows: how an image is covered.
        batch: windows that go through the network at once.
        on_out_of_memory: whether fewer windows are tried when the device's memory does not hold so many.
    """

    def __init__(
        self, unet: Runner, windows: SlidingWindow, batch: int, on_out_of_memory: OnOutOfMemory = "fail"
    ) -> None:
        self.unet = unet
        self.windows = windows
        self.batch = batch
        self.seen = 0
        self.device = torch_device(unet.device)
        self._at_once = Batch(batch, "windows", on_out_of_memory, WINDOWS_ADVICE)
        self._flips = mirrorings(windows.mirror_axes)
        weights = torch.ones(windows.patch) if windows.blending == "constant" else nnunet_gaussian(windows)
        self._weights = weights.to(self.device)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a report has to say of how it ran."""
        return self._at_once.notes

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Covers an image with windows and blends their logits, on the runner's device.

        Args:
            image: [N, C, *spatial] float32; N are the slices of a volume, or 1 for a volume.

        Returns:
            Logits [N, K, *spatial], on the runner's device.

        Raises:
            OutOfDeviceMemoryError: its memory does not hold the windows of a call, or the whole image's logits.
        """
        with device_memory():
            return self._blended(image.to(self.device))

    def _blended(self, image: torch.Tensor) -> torch.Tensor:
        windows = self.windows
        if windows.steps == "even":
            return _spread_evenly(image, windows, self.batch, self._predict, self._weights)
        logits = sliding_window_inference(
            image,
            windows.patch,
            self.batch,
            self._predict,
            overlap=windows.overlap,
            mode=windows.blending,
            sigma_scale=windows.sigma,
            padding_mode="constant",
            cval=0.0,
            sw_device=self.device,
            device=self.device,
        )
        return torch.as_tensor(logits)

    def _predict(self, windows: torch.Tensor) -> torch.Tensor:
        """The network's logits, averaged over the mirrored images where the specification asks for them."""
        self.seen += len(windows)
        total = self._fitting(windows)
        for axes in self._flips:
            total += self._fitting(windows.flip(axes)).flip(axes)
        return total / (len(self._flips) + 1) if self._flips else total

    def _fitting(self, windows: torch.Tensor) -> torch.Tensor:
        """The network's logits, in as many calls as the device's memory makes of one batch."""
        while True:
            tried = min(self._at_once.size, len(windows))
            try:
                with device_memory():
                    if tried == len(windows):
                        return self._run(windows, own=bool(self._flips))
                    return torch.cat([self._run(part, own=True) for part in torch.split(windows, tried)])
            except OutOfDeviceMemoryError as error:
                self._at_once.lower(tried, error)
            # A pass in which something was tried in vain is no warm time, as one that compiled is none.
            self.unet.set_ups += 1

    def _run(self, windows: torch.Tensor, own: bool) -> torch.Tensor:
        logits = tensor_of(self.unet.run({"image": as_value(windows.contiguous())})["logits"])
        # A copy where the backend hands out its own memory: what is kept over further calls must not be written over.
        return logits.clone() if own else logits


def mirrorings(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Every set of mirrored axes besides none, as axes of [B, C, *spatial]."""
    return [tuple(axis + 2 for axis in some) for count in range(1, len(axes) + 1) for some in combinations(axes, count)]


def even_starts(length: int, patch: int, overlap: float) -> list[int]:
    """Where nnU-Net's windows begin along an axis: as few as the overlap allows, evenly spread, rounded to voxels.

    MONAI's windows lie at a fixed distance of whole voxels, which no overlap turns into these (Isensee et al., Nature
    Methods 2021; `compute_steps_for_sliding_window` in MIC-DKFZ/nnUNet).

    Args:
        length: of the image, at least `patch`.
        patch: of a window.
        overlap: share of a patch that neighbours have in common at least.
    """
    way = length - patch
    count = int(np.ceil(way / (patch * (1 - overlap)))) + 1
    return [int(np.round(way / (count - 1) * index)) for index in range(count)] if count > 1 else [0]


def _spread_evenly(
    image: torch.Tensor, windows: SlidingWindow, batch: int, predict: Callable[[torch.Tensor], torch.Tensor],
    weights: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """What `sliding_window_inference` does, with windows where nnU-Net puts them; see `WindowedNetwork`."""
    size = image.shape[2:]
    short = [max(patch - length, 0) for length, patch in zip(size, windows.patch, strict=True)]
    pads = [(lack // 2, lack - lack // 2) for lack in short]
    padded = torch.nn.functional.pad(image, [side for pair in reversed(pads) for side in pair])
    starts = [even_starts(n, p, windows.overlap) for n, p in zip(padded.shape[2:], windows.patch, strict=True)]
    cuts = [[slice(start, start + p) for start in axis] for axis, p in zip(starts, windows.patch, strict=True)]
    places: list[tuple[int, _Cut]] = [(index, cut) for index in range(len(image)) for cut in product(*cuts)]
    total, norm = torch.zeros(0), torch.zeros(padded.shape[2:], device=image.device)
    for first in range(0, len(places), batch):
        some = places[first : first + batch]
        logits = predict(torch.stack([_within(padded[index], cut) for index, cut in some]))
        if not total.numel():
            total = torch.zeros(len(image), logits.shape[1], *padded.shape[2:], device=image.device)
        for (index, cut), values in zip(some, logits, strict=True):
            _within(total[index], cut).add_(values * weights)
    for cut in product(*cuts):
        _within(norm, cut).add_(weights)
    return _within(total / norm, tuple(slice(before, before + n) for (before, _), n in zip(pads, size, strict=True)))


_Cut: TypeAlias = tuple[slice, ...]


def _within(tensor: torch.Tensor, cut: _Cut) -> torch.Tensor:
    """A view of a part of the last axes."""
    where: Any = (Ellipsis, *cut)
    part: torch.Tensor = tensor[where]
    return part


def nnunet_gaussian(windows: SlidingWindow) -> torch.Tensor:
    """The weight of each voxel of a window: a Gaussian at voxel n // 2, where MONAI's lies at (n − 1) / 2.

    After `compute_gaussian` in MIC-DKFZ/nnUNet; its scale cancels out.

    Returns:
        float32 of the patch's shape, above 0.
    """
    peak = np.zeros(windows.patch)
    peak[tuple(side // 2 for side in windows.patch)] = 1
    weights = gaussian_filter(peak, [windows.sigma * side for side in windows.patch], mode="constant")
    weights = np.maximum(weights / weights.max(), np.min(weights[weights > 0]) / weights.max())
    return torch.from_numpy(weights.astype(np.float32))


def describe(windows: SlidingWindow, batch: int) -> dict[str, object]:
    """The specification as records hold it, with the number of windows at once."""
    return {**windows.model_dump(mode="json"), "windows_per_batch": batch}
