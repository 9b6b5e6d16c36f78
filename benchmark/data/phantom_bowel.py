"""The phantom's hollow organs, the pancreas among them, and the vessels and strands in the fat around.

They give way to the solid organs. Frame and units are those of `phantom_body`.
"""

from __future__ import annotations

import numpy as np

from benchmark.data.phantom_body import Patient, pipe
from benchmark.data.phantom_shapes import FAR, Canvas, Point, Room, common, curve, tube, union

STOMACH = 6
GAS_HU = -950.0


def draw_bowel(canvas: Canvas, patient: Patient, room: Room) -> None:
    """Paints the hollow organs into the room that the solid ones left."""
    _draw_stomach(canvas, patient, room)
    _draw_pancreas(canvas, patient, room)
    _draw_colon(canvas, patient, room)
    _draw_small_bowel(canvas, patient, room)
    _draw_mesentery(canvas, patient, room)


def _draw_stomach(canvas: Canvas, patient: Patient, room: Room) -> None:
    """Fundus under the left dome, body in front, antrum across the middle; fluid with air floating on it."""
    space, rng = canvas.space, patient.rng
    full = patient.vary(1.0, 0.1)
    points = [
        (-58.0, -12.0, 56.0),
        (-62.0, 8.0, 40.0),
        (-58.0, 34.0, 16.0),
        (-42.0, 50.0, -8.0),
        (-8.0, 54.0, -18.0),
        (24.0, 42.0, -10.0),
    ]
    line = curve([patient.point(p, 3) for p in points], 7.0)
    radii = np.interp(
        np.linspace(0, 1, len(line)), [0, 0.2, 0.45, 0.75, 0.95, 1], np.array([27, 32, 28, 22, 14, 9]) * full
    )
    bag = tube(space, line, radii, 16.0).d
    stomach = room.place(bag + 1.2 * space.noise(rng, 18.0), 2.5, 8.0)
    canvas.paint(stomach, 78.0, STOMACH)
    rugae = 4.2 + 1.5 * np.clip(space.noise(rng, 8.0), -1, 2)
    lumen = stomach + rugae
    food = np.clip(space.noise(rng, 9.0), -1.5, 1.5)
    canvas.paint(lumen, patient.vary(20, 0.3) + 9 * food, STOMACH)
    level = np.float32(patient.point((0.0, 50.0, 0.0), 5)[1])
    canvas.paint(np.maximum(lumen, level - space.height), GAS_HU, STOMACH)


def _draw_pancreas(canvas: Canvas, patient: Patient, room: Room) -> None:
    """Lobulated, from the duodenum's loop to the spleen; with the duodenum and the adrenals."""
    space, rng = canvas.space, patient.rng
    duodenum = pipe(
        canvas,
        patient,
        [(36.0, 32.0, -2.0), (50.0, 14.0, -12.0), (48.0, 6.0, -42.0), (10.0, 0.0, -56.0), (-28.0, 4.0, -48.0)],
        (12.0, 11.0),
        2.0,
    )
    gland = curve(
        [
            patient.point(p, 2.5)
            for p in [
                (28.0, 8.0, -34.0),
                (26.0, 14.0, -18.0),
                (6.0, 22.0, -4.0),
                (-22.0, 16.0, 6.0),
                (-54.0, -2.0, 12.0),
                (-78.0, -16.0, 18.0),
            ]
        ],
        7.0,
    )
    radii = np.interp(np.linspace(0, 1, len(gland)), [0, 0.2, 0.4, 0.7, 1], [12, 13, 8.5, 10, 8])
    pancreas = room.place(tube(space, gland, radii).d + 2.2 * space.noise(rng, 7.0), 1.5, 3.0)
    gut = room.place(duodenum.d + space.noise(rng, 9.0), 1.5, 3.0)
    canvas.paint(pancreas, 97 + 9 * space.noise(rng, 6.0))
    canvas.paint(gut, 82.0)
    canvas.paint(gut + 3.2, 22.0)
    for side, z in ((1.0, 34.0), (-1.0, 26.0)):
        limbs: list[list[Point]] = [
            [(side * 34, -22.0, z), (side * 38, -34.0, z - 4), (side * 44, -46.0, z + 4)],
            [(side * 34, -22.0, z), (side * 33, -36.0, z - 4), (side * 34, -50.0, z + 4)],
        ]
        for limb in limbs:
            canvas.paint(room.place(pipe(canvas, patient, limb, (2.6, 1.8), 1.0).d, 1.0, 0.0), 75.0)


def _draw_colon(canvas: Canvas, patient: Patient, room: Room) -> None:
    """Frames the abdomen; pouched, with gas in front and stool behind."""
    space, rng = canvas.space, patient.rng
    points = [
        (96.0, -14.0, -100.0),
        (100.0, -20.0, -70.0),
        (92.0, -8.0, -48.0),
        (80.0, 30.0, -44.0),
        (56.0, 62.0, -52.0),
        (10.0, 72.0, -46.0),
        (-36.0, 68.0, -36.0),
        (-78.0, 44.0, -16.0),
        (-102.0, 10.0, 2.0),
        (-112.0, -24.0, -8.0),
        (-110.0, -34.0, -40.0),
        (-108.0, -26.0, -100.0),
    ]
    line = curve([patient.point(p, 5) for p in points], 5.0)
    along = np.arange(len(line)) * 5.0
    radii = np.interp(along / along[-1], [0, 0.25, 0.5, 0.7, 1], [25, 22, 21, 17, 14])
    radii = radii * (1 + 0.17 * np.sin(2 * np.pi * along / 34.0)) * patient.vary(1.0, 0.08)
    bowel = tube(space, line, radii, 12.0)
    colon = room.place(bowel.d + 0.7 * space.noise(rng, 14.0), 2.0, 10.0)
    canvas.paint(colon, 62.0)
    lumen = colon + 3.0
    crumbs = space.noise(rng, 5.0)
    canvas.paint(lumen, 15 + 45 * np.clip(crumbs, -2, 1) - 250 * np.clip(crumbs - 1.1, 0, 1))
    filled = 11.0 + 10.0 * space.noise(rng, 34.0) + 1.5 * space.noise(rng, 12.0)
    canvas.paint(np.maximum(lumen, filled - 9 - bowel.above), GAS_HU)


def _draw_small_bowel(canvas: Canvas, patient: Patient, room: Room) -> None:
    """Loops pressed against each other below the stomach: a voxel belongs to the nearest loop, walls run between."""
    space, rng = canvas.space, patient.rng
    nearest, second = np.full(space.x.shape, FAR), np.full(space.x.shape, FAR)
    content = np.zeros(space.x.shape, np.float32)
    for x in range(-84, 60, 29):
        for y in (14, 40, 64):
            for z in range(-96, -18, 26):
                at = np.array(patient.point((x + 7 * (y > 20), y, z), 5))
                way = rng.normal(size=3) * (1, 0.7, 0.7)
                way *= rng.uniform(16, 30) / np.linalg.norm(way)
                bend = np.cross(way, rng.normal(size=3)) * 0.35
                line = curve(np.stack([at - way, at + bend, at + way]), 12.0)
                d = tube(space, line, rng.uniform(10, 13), 6.0).d
                closer = d < nearest
                second = np.where(closer, nearest, np.minimum(second, d))
                content = np.where(closer, np.float32(rng.choice([18, 30, 45, 70], p=[0.35, 0.35, 0.2, 0.1])), content)
                nearest = np.minimum(nearest, d)
    loops = common(nearest, (nearest - second) / 2 + 0.8, 3.0)
    loops = room.place(loops + 0.8 * space.noise(rng, 9.0), 1.0, 4.0)
    canvas.paint(loops, 88 + 6 * space.noise(rng, 9.0))
    canvas.paint(loops + 3.0 + 1.2 * space.noise(rng, 5.0), content)
    bubbles = np.maximum(loops + 4, 2.4 - space.noise(rng, 22.0))
    canvas.paint(bubbles * 4, GAS_HU)


def _draw_mesentery(canvas: Canvas, patient: Patient, room: Room) -> None:
    """Small vessels that fan out in the fat, and its faint strands."""
    space, rng = canvas.space, patient.rng
    free = room.free
    strands = np.abs(space.noise(rng, 20.0)) * 12 - 0.4
    canvas.paint(np.maximum(strands, free + 1), -55.0, opacity=0.3)
    vessels = np.full(free.shape, FAR, np.float32)
    for _ in range(34):
        root = patient.within((-6, 12), (8, 24), (-66, -10))
        tip = patient.within((-95, 85), (0, 70), (root[2] - 25, root[2] + 15))
        vessels = union(vessels, pipe(canvas, patient, [root, patient.between(root, tip, 8), tip], (2.4, 0.9), 0.1).d)
    canvas.paint(np.maximum(vessels, free), 110.0, opacity=0.85)
