"""Objects followed through the slices of a volume, for `box-every<k>`.

Only boxes and the numbers of pieces are kept: the masks of a case with hundreds of components would not fit into
memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmark.prompts.base import Effort, Mask, Per, Prompt
from benchmark.prompts.boxes import box_prompt
from benchmark.prompts.pieces import Edges, number_pieces


@dataclass(frozen=True)
class Section:
    """An object in one slice.

    Attributes:
        box: the tight box around it.
        pieces: numbers of its pieces among those of its label in the slice (`number_pieces`); two branches of one
            vessel are two pieces.
    """

    box: Edges
    pieces: tuple[int, ...]


Track = Mapping[int, Section]
"""One object: slice index → its section, by rising index; slices where it is not, or is too small, are left out."""


def find_tracks(label: NDArray[np.uint8], values: Collection[int], per: Per, min_pixels: int) -> dict[int, list[Track]]:
    """Follows the objects of a case through its slices.

    Args:
        label: [X, Y, Z] in LPS.
        values: the labels to look for.
        per: a label as one object, or each of its 3-D components (26 neighbours).
        min_pixels: see `_sections`.

    Returns:
        Label value → its objects.
    """
    found: dict[int, list[Track]] = {}
    # Within each label's bounding box: a component's number takes four bytes a voxel, which is much for a whole scan.
    for value, where in enumerate(ndimage.find_objects(label), 1):
        if where is not None and value in values:
            corner = (where[0].start, where[1].start, where[2].start)
            found[value] = _follow(label[where] == value, corner, per, min_pixels)
    return found


def _follow(mask: NDArray[np.bool_], corner: tuple[int, int, int], per: Per, min_pixels: int) -> list[Track]:
    """The objects of a part [x, y, z] of a volume, whose first voxel lies at `corner` in the volume."""
    bodies = mask if per == "object" else number_pieces(mask)
    tracks: dict[int, dict[int, Section]] = defaultdict(dict)
    for k in np.flatnonzero(mask.any(axis=(0, 1))):
        for body, section in _sections(bodies[:, :, k].T, corner[:2], per, min_pixels):
            tracks[body][corner[2] + int(k)] = section
    return [*tracks.values()]


def _sections(
    bodies: NDArray[Any], corner: tuple[int, int], per: Per, min_pixels: int
) -> Iterator[tuple[int, Section]]:
    """The objects of a part of a slice.

    Args:
        bodies: [h, w], the number of the object that each voxel belongs to, 0 outside; no two touch.
        corner: x and y of the part's first voxel in the slice.
        per: `object` asks for `min_pixels` in all, `component` for as many in one of its pieces. Either way
            `box-every<k>` prompts for a label in the very slices where the other strategies do.
        min_pixels: at least 1.
    """
    numbered = number_pieces(bodies > 0)
    sizes = np.bincount(numbered.ravel())
    windows = ndimage.find_objects(numbered)
    pieces: dict[int, list[int]] = defaultdict(list)
    for piece, where in enumerate(windows, 1):
        pieces[int(bodies[where][numbered[where] == piece][0])].append(piece)
    for body, own in pieces.items():
        if (np.sum if per == "object" else np.max)(sizes[own]) >= min_pixels:
            yield body, Section(_around([windows[piece - 1] for piece in own], corner), tuple(own))


def _around(windows: Sequence[tuple[slice, slice]], corner: tuple[int, int]) -> Edges:
    """The smallest box around several rows and columns of a part of a slice."""
    rows, columns = zip(*windows, strict=True)
    return (
        corner[0] + min(side.start for side in columns),
        corner[1] + min(side.start for side in rows),
        corner[0] + max(side.stop for side in columns),
        corner[1] + max(side.stop for side in rows),
    )


def boxes_every(track: Track, every: int) -> dict[int, Prompt]:
    """The boxes of an object when a person draws one in every k-th slice and in the last, and the rest is interpolated.

    The person goes through the object's extent k slices at a time and draws where the object is; a slice in a gap gets
    nothing, and the boxes before and after the gap are interpolated across it. An interpolated box lies within the
    slice, as it is a weighted mean of two that do.

    Args:
        track: the object.
        every: k.

    Returns:
        Slice index → box. Each costs its share of the boxes drawn, so that the case sums to them.
    """
    present = list(track)
    first, last = present[0], present[-1]
    drawn = [k for k in present if (k - first) % every == 0 or k == last]
    corners = np.array([track[k].box for k in drawn], dtype=np.float64)
    between = np.stack([np.interp(present, drawn, side) for side in corners.T], axis=1)
    effort = Effort(boxes=len(drawn) / len(present))
    return {k: box_prompt(box.tolist(), effort) for k, box in zip(present, between, strict=True)}


def section_mask(numbered: NDArray[np.int32], section: Section) -> Mask:
    """The voxels of a section, found again in its slice.

    Args:
        numbered: [H, W], the pieces of the section's label in the slice, of `number_pieces`.
        section: of an object of that label.
    """
    return np.isin(numbered, section.pieces)
