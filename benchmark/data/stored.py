"""A case's image exactly as its file has it: every channel, its own orientation and units."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from nibabel.orientations import apply_orientation, ornt_transform
from numpy.typing import NDArray

from benchmark.data.volume import LPS, Geometry, Volume, read_channels


def with_stored(volume: Volume) -> Volume:
    """The volume with its file's own voxels, float32 [C, *stored shape], in `stored`; read unless they are there.

    Raises:
        InputError: the file cannot be read any more.
    """
    return volume if volume.stored is not None else replace(volume, stored=read_channels(volume))


def from_stored(array: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    """An array [*stored shape] in LPS."""
    turned: NDArray[np.uint8] = apply_orientation(array, ornt_transform(geometry.orientation, LPS))
    return turned
