"""Slices to look at: the grey image with outlines of the reference, the pseudo labels and the UNet's, per backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.results import LaneKey, Picture
from reports.contours import Outline, contour_path, data_uri, outlines, palette
from reports.text import ABSENT, condition, count, dice, lane_name

# Less than this share of the image is never shown, so that one knows where in the body one is.
LEAST_SHOWN = 0.45
MARGIN = 0.4
MOST_PLATES = 24
MOST_BYTES = 1_500_000
"""Of all embedded images together: a report is one file of at most 5 MB."""


@dataclass(frozen=True)
class Panel:
    """One lane's prediction."""

    name: str
    dice: str
    outlines: tuple[Outline, ...]
    alt: str


@dataclass(frozen=True)
class Strip:
    """What one stage made of a slice: a panel for each lane, and where the lanes differ."""

    caption: str
    panels: tuple[Panel, ...] = ()
    differs: str = ""
    agreement: str = ""
    problem: str | None = None
    no_dice: str | None = None


@dataclass(frozen=True)
class Plate:
    """One slice. Lengths are in pixels of the slice; `scale` gives them the body's proportions."""

    caption: str
    corner: tuple[int, int] = (0, 0)
    size: tuple[int, int] = (1, 1)
    scale: tuple[float, float] = (1.0, 1.0)
    window: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    image: str = ""
    reference: tuple[Outline, ...] = ()
    strips: tuple[Strip, ...] = ()


@dataclass(frozen=True)
class Gallery:
    """The plates that are shown, most disagreement between backends first, and how many more the run has."""

    plates: tuple[Plate, ...]
    more: int


@dataclass(frozen=True)
class _Read:
    """A picture's arrays: grey, reference and one label map per lane, all [H, W]."""

    picture: Picture
    grey: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    predictions: dict[str, NDArray[np.uint8]]


def gallery(pictures: Sequence[Picture], run_dir: Path) -> Gallery:
    """Reads the pictures of a run, those of one slice together; one that cannot be read says so in its place."""
    by_slice: dict[tuple[str, str, int], list[Picture]] = {}
    for picture in pictures:
        by_slice.setdefault((picture.task, picture.case, picture.slice), []).append(picture)
    ranked = sorted(by_slice.values(), key=lambda group: -max(map(_disagreement, group)))
    plates: list[Plate] = []
    room = MOST_BYTES
    for group in ranked[:MOST_PLATES]:
        plate = _plate(group, run_dir)
        room -= len(plate.image)
        if room < 0 and plates:
            break
        plates.append(plate)
    return Gallery(tuple(plates), len(ranked) - len(plates))


def _disagreement(picture: Picture) -> float:
    """In pixels; of a run that did not count them the spread of Dice, which ranks below any pixel."""
    if picture.differing is not None:
        return picture.differing
    known = [value for value in picture.dice.values() if value is not None]
    return max(known) - min(known) if known else 0.0


def _plate(group: Sequence[Picture], run_dir: Path) -> Plate:
    """The strips of one slice, the pipeline's first stage first."""
    first = group[0]
    caption = f"{first.task}, case {first.case}, slice {first.slice}"
    read: list[_Read] = []
    broken: list[Strip] = []
    for picture in group:
        try:
            read.append(_read_picture(picture, run_dir))
        except (OSError, ValueError) as error:
            broken.append(Strip(_caption(picture), problem=f"This picture cannot be shown: {error}"))
    if not read:
        return Plate(caption, strips=tuple(broken))
    grey, reference = read[0].grey, read[0].reference
    masks = [reference, *(mask for one in read for mask in one.predictions.values())]
    window = _window(np.any([mask > 0 for mask in masks], axis=0), _scale(first))
    corner, size = _cut(window, _scale(first), (grey.shape[0], grey.shape[1]))
    cut = grey[corner[1] : corner[1] + size[1], corner[0] : corner[0] + size[0]]
    return Plate(
        caption,
        corner,
        size,
        _scale(first),
        window,
        data_uri(cut),
        outlines(reference, first.labels),
        (*(_strip(one, caption) for one in read), *broken),
    )


def _strip(one: _Read, where: str) -> Strip:
    first, *others = one.predictions.values()
    # The first against itself: a lane alone differs nowhere.
    differs = np.any([other != first for other in (first, *others)], axis=0)
    pixels = int(np.count_nonzero(differs))
    agreement = f"backends differ in {count(pixels, 'pixel')}" if pixels else "backends agree in every pixel"
    return Strip(
        caption=_caption(one.picture),
        panels=tuple(
            Panel(
                name=_lane_name(lane),
                dice=dice(one.picture.dice.get(lane)),
                outlines=outlines(mask, one.picture.labels),
                alt=f"{where}, {_caption(one.picture)}: reference and prediction of {_lane_name(lane)}",
            )
            for lane, mask in one.predictions.items()
        ),
        differs=contour_path(differs),
        agreement=agreement if others else "",
        no_dice=one.picture.dice_reason,
    )


def _read_picture(picture: Picture, run_dir: Path) -> _Read:
    grey = _read(run_dir, picture.image)
    reference = _read(run_dir, picture.reference)
    predictions = {lane: _read(run_dir, name) for lane, name in picture.predictions.items()}
    if any(mask.shape != grey.shape for mask in (reference, *predictions.values())):
        raise ValueError("its image and masks differ in size")
    if not predictions:
        raise ValueError("it has no prediction")
    if not min(picture.spacing_mm) > 0:
        raise ValueError("its spacing is not positive")
    return _Read(picture, grey, reference, predictions)


def _scale(picture: Picture) -> tuple[float, float]:
    """Millimetres in units of the smaller spacing, so that numbers stay near pixels: x, y."""
    unit = min(picture.spacing_mm)
    return (picture.spacing_mm[1] / unit, picture.spacing_mm[0] / unit)


def _lane_name(text: str) -> str:
    key = LaneKey.parse(text)
    return lane_name(key.backend, key.precision)


def _read(run_dir: Path, name: str) -> NDArray[np.uint8]:
    from PIL import Image

    path = (run_dir / name).resolve()
    # Results come from anywhere; a report must not embed files from outside its run.
    if not path.is_relative_to(run_dir.resolve()):
        raise ValueError(f"{name} lies outside the run's folder")
    if not path.is_file():
        raise ValueError(f"{name} is missing")
    with Image.open(path) as image:
        return np.asarray(image.convert("L") if image.mode not in ("L", "P") else image, dtype=np.uint8)


def legend(pictures: Sequence[Picture]) -> tuple[tuple[str, str], ...]:
    """Every label with the colour of its predictions, as far as one colour serves all pictures."""
    pairs = {
        (label, colour)
        for picture in pictures
        for label, colour in zip(picture.labels.values(), palette(len(picture.labels)), strict=True)
    }
    order = {colour: index for index, colour in enumerate(palette(len(pairs)))}
    return tuple(sorted(pairs, key=lambda pair: (order[pair[1]], pair[0])))


def _window(objects: NDArray[np.bool_], scale: tuple[float, float]) -> tuple[float, float, float, float]:
    """What is shown, as x, y, width, height in scaled pixels: all objects with a margin, in the image's proportions."""
    rows, columns = objects.shape
    full = np.array([columns * scale[0], rows * scale[1]])
    where = np.argwhere(objects)
    if not len(where):
        return (0.0, 0.0, float(full[0]), float(full[1]))
    low = where.min(axis=0)[::-1] * np.array(scale)
    high = (where.max(axis=0)[::-1] + 1) * np.array(scale)
    share = min(1.0, max(LEAST_SHOWN, float(np.max((high - low) / full)) * (1 + MARGIN)))
    size = full * share
    corner = np.clip((low + high - size) / 2, 0, full - size)
    return (float(corner[0]), float(corner[1]), float(size[0]), float(size[1]))


def _cut(
    window: tuple[float, float, float, float], scale: tuple[float, float], shape: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The whole pixels under a window, as corner (x, y) and size (width, height): no others are embedded."""
    low = [int(np.floor(window[axis] / scale[axis])) for axis in (0, 1)]
    high = [
        min(int(np.ceil((window[axis] + window[axis + 2]) / scale[axis])), length)
        for axis, length in enumerate((shape[1], shape[0]))
    ]
    return (low[0], low[1]), (high[0] - low[0], high[1] - low[1])


def _caption(picture: Picture) -> str:
    what = condition(picture.stage, picture.prompt)
    return ", ".join([picture.stage, picture.model] + ([what] if what != ABSENT else []))
