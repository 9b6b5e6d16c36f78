"""Windows of a task's cases as a network sees them, for the parity ladder of an export and to calibrate int8 with."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.data.msd import Task, open_task
from benchmark.data.phantom import PhantomSpec, write_phantom
from benchmark.data.volume import load_volume
from benchmark.errors import InputError
from benchmark.stages.segment import match_labels
from benchmark.stages.unet_input import Channels, unet_input
from exporters.unet_config import UNetConfig
from exporters.window_parity import WindowSample

WINDOWS = 4
"""A window of nnU-Net takes PyTorch seconds."""

Centre = tuple[int, ...]


def task_windows(task: Task, config: UNetConfig, count: int = WINDOWS) -> list[WindowSample]:
    """Windows of a task's first cases, centred on what is labelled there.

    Args:
        task: opened.
        config: whose input they become; without reference labels on its grid, windows are spread evenly.
        count: how many windows at most, of as many cases as there are.

    Raises:
        InputError: a case is damaged, has other channels than the network takes, or its preprocessing is not to be had.
    """
    prepares = unet_input(config)
    values, _ = match_labels(config.labels, task.labels)
    cases = task.cases[: max(1, count)]
    samples = []
    for files, share in zip(cases, np.array_split(np.arange(count), len(cases)), strict=True):
        volume = load_volume(task, files)
        images = prepares.prepare(volume).image.numpy()
        labels = prepares.reference(volume)
        truth = None if labels is None else _channels(labels, values)
        centres = list(_centres(images.shape[2:], len(images), truth, len(share)))
        windows = [_window(images[number], centre, config.windows.patch) for number, *centre in centres]
        truths = None
        if truth is not None and truth.any():
            truths = np.stack([_window(truth[number], centre, config.windows.patch) for number, *centre in centres])
        samples.append(WindowSample(f"{task.name} {files.case}", np.stack(windows), truths))
    return samples


def phantom_windows(config: UNetConfig, count: int = WINDOWS) -> list[WindowSample]:
    """Windows of a phantom case, where no task is given.

    Raises:
        InputError: the network does not take one channel of CT.
    """
    if config.in_channels != 1:
        raise InputError(
            f"--data: the phantom has one channel and the network takes {config.in_channels}; give a task whose images "
            "it takes, or leave the parity ladder out with --windows 0"
        )
    with tempfile.TemporaryDirectory() as folder:
        task = write_phantom(Path(folder), PhantomSpec(cases=1, size=128, slices=16))
        return task_windows(open_task(task), config, count)


def _channels(labels: Channels, values: Sequence[int]) -> Channels:
    """Label values of the task as channel numbers of the network."""
    table = np.zeros(256, dtype=np.uint8)
    for channel, value in enumerate(values, start=1):
        if value:
            table[value] = channel
    return table[labels]


def _centres(shape: Sequence[int], images: int, truth: Channels | None, count: int) -> Iterator[Centre]:
    """Number of the image and the middle of a window in it: of labelled voxels, else of places, evenly spread."""
    shares = (np.arange(count) + 0.5) / count
    if truth is not None and truth.any():
        labelled = np.argwhere(truth)
        for share in shares:
            yield tuple(int(index) for index in labelled[int(share * len(labelled))])
        return
    middle = [side // 2 for side in shape]
    for share in shares:
        # 2-D: other slices. 3-D: other places along the last axis.
        yield (int(share * images), *middle) if images > 1 else (0, *middle[:-1], int(share * shape[-1]))


def _window(image: NDArray[np.generic], centre: Sequence[int], patch: Sequence[int]) -> NDArray[np.generic]:
    """A window of the last axes, within the image; what is smaller than the patch gets zeros on both sides."""
    for axis, (middle, side) in enumerate(zip(centre, patch, strict=True), start=image.ndim - len(patch)):
        start = min(max(middle - side // 2, 0), max(image.shape[axis] - side, 0))
        image = image.take(range(start, min(start + side, image.shape[axis])), axis=axis)
        missing = side - image.shape[axis]
        before = [(0, 0)] * image.ndim
        before[axis] = (missing // 2, missing - missing // 2)
        image = np.pad(image, before)
    return image
