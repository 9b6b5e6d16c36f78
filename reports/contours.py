"""Label maps as outlines, and grey slices as images inside a page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Apart from each other in hue and lightness, and from white, which the reference is drawn in.
COLOURS = ("#ff9f1c", "#2ec4ff", "#ff5fa2", "#9be564", "#c79bff", "#ffe156", "#ff6b57", "#4fe0c0")


@dataclass(frozen=True)
class Outline:
    """The contour of one label as an SVG path in pixel coordinates."""

    label: str
    colour: str
    path: str


def palette(labels: int) -> tuple[str, ...]:
    """A colour for each label, in order."""
    return tuple(COLOURS[index % len(COLOURS)] for index in range(labels))


def contour_path(mask: NDArray[Any]) -> str:
    """The outline of a mask [H, W] as an SVG path, with pixel (r, c) covering [c, c+1] × [r, r+1].

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


def outlines(mask: NDArray[np.uint8], labels: dict[int, str]) -> tuple[Outline, ...]:
    """The outline of each label that a label map [H, W] holds."""
    colours = palette(len(labels))
    found = []
    for (value, label), colour in zip(labels.items(), colours, strict=True):
        if path := contour_path(mask == value):
            found.append(Outline(label, colour, path))
    return tuple(found)


def data_uri(grey: NDArray[np.uint8]) -> str:
    """An 8-bit grey image [H, W] as a PNG that needs no file."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(grey)).save(stream, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
