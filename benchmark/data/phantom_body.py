"""What surrounds the phantom's organs: table, skin, fat, muscle, bones, lungs, and the room they leave.

Lengths in mm, from the middle of the field of view: x to the patient's right, y to the front, z to the head. The middle
of the scan is about the first lumbar vertebra.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.data.phantom_shapes import Canvas, Field, Point, Room, Tube, common, cone, curve, tube, union

FAT_HU, MUSCLE_HU = -102.0, 60.0
_VERTEBRA_MM = 35.0  # body and disc
_RIB_SPACING_MM = 33.0
# How far round each rib reaches, in radians from the spine: the twelfth is short, the ninth almost meets the front.
_RIB_ENDS = np.array([0.75, 1.2, 1.85, 2.15, 2.3, 2.4], np.float32)


@dataclass(frozen=True)
class Patient:
    """One person's chances: a generator with the two ways in which anatomy varies."""

    rng: np.random.Generator

    def vary(self, value: float, share: float = 0.08) -> float:
        """About `value`, with a relative deviation of `share`, never beyond two of them."""
        return float(value * (1 + share * np.clip(self.rng.standard_normal(), -2, 2)))

    def point(self, at: Sequence[float], sd_mm: float = 3.0) -> Point:
        """A place near `at`."""
        x, y, z = np.asarray(at) + sd_mm * np.clip(self.rng.standard_normal(3), -2, 2)
        return float(x), float(y), float(z)

    def between(self, a: Sequence[float], b: Sequence[float], sd_mm: float) -> Point:
        """A place near the middle of two."""
        return self.point([(p + q) / 2 for p, q in zip(a, b, strict=True)], sd_mm)

    def within(self, x: tuple[float, float], y: tuple[float, float], z: tuple[float, float]) -> Point:
        """A place anywhere in a box."""
        along = [low + (high - low) * self.rng.random() for low, high in (x, y, z)]
        return along[0], along[1], along[2]


def pipe(
    canvas: Canvas, patient: Patient, points: Sequence[Sequence[float]], radii: tuple[float, float], sd_mm: float = 1.5
) -> Tube:
    """A tapering tube through points that vary a little."""
    line = curve([patient.point(p, sd_mm) for p in points], 8.0)
    return tube(canvas.space, line, np.linspace(*radii, len(line)))


@dataclass(frozen=True)
class Wall:
    """The nested outlines of the trunk, as signed distances.

    Attributes:
        fascia: the muscle wall's outside.
        cavity: the muscle wall's inside.
    """

    fascia: Field
    cavity: Field


def draw_body(canvas: Canvas, patient: Patient) -> Room:
    """Paints everything but the organs, and returns the room within the abdomen."""
    _draw_table(canvas)
    wall = _draw_wall(canvas, patient)
    chest = _draw_chest(canvas, patient, wall)
    muscles = _draw_back_muscles(canvas, patient, wall)
    _draw_ribs(canvas, wall)
    spine = _draw_spine(canvas, patient, wall)
    return Room(1.5 - union(union(-wall.cavity, muscles), union(spine, chest)))


def _draw_table(canvas: Canvas) -> None:
    x, y = np.meshgrid(canvas.space.axes[0], canvas.space.axes[1], indexing="ij")
    shell = (y + 131 - 0.0011 * x**2).astype(np.float32)[..., None]
    canvas.paint(np.abs(shell + 9) - 9, -930.0)
    canvas.paint(np.abs(shell) - 3.0, 10.0)


def _draw_wall(canvas: Canvas, patient: Patient) -> Wall:
    """Skin, subcutaneous fat, and the muscle wall with its layers."""
    space, rng = canvas.space, patient.rng
    build, fat = patient.vary(1.0, 0.025), patient.vary(1.0, 0.3)
    # The waist is narrower than the chest.
    tall = np.clip(space.z / 72, -1.5, 1.5)
    a, b = 146 * build, 93 * build
    side, front, back = 15 * fat, 19 * fat, 11 * fat + 3
    bulge = 5 - 4 * np.cos(np.clip((tall + 0.6) * 1.3, -np.pi, np.pi)) + 2.0 * space.noise(rng, 70.0)
    fascia = space.column((0.0, -6.0), (a, b), 2.35) + bulge
    skin = space.column((0.0, -6.0 + (front - back) / 2), (a + side + 2, b + 2 + (front + back) / 2), 2.3) + 0.7 * bulge
    furrow = 7 * np.exp(-((space.x / 16) ** 2)) * (space.y < 0)
    canvas.paint(skin + furrow, 45.0)
    canvas.paint(skin + furrow + 2.6, FAT_HU - 4 + 4 * space.noise(rng, 18.0))
    _draw_septa(canvas, patient, skin + furrow + 4)
    fascia = common(fascia, skin + furrow + 5, 4.0)

    # The gutters beside the spine reach far back; at the spine the wall comes forward.
    spine_side = space.ellipsoid((0, -104, 0), (60, 40, 1e4))
    thick = 11 - 2.5 * np.clip(space.y / 60, -1, 1)
    cavity = common(fascia + thick, -spine_side, 16.0)
    canvas.paint(fascia, MUSCLE_HU - 3 + 5 * space.noise(rng, 9.0))
    layer = np.abs(fascia + thick * 0.5 + 1.2 * space.noise(rng, 30.0)) - 0.4
    canvas.paint(np.maximum(layer, np.abs(space.y + 5) - 62), FAT_HU, opacity=0.55)
    seams = union(np.abs(space.x) - 1.6, np.abs(np.abs(space.x) - 66 + 0.1 * space.z) - 1.5)
    canvas.paint(common(np.maximum(seams, 35 - space.y), fascia + 1), FAT_HU, opacity=0.7)
    canvas.paint(cavity, FAT_HU + 5 * space.noise(rng, 14.0))
    return Wall(fascia, cavity)


def _draw_septa(canvas: Canvas, patient: Patient, inside: Field) -> None:
    """The faint strands of subcutaneous fat."""
    space = canvas.space
    sheet = np.abs(space.noise(patient.rng, 26.0)) * 14 - 0.5
    canvas.paint(np.maximum(sheet, inside), -45.0, opacity=0.25)


def _draw_chest(canvas: Canvas, patient: Patient, wall: Wall) -> Field:
    """Lungs above the two domes of the diaphragm, and the underside of the heart. Returns all that is not abdomen."""
    space, rng = canvas.space, patient.rng
    domes = []
    for x, y, top, wide, deep in ((64, 16, 86, 82, 106), (-64, 12, 78, 82, 106), (0, 45, 66, 72, 85)):
        away = np.hypot((space.x - x) / wide, (space.y - y) / deep)
        domes.append(patient.vary(top, 0.05) - 72 * away**2.2)
    diaphragm = union(union(-domes[0], -domes[1], 20.0), -domes[2], 20.0) + space.z + 2 * space.noise(rng, 40.0)
    middle = union(space.column((-2, -22), (27, 44)), space.column((-6, 40), (18, 60)), 15.0)
    heart = space.ellipsoid(patient.point((-22, 38, 100), 4), (60, 44, 42), (-0.15, 0.1)) + space.noise(rng, 30.0)
    lung = common(common(space.distance(-diaphragm), wall.cavity + 1.5, 5.0), -union(middle, heart - 5, 10.0), 6.0)
    canvas.paint(np.maximum(lung - 2.5, wall.cavity), 52.0)
    base = np.clip(-space.height / 90, -1, 1)
    canvas.paint(lung, -865 + 45 * base + 12 * space.noise(rng, 7.0))
    canvas.paint(heart, 128 + 6 * space.noise(rng, 15.0))
    for side in (1, -1):
        for _ in range(26):
            root = patient.within((side * 30, side * 30), (-24, 0), (70, 90))
            tip = patient.within((side * 45, side * 135), (-88, 60), (-5, 70))
            line = curve([root, patient.between(root, tip, 6), tip], 14)
            vessel = tube(space, line, np.linspace(3.2, 0.7, len(line)), 3.0).d
            canvas.paint(np.maximum(vessel, lung + 4), 30.0, opacity=0.7)
    return union(lung - 3, heart - 4)


def _draw_back_muscles(canvas: Canvas, patient: Patient, wall: Wall) -> Field:
    """Psoas, quadratus lumborum, the muscles along the spine, the crura. Returns what of them is in the abdomen."""
    space = canvas.space
    x, y, z = np.abs(space.x), space.y, space.z
    bulk = patient.vary(1.0, 0.08)
    r = np.clip(3 + (14 - z) * 0.21, 0.5, 21) * bulk
    psoas = np.hypot((x - 23 - 0.55 * r) / 0.92, (y + 47) / 1.08) - r + np.where(z > 14, (z - 14) / 2, 0)
    lumborum = space.ellipsoid((60, -74, -60), (20, 8.5, 75))
    lumborum = union(lumborum, space.ellipsoid((-60, -74, -60), (20, 8.5, 75)))
    along = np.minimum(space.column((28, -86), (27, 21), 2.4), space.column((-28, -86), (27, 21), 2.4))
    along = common(along, wall.fascia + 2, 4.0)
    crura = np.minimum(space.column((17, -24), (4.5, 11)), space.column((-26, -27), (4, 10)))
    crura = np.maximum(crura, -16 - z)
    texture = MUSCLE_HU + 4 * space.noise(patient.rng, 10.0)
    for muscle in (along, lumborum, psoas, crura):
        canvas.paint(muscle, texture)
    marbling = np.abs(space.noise(patient.rng, 12.0)) * 8 - 0.7
    canvas.paint(np.maximum(marbling, along + 2), FAT_HU, opacity=0.3)
    return union(union(psoas, lumborum), crura)


def _draw_ribs(canvas: Canvas, wall: Wall) -> None:
    """Ribs slope down from the spine, so that a slice cuts each at another place of its course."""
    space = canvas.space
    round_ = np.arctan2(np.abs(space.x), -(space.y + 6)).astype(np.float32)
    drop = 195 * np.sin(np.clip(round_ - 0.2, 0, None) / 2) ** 1.15
    level = (space.z + drop - 42) / _RIB_SPACING_MM
    which = np.clip(np.rint(level), 0, len(_RIB_ENDS) - 1).astype(np.intp)
    across = (level - which) * (_RIB_SPACING_MM * 0.8)
    depth = wall.cavity - 5.0
    end = (round_ - _RIB_ENDS[which]) * 110
    start = 24 - np.abs(space.x)
    k = np.hypot(depth / 3.6, across / 6.0)
    rib = np.maximum(np.maximum((k - 1) * 4.0, end), start)
    canvas.paint(rib, 620.0)
    canvas.paint(rib + 2.4, 260.0)
    # Cartilage carries the ribs on, to the costal margin.
    cartilage = np.maximum(np.maximum((k - 1) * 4.0, end - 42), 2 - end)
    canvas.paint(np.where(which > 1, cartilage, 99), 105.0)


def _draw_spine(canvas: Canvas, patient: Patient, wall: Wall) -> Field:
    """Vertebrae with cortex, discs, arches and processes around the canal. Returns the column of bodies and discs."""
    space = canvas.space
    first = patient.vary(17.0, 0.3)
    w = (np.mod(space.z - first + _VERTEBRA_MM / 2, _VERTEBRA_MM) - _VERTEBRA_MM / 2).astype(np.float32)
    canal = space.column((0.0, -72.0), (10, 8.5))
    waist = 1.3 * np.cos(2 * np.pi * w / _VERTEBRA_MM)
    body = common(space.column((0.0, -48.0), (22, 17), 2.2) + waist, -(canal + 3), 5.0)
    at = (np.abs(space.x), space.y, w)
    arch = np.full(w.shape, 99, np.float32)
    for a, b, r in (
        ((13, -60, 5), (16, -74, 3), 5.0),  # pedicle
        ((15, -77, 0), (2, -89, -7), 4.2),  # lamina
        ((16, -76, 3), (41, -83, 5), 4.0),  # transverse process
        ((15, -79, 11), (15, -79, -15), 5.0),  # facets
        ((0, -90, -4), (0, -107, -11), 3.6),  # spinous process
    ):
        arch = union(arch, cone(at, a, b, (r, r * 0.9))[0], 3.0)
    arch = np.maximum(arch, wall.fascia + 2)
    grain = space.noise(patient.rng, 6.0)
    canvas.paint(arch, 560.0)
    canvas.paint(arch + 2.6, 270 + 30 * grain)
    canvas.paint(canal, -40.0)
    canvas.paint(canal + 2.2, 32.0)
    trabecular = patient.vary(190, 0.12)
    canvas.paint(body, 430.0)
    canvas.paint(body + 2.3, trabecular + 18 * grain)
    canvas.paint(np.maximum(body + 1, np.abs(np.abs(w) - 13) - 1.2), 400.0)
    canvas.paint(np.maximum(body, 13.8 - np.abs(w)), 88.0)
    return body
