"""The phantom's solid organs and great vessels, in portal-venous contrast.

Each organ is a blend of smooth shapes, roughened, and fitted into what its forerunners left of the abdomen. Frame and
units are those of `phantom_body`.
"""

from __future__ import annotations

import numpy as np

from benchmark.data.phantom_body import FAT_HU, Patient, pipe
from benchmark.data.phantom_shapes import FAR, Canvas, Field, Point, Room, common, curve, tube, union

LIVER, SPLEEN, RIGHT_KIDNEY, LEFT_KIDNEY, AORTA = 1, 2, 3, 4, 5
BLOOD_HU = 166.0


def draw_organs(canvas: Canvas, patient: Patient, room: Room) -> None:
    """Paints the solid organs into the room, those first that give way to none."""
    _draw_great_vessels(canvas, patient, room)
    for side in (1, -1):
        _draw_kidney(canvas, patient, room, side)
    gallbladder = _fit_gallbladder(canvas, patient, room)
    _draw_spleen(canvas, patient, room)
    _draw_liver(canvas, patient, room)
    canvas.paint(gallbladder, 48.0)
    canvas.paint(gallbladder + 2, 9.0)


def _draw_great_vessels(canvas: Canvas, patient: Patient, room: Room) -> None:
    """Aorta with its two front branches, vena cava, and the gullet."""
    aorta_hu = patient.vary(155, 0.05)
    sway = patient.rng.normal(0, 2, 2)
    aorta = [(-11.0, -19.0, 95.0), (-10.0 + sway[0], -18.0, 40.0), (-8.0 + sway[1], -17.0, -10.0), (-5.0, -18.0, -95.0)]
    aorta_d = pipe(canvas, patient, aorta, (patient.vary(12.0), patient.vary(9.5)), 0.8).d
    cava = [(17.0, -16.0, -95.0), (22.0, -15.0, -30.0), (25.0, -12.0, 10.0), (27.0, -4.0, 45.0), (22.0, 6.0, 80.0)]
    cava_d = pipe(canvas, patient, cava, (11.5, 13.0), 1.0).d
    gullet = pipe(canvas, patient, [(-9.0, -2.0, 95.0), (-12.0, 0.0, 62.0), (-28.0, 6.0, 46.0)], (8.0, 7.0), 1.0).d
    trunk = [(-7.0, -10.0, 4.0), (-3.0, 6.0, -4.0), (2.0, 14.0, -32.0), (8.0, 22.0, -66.0)]
    mesenteric = pipe(canvas, patient, trunk, (4.0, 3.0)).d
    celiac = pipe(canvas, patient, [(-8.0, -8.0, 18.0), (-6.0, 8.0, 16.0), (10.0, 12.0, 18.0)], (3.6, 2.5)).d
    canvas.paint(gullet, 55.0)
    canvas.paint(cava_d, 138 + 6 * canvas.space.noise(patient.rng, 20.0))
    for branch in (mesenteric, celiac):
        canvas.paint(branch, aorta_hu)
    canvas.paint(aorta_d, aorta_hu, AORTA)
    for vessel, gap in ((aorta_d, 2.0), (cava_d, -1.0), (gullet, 1.0), (mesenteric, 3.0), (celiac, 1.0)):
        room.place(vessel, gap, 0.0)


def _draw_kidney(canvas: Canvas, patient: Patient, room: Room, side: int) -> None:
    """A bean: bright cortex, darker pyramids, and a sinus of fat that opens towards the spine."""
    space, rng = canvas.space, patient.rng
    x, y, z = patient.point((side * 62.0, -42.0, -24.0 if side > 0 else -14.0), 3)
    radii = (patient.vary(31, 0.06), patient.vary(27, 0.06), patient.vary(55, 0.06))
    lean = (-0.22 * side, -0.16)
    bean = space.ellipsoid((x, y, z), radii, lean) + 0.9 * space.noise(rng, 16.0)
    hilum = space.ellipsoid((x - side * 30.0, y + 9.0, z), (18, 9, 19), lean)
    around = np.clip(3.5 + 3.0 * space.noise(rng, 28.0), 0.5, 9.0)
    bean = room.place(common(bean, -hilum, 6.0), around, 4.0)
    sinus = union(space.ellipsoid((x - side * 9.0, y + 3.0, z), (13.0, 8.0, 25.0), lean), hilum, 8.0)
    sinus = common(sinus, bean + 9, 3.0) + 1.6 * space.noise(rng, 9.0)
    # Gerota's fascia, a hair around the fat of the kidney.
    canvas.paint(np.abs(bean - 10) - 0.3, -40.0, opacity=0.35)
    lobes = 3.0 * space.noise(rng, 11.0)
    label = RIGHT_KIDNEY if side > 0 else LEFT_KIDNEY
    cortex = patient.vary(182, 0.05)
    canvas.paint(bean, cortex + 4 * space.noise(rng, 12.0), label)
    canvas.paint(np.maximum(bean + 7.5 + lobes, -sinus), cortex - 40, label)
    canvas.paint(np.maximum(sinus, bean + 2), FAT_HU + 25)
    pelvis: list[Point] = [(x, y + 3, z + 12), (x - side * 10, y + 5, z), (x - side * 22, y + 8, z - 6)]
    canvas.paint(pipe(canvas, patient, pelvis, (3.0, 4.0), 1.0).d, 25.0)
    vein: list[Point] = [
        (x - side * 6, y + 4, z + 8),
        (x - side * 24, y + 14, z + 6),
        (20.0 if side > 0 else -2.0, -6.0, z + 9),
    ]
    if side < 0:
        vein.append((20.0, -8.0, z + 8))
    course = pipe(canvas, patient, vein, (2.8, 4.6), 1.0).d
    canvas.paint(np.maximum(course, -bean - 8), 140.0, opacity=0.95)
    room.place(course, 1.0, 0.0)


def _draw_spleen(canvas: Canvas, patient: Patient, room: Room) -> None:
    """Lies against the ribs, hollowed from within."""
    space = canvas.space
    size = patient.vary(1.0, 0.08)
    x, y, z = patient.point((-92.0, -38.0, 30.0), 3)
    shape = space.ellipsoid((x, y, z), (46 * size, 58 * size, 50 * size), (0.1, -0.15))
    hollow = space.ellipsoid((x + 56, y + 44, z + 4), (48, 46, 75))
    notch = space.ellipsoid((x - 8, y + 50 * size, z - 20), (16, 10, 16))
    shape = common(common(shape, -hollow, 10.0), -notch, 6.0) + 1.5 * space.noise(patient.rng, 28.0)
    spleen = room.place(shape, 2.0, 12.0)
    texture = 3 * space.noise(patient.rng, 10.0) + 3 * space.noise(patient.rng, 40.0)
    canvas.paint(spleen, patient.vary(121, 0.04) + texture, SPLEEN)
    vein: list[Point] = [(x + 26, y + 12, z - 8), (x + 48, y + 24, z - 12), (-20.0, 4.0, 2.0), (8.0, 10.0, -4.0)]
    course = pipe(canvas, patient, vein, (3.0, 5.0)).d
    canvas.paint(course, BLOOD_HU)
    room.place(course, 0.5, 0.0)


def _fit_gallbladder(canvas: Canvas, patient: Patient, room: Room) -> Field:
    x, y, z = patient.point((52.0, 48.0, -14.0), 4)
    sac = curve([(x - 8, y - 22, z + 22), (x - 2, y - 8, z + 10), (x, y, z), (x + 2, y + 8, z - 12)], 6.0)
    radii = np.interp(np.linspace(0, 1, len(sac)), [0, 0.3, 0.7, 1], [3, 8, patient.vary(14.5, 0.12), 11])
    return room.place(tube(canvas.space, sac, radii, 12.0).d, 0.5, 4.0)


def _draw_liver(canvas: Canvas, patient: Patient, room: Room) -> None:
    """A wedge that fills the right dome, its left lobe crossing the middle; fissures, vessels, lesions."""
    space, rng = canvas.space, patient.rng
    size = patient.vary(1.0, 0.04)
    right = space.ellipsoid(
        patient.point((84.0, -8.0, 30.0), 4), (74 * size, 88 * size, patient.vary(84, 0.08)), (-0.16, 0.05)
    )
    left = space.ellipsoid(
        patient.point((4.0, 46.0, 42.0), 4), (patient.vary(66, 0.1), 33 * size, 36 * size), (0.3, -0.1)
    )
    caudate = space.ellipsoid((24.0, 6.0, 36.0), (18, 15, 22))
    shape = union(union(right, left, 26.0), caudate, 10.0) + 2.0 * space.noise(rng, 34.0)
    # The visceral side is hollow: porta, stomach and duodenum press into it.
    porta = space.ellipsoid((24.0, 2.0, -8.0), (38, 34, 30))
    ligament = space.ellipsoid((17.0, 58.0, 10.0), (2.6, 22, 18), (0.25, 0.2)) + 1.2 * space.noise(rng, 14.0)
    venosum = space.ellipsoid((6.0, 20.0, 42.0), (20, 2.0, 18), (0.0, 0.35)) + 1.0 * space.noise(rng, 14.0)
    for cut, blend in ((porta, 16.0), (ligament, 4.0), (venosum, 3.0)):
        shape = common(shape, -cut, blend)
    liver = room.place(shape, 1.5, 7.0)
    texture = 3 * space.noise(rng, 9.0) + 4 * space.noise(rng, 45.0)
    canvas.paint(liver, patient.vary(112, 0.04) + texture, LIVER)
    _draw_liver_vessels(canvas, patient, room, liver)
    for _ in range(int(rng.integers(1, 4))):
        r = rng.uniform(9, 17)
        at = patient.point((88.0, 0.0, 22.0), 19)
        lesion = space.ellipsoid(at, (r, r * rng.uniform(0.8, 1.2), r)) + 1.3 * space.noise(rng, 9.0)
        lesion = np.maximum(lesion, liver + 4)
        canvas.paint(lesion, 74.0, LIVER, opacity=0.8)
        canvas.paint(lesion + 2.5, rng.uniform(40, 58) + 5 * space.noise(rng, 6.0), LIVER)


def _draw_liver_vessels(canvas: Canvas, patient: Patient, room: Room, liver: Field) -> None:
    """Portal vein from its confluence to the hilum; its branches and the hepatic veins within, which count as liver."""
    portal: list[Point] = [(8.0, 14.0, -60.0), (8.0, 12.0, -6.0), (24.0, 10.0, 8.0), (44.0, 12.0, 20.0)]
    trunk = pipe(canvas, patient, portal, (5.0, 7.5), 1.0).d
    canvas.paint(np.maximum(trunk, -liver), BLOOD_HU)
    room.place(np.maximum(trunk, -liver), 1.5, 0.0)
    hilum, cava = (44.0, 12.0, 20.0), (27.0, -2.0, 62.0)
    stems: list[tuple[Point, Point, float]] = [
        (hilum, (92.0, 34.0, 16.0), 6.5),
        (hilum, (100.0, -36.0, 8.0), 6.5),
        (hilum, (80.0, 0.0, -18.0), 6.0),
        (hilum, (14.0, 42.0, 36.0), 6.0),
        (cava, (112.0, -14.0, 40.0), 6.5),
        (cava, (74.0, 52.0, 46.0), 6.5),
        (cava, (-4.0, 50.0, 52.0), 6.0),
    ]
    vessels = np.full(liver.shape, FAR, np.float32)
    for root, tip, radius in stems:
        middle = patient.between(root, tip, 5)
        end = patient.point(tip, 6)
        vessels = union(vessels, pipe(canvas, patient, [root, middle, end], (radius, 3.0), 0.1).d)
        for start in (middle, end):
            for _ in range(3):
                twig = pipe(canvas, patient, [start, patient.point(start, 24)], (3.2, 1.6), 0.1)
                vessels = union(vessels, twig.d)
    canvas.paint(np.maximum(vessels, liver + 1.5), BLOOD_HU + 6, LIVER)
