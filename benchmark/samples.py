"""Slices with prompts of every kind, for the parity ladder of an export and to calibrate int8 with."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmark.data.msd import Task, open_task
from benchmark.data.phantom import PhantomSpec, write_phantom
from benchmark.data.slices import Slice, slices
from benchmark.data.volume import load_volume
from benchmark.errors import InputError
from benchmark.prompts import NEGATIVE, Mask, Prompt, deepest_point, join, tight_box
from benchmark.prompts.points import clicks
from benchmark.stages.sam_input import SamInput, decoder_inputs, preprocess
from exporters.parity import Prompts, Sample
from exporters.sam import SamModel

SLICES = 2
"""An encoder that takes a minute in PyTorch is run once for each."""

MIN_PIXELS = 20
"""Smaller specks say nothing about parity."""


def task_samples(task: Task, model: SamModel, count: int = SLICES) -> list[Sample]:
    """Samples from the labelled slices of a task's first cases, evenly spread.

    Args:
        task: opened.
        model: whose input they become.
        count: how many slices at most.

    Raises:
        InputError: a case is damaged or no slice has a label of at least `MIN_PIXELS`.
    """
    samples: list[Sample] = []
    for piece in _labelled(task, count):
        masks = [piece.label == value for value in task.labels]
        masks = [mask for mask in masks if np.count_nonzero(mask) >= MIN_PIXELS]
        if masks:
            samples.append(_sample(f"{task.name} {piece.case} slice {piece.index}", piece, masks, model))
    if not samples:
        raise InputError(f"{task.folder}: no slice has a label of {MIN_PIXELS} pixels or more; name another task")
    return samples


def phantom_samples(model: SamModel, count: int = SLICES) -> list[Sample]:
    """Samples from a phantom case, where no task is given."""
    with tempfile.TemporaryDirectory() as folder:
        task = write_phantom(Path(folder), PhantomSpec(cases=1, size=128, slices=8))
        return task_samples(open_task(task), model, count)


def _labelled(task: Task, count: int) -> Iterator[Slice]:
    """At most `count` slices, of as many cases as there are."""
    cases = task.cases[: max(1, count)]
    shares = [len(part) for part in np.array_split(np.arange(count), len(cases))]
    for files, share in zip(cases, shares, strict=True):
        yield from slices(load_volume(task, files), only_labelled=True, limit=share)


def _sample(name: str, piece: Slice, masks: Sequence[Mask], model: SamModel) -> Sample:
    sam = SamInput.of(model)
    shape = piece.label.shape
    truth = np.stack(masks)
    if sam.half_turn:
        truth = np.ascontiguousarray(truth[:, ::-1, ::-1])

    def prompts(given: Sequence[Prompt], needs: set[str], refines: str | None = None) -> Prompts:
        feed = decoder_inputs(given, shape, np.zeros(0, dtype=np.float32), sam)
        coords, labels = feed["point_coords"], feed["point_labels"]
        return Prompts(np.asarray(coords), np.asarray(labels), frozenset(needs), refines, truth)

    boxes, points = [tight_box(mask) for mask in masks], [deepest_point(mask) for mask in masks]
    outside = [_negative(mask) for mask in masks]
    kinds = {
        "point": prompts(points, {"point"}),
        "points": prompts([join(*pair) for pair in zip(points, outside, strict=True)], {"point"}),
        "box": prompts(boxes, {"box"}),
        "box+point": prompts([join(*pair) for pair in zip(points, boxes, strict=True)], {"box", "point"}),
        "box+mask": prompts(boxes, {"box", "mask"}, refines="box"),
    }
    return Sample(name, preprocess(piece.image, sam), (shape[0], shape[1]), kinds)


def _negative(mask: Mask) -> Prompt:
    """A click just outside the object, about 3 voxels from it."""
    distance: NDArray[np.float64] = ndimage.distance_transform_edt(~mask)
    distance[mask] = np.inf
    row, column = np.unravel_index(int(np.argmin(np.abs(distance - 3))), mask.shape)
    return clicks([(int(row), int(column))], NEGATIVE)
