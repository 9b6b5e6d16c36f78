"""Slices to look at: the grey image with outlines of the reference and of each backend's prediction."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.results import LaneKey, Picture
from reports.text import ABSENT, condition, dice, lane_name

# Apart from each other in hue and lightness, and from white, which the reference is drawn in.
COLOURS = ("#ff9f1c", "#2ec4ff", "#ff5fa2", "#9be564", "#c79bff", "#ffe156")
# Less than this share of the image is never shown, so that one knows where in the body one is.
LEAST_SHOWN = 0.45
MARGIN = 0.4


@dataclass(frozen=True)
class Outline:
    """The contour of one label as an SVG path in pixel coordinates."""

    label: str
    colour: str
    path: str


@dataclass(frozen=True)
class Panel:
    """One lane's prediction."""

    name: str
    dice: str
    outlines: tuple[Outline, ...]
    alt: str


@dataclass(frozen=True)
class Plate:
    """One slice with a panel per lane. `problem` says why there is nothing to see, `no_dice` why it has no Dice."""

    caption: str
    width: int = 0
    height: int = 0
    scale: tuple[float, float] = (1.0, 1.0)
    window: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    image: str = ""
    reference: tuple[Outline, ...] = ()
    panels: tuple[Panel, ...] = ()
    problem: str | None = None
    no_dice: str | None = None


def contour_path(mask: NDArray[Any]) -> str:
    """The outline of a mask as an SVG path, with pixel (r, c) covering [c, c+1] × [r, r+1].

    The mask is padded with background, so that an object at the image's border has a closed outline.
    """
    from contourpy import LineType, contour_generator

    padded = np.pad(np.asarray(mask, dtype=np.float64) > 0, 1).astype(np.float64)
    rows, columns = padded.shape
    # Values belong to pixel centres; the padding's first centre lies half a pixel outside the image.
    generator = contour_generator(np.arange(columns) - 0.5, np.arange(rows) - 0.5, padded, line_type=LineType.Separate)
    parts = []
    for line in generator.lines(0.5):
        points = " ".join(f"{x:g},{y:g}" for x, y in np.asarray(line)[:-1])
        parts.append(f"M{points}Z")
    return "".join(parts)


def plates(pictures: list[Picture], run_dir: Path) -> tuple[Plate, ...]:
    """Reads the pictures of a run; one that cannot be read says so in its place."""
    found = []
    for picture in pictures:
        try:
            found.append(_plate(picture, run_dir))
        except (OSError, ValueError) as error:
            found.append(Plate(caption=_caption(picture), problem=f"This picture cannot be shown: {error}"))
    return tuple(found)


def _plate(picture: Picture, run_dir: Path) -> Plate:
    grey = _read(run_dir, picture.image)
    reference = _read(run_dir, picture.reference)
    predictions = {lane: _read(run_dir, name) for lane, name in picture.predictions.items()}
    if any(mask.shape != grey.shape for mask in (reference, *predictions.values())):
        raise ValueError("its image and masks differ in size")
    # Millimetres in units of the smaller spacing, so that numbers stay near pixels.
    unit = min(picture.spacing_mm)
    if not unit > 0:
        raise ValueError("its spacing is not positive")
    scale = (picture.spacing_mm[1] / unit, picture.spacing_mm[0] / unit)
    objects = np.any([mask > 0 for mask in (reference, *predictions.values())], axis=0)
    panels = (
        Panel(
            name=_lane_name(lane),
            dice=dice(picture.dice.get(lane)),
            outlines=_outlines(mask, picture.labels),
            alt=f"{_caption(picture)}: reference and prediction of {_lane_name(lane)}",
        )
        for lane, mask in predictions.items()
    )
    return Plate(
        caption=_caption(picture),
        width=grey.shape[1],
        height=grey.shape[0],
        scale=scale,
        window=_window(objects, scale),
        image=_data_uri(grey),
        reference=_outlines(reference, picture.labels),
        panels=tuple(panels),
        no_dice=picture.dice_reason,
    )


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


def _data_uri(grey: NDArray[np.uint8]) -> str:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _outlines(mask: NDArray[np.uint8], labels: dict[int, str]) -> tuple[Outline, ...]:
    outlines = []
    for index, (value, label) in enumerate(labels.items()):
        if path := contour_path(mask == value):
            outlines.append(Outline(label, COLOURS[index % len(COLOURS)], path))
    return tuple(outlines)


def legend(pictures: list[Picture]) -> tuple[tuple[str, str], ...]:
    """Every label with the colour of its predictions, as far as one colour serves all pictures."""
    pairs = {
        (label, COLOURS[index % len(COLOURS)])
        for picture in pictures
        for index, label in enumerate(picture.labels.values())
    }
    return tuple(sorted(pairs, key=lambda pair: (COLOURS.index(pair[1]), pair[0])))


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


def _caption(picture: Picture) -> str:
    what = condition(picture.stage, picture.prompt)
    place = [picture.stage, picture.task, picture.model] + ([what] if what != ABSENT else [])
    return f"{', '.join(place)} – case {picture.case}, slice {picture.slice}"
