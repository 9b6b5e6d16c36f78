"""The drawing kit of the phantom: soft shapes in millimetres, smooth random fields, and the canvas they are painted on.

A shape is a field of approximate signed distances in mm, negative inside. Everything is a function of millimetres,
never of voxels, so that the same patient can be drawn on any grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

# float32 throughout, for speed; numpy's types do not keep track of that.
Field = NDArray[np.floating[Any]]
Point = tuple[float, float, float]

FAR = np.float32(1e3)
_LARGEST_WARP_MM = 15.0
# Random lattices cover this, whatever the grid, so that a finer grid shows the same patient.
_LATTICE_HALF_EXTENT_MM = (240.0, 240.0, 140.0)


def smooth_noise(axes: Sequence[Field], rng: np.random.Generator, scale_mm: float) -> Field:
    """A random field of about zero mean and unit deviation that varies over `scale_mm`.

    Cubic B-splines on a random lattice: on a regular grid that is three small matrix products, far cheaper than
    filtering white noise.

    Args:
        axes: the grid's coordinates in mm, one vector per axis.
        rng: draws the lattice.
        scale_mm: distance between lattice points.

    Returns:
        [X, Y, Z], without unit.
    """
    weights = []
    for axis, half in zip(axes, _LATTICE_HALF_EXTENT_MM, strict=True):
        count = int(2 * half / scale_mm) + 4
        t = np.abs(axis[:, None] / scale_mm - (np.arange(count) - (count - 1) / 2)[None, :])
        near = 2 / 3 - t**2 + t**3 / 2
        weights.append(np.where(t < 1, near, np.clip(2 - t, 0, None) ** 3 / 6).astype(np.float32))
    result = rng.standard_normal([w.shape[1] for w in weights], dtype=np.float32)
    for w in weights:
        # Contracts the leading axis and appends the new one: three turns restore the order of the axes.
        result = np.tensordot(result, w, axes=([0], [1]))
    # The spread of a cubic B-spline with unit coefficients is about 0.69 an axis.
    return np.asarray(result / 0.33, dtype=np.float32)


@dataclass(frozen=True)
class Space:
    """The grid, seen from inside one patient.

    Attributes:
        axes: the scanner's coordinates in mm, one vector per axis.
        x: anatomical coordinate in mm, [X, Y, Z]: towards the patient's right.
        y: likewise, towards the front.
        z: likewise, towards the head.
        edge_mm: how wide an edge is drawn: a voxel, as partial volume would make it.
    """

    axes: tuple[Field, Field, Field]
    x: Field
    y: Field
    z: Field
    edge_mm: float

    @classmethod
    def warped(cls, axes: Sequence[Field], rng: np.random.Generator, warp_mm: float) -> Space:
        """Bends the grid by a smooth random displacement of about `warp_mm`."""
        straight = np.meshgrid(*axes, indexing="ij", sparse=True)
        # Bones bend less than bellies.
        calm = 1 - 0.75 * np.exp(-((straight[0] / 60) ** 2) - ((straight[1] + 65) / 45) ** 2)
        bent = []
        for along in straight:
            shift = warp_mm * calm * smooth_noise(axes, rng, 90.0)
            bent.append((along + np.clip(shift, -_LARGEST_WARP_MM, _LARGEST_WARP_MM)).astype(np.float32))
        edge = float(abs(axes[0][1] - axes[0][0]))
        return cls((axes[0], axes[1], axes[2]), bent[0], bent[1], bent[2], edge)

    @property
    def height(self) -> Field:
        """The scanner's own vertical in mm, [1, Y, 1]: fluids in a lying patient are level with it."""
        return self.axes[1].astype(np.float32)[None, :, None]

    def noise(self, rng: np.random.Generator, scale_mm: float) -> Field:
        """`smooth_noise` on this grid."""
        return smooth_noise(self.axes, rng, scale_mm)

    def near(self, a: Sequence[float], b: Sequence[float], reach_mm: float) -> tuple[slice, slice, slice]:
        """The part of the grid that holds every voxel within `reach_mm` of the segment from `a` to `b`."""
        reach = reach_mm + _LARGEST_WARP_MM
        low, high, found = np.minimum(a, b) - reach, np.maximum(a, b) + reach, []
        for axis, first, last in zip(self.axes, low, high, strict=True):
            found.append(slice(int(np.searchsorted(axis, first)), int(np.searchsorted(axis, last))))
        return found[0], found[1], found[2]

    def ellipsoid(self, centre: Point, radii: Point, lean: tuple[float, float] = (0.0, 0.0)) -> Field:
        """An ellipsoid whose centre line leans by `lean` mm in x and y for each mm upwards."""
        dz = self.z - np.float32(centre[2])
        dx = self.x - np.float32(centre[0]) - np.float32(lean[0]) * dz
        dy = self.y - np.float32(centre[1]) - np.float32(lean[1]) * dz
        rx, ry, rz = (np.float32(r) for r in radii)
        k0 = np.sqrt((dx / rx) ** 2 + (dy / ry) ** 2 + (dz / rz) ** 2)
        k1 = np.sqrt((dx / rx**2) ** 2 + (dy / ry**2) ** 2 + (dz / rz**2) ** 2)
        return np.asarray(k0 * (k0 - 1) / np.maximum(k1, 1e-6), dtype=np.float32)

    def column(
        self, centre: tuple[Field | float, Field | float], radii: tuple[float, float], power: float = 2.0
    ) -> Field:
        """An upright superellipse; its centre may move with z. `power` 2 is an ellipse, more is boxier."""
        u = np.abs(self.x - np.asarray(centre[0], np.float32)) / np.float32(radii[0])
        v = np.abs(self.y - np.asarray(centre[1], np.float32)) / np.float32(radii[1])
        f = np.maximum((u**power + v**power) ** (1 / power), 1e-4)
        slope = np.hypot(u ** (power - 1) / radii[0], v ** (power - 1) / radii[1]) * f ** (1 - power)
        return np.asarray((f - 1) / np.maximum(slope, 1e-4), dtype=np.float32)

    def distance(self, field_: Field) -> Field:
        """Turns any smooth implicit function into approximate mm: first order, good near its zero."""
        gradients = np.gradient(field_, *self.axes)
        steep = np.sqrt(sum(g * g for g in gradients))
        return np.asarray(field_ / np.maximum(steep, 1e-3), dtype=np.float32)


@dataclass(frozen=True)
class Tube:
    """A tube and where its middle is.

    Attributes:
        d: signed distance in mm, [X, Y, Z]; `FAR` away from the tube.
        above: how far in front of (above, in a lying patient) the tube's middle, in mm.
    """

    d: Field
    above: Field


def curve(points: Sequence[Sequence[float]] | NDArray[np.float64], step_mm: float) -> NDArray[np.float64]:
    """Catmull-Rom curve through the points, [N, 3] in mm, a point about every `step_mm`."""
    p = np.asarray([points[0], *points, points[-1]], dtype=float)
    pieces = []
    for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False):
        t = np.linspace(0, 1, max(2, int(np.linalg.norm(c - b) / step_mm) + 1), endpoint=False)[:, None]
        pieces.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate([*pieces, p[-1:]])


def cone(
    at: tuple[Field, Field, Field], a: Sequence[float], b: Sequence[float], radii: tuple[float, float]
) -> tuple[Field, Field]:
    """A round-ended cone from `a` to `b`: its signed distance, and the height above its middle, both in mm."""
    ab = np.subtract(b, a).astype(np.float32)
    px, py, pz = (c - np.float32(o) for c, o in zip(at, a, strict=True))
    t = np.clip((px * ab[0] + py * ab[1] + pz * ab[2]) / np.float32(max(float(ab @ ab), 1e-6)), 0, 1)
    dy = py - t * ab[1]
    radius = np.float32(radii[0]) + t * np.float32(radii[1] - radii[0])
    return np.sqrt((px - t * ab[0]) ** 2 + dy**2 + (pz - t * ab[2]) ** 2) - radius, dy


def tube(space: Space, line: NDArray[np.float64], radii: NDArray[np.float64] | float, reach_mm: float = 9.0) -> Tube:
    """Cones strung along a line.

    Args:
        space: where.
        line: [N, 3] in mm.
        radii: [N] in mm, or one for all.
        reach_mm: how far outside the tube distances are needed.
    """
    r = np.broadcast_to(np.asarray(radii, dtype=float), len(line))
    d, above = np.full(space.x.shape, FAR), np.zeros(space.x.shape, np.float32)
    for a, b, ra, rb in zip(line, line[1:], r, r[1:], strict=False):
        box = space.near(a, b, max(ra, rb) + reach_mm)
        if any(s.start >= s.stop for s in box):
            continue
        here, dy = cone((space.x[box], space.y[box], space.z[box]), a, b, (ra, rb))
        closer = here < d[box]
        d[box] = np.where(closer, here, d[box])
        above[box] = np.where(closer, dy, above[box])
    return Tube(d, above)


def union(a: Field, b: Field, blend_mm: float = 0.0) -> Field:
    """Both shapes, their seam filled over `blend_mm`."""
    if blend_mm <= 0:
        return np.minimum(a, b)
    h = np.maximum(blend_mm - np.abs(a - b), 0) / blend_mm
    return np.asarray(np.minimum(a, b) - h * h * blend_mm / 4, dtype=np.float32)


def common(a: Field, b: Field, blend_mm: float = 0.0) -> Field:
    """What both shapes hold, its rim rounded over `blend_mm`."""
    return -union(-a, -b, blend_mm)


@dataclass
class Room:
    """The space still free for organs, so that none grows into another."""

    free: Field

    def place(self, shape: Field, gap_mm: Field | float = 1.5, blend_mm: float = 6.0) -> Field:
        """Fits a shape into what is free, takes that and `gap_mm` of fat around it, and returns the fitted shape."""
        fitted = common(shape, self.free, blend_mm)
        self.free = np.maximum(self.free, gap_mm - fitted)
        return fitted


@dataclass
class Canvas:
    """An image and its labels, painted layer by layer with soft edges.

    Attributes:
        space: the grid.
        labels: how many labels there are.
        hu: the image so far, [X, Y, Z] in HU.
        share: [labels, X, Y, Z]: how much of a voxel each label holds, 0 to 1.
    """

    space: Space
    labels: int
    hu: Field = field(init=False)
    share: Field = field(init=False)

    def __post_init__(self) -> None:
        self.hu = np.full(self.space.x.shape, -1000, np.float32)
        self.share = np.zeros((self.labels, *self.hu.shape), np.float32)

    def cover(self, shape: Field, opacity: float = 1.0) -> Field:
        """How much of a voxel the shape covers, 0 to 1."""
        return np.asarray(np.clip(0.5 - shape / self.space.edge_mm, 0, 1) * opacity, dtype=np.float32)

    def paint(self, shape: Field, hu: Field | float, label: int = 0, opacity: float = 1.0) -> None:
        """Covers what is there with `hu` inside the shape, and gives that to the label; 0 gives it to nobody."""
        cover = self.cover(np.broadcast_to(shape, self.hu.shape), opacity)
        touched = cover > 0
        if not touched.any():
            return
        along = [np.flatnonzero(touched.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
        box = tuple(slice(int(i[0]), int(i[-1]) + 1) for i in along)
        m = cover[box]
        self.hu[box] += m * (np.broadcast_to(np.asarray(hu, np.float32), self.hu.shape)[box] - self.hu[box])
        for share in self.share:
            share[box] *= 1 - m
        if label:
            self.share[label - 1][box] += m
