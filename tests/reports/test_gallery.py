"""Contours lie where the pixels are."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmark.results import Results
from reports import gallery
from reports.html import write_html


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.-]+),([\d.-]+)", path)]


def test_the_contour_of_a_block_runs_along_the_edges_of_its_pixels() -> None:
    mask = np.zeros((6, 8), bool)
    mask[1:3, 2:5] = True  # rows 1 and 2, columns 2 to 4: x from 2 to 5, y from 1 to 3
    assert set(points(gallery.contour_path(mask))) == {
        # Corners are cut half a pixel from the corner; edges are exact.
        *((x, y) for x in (2.5, 3.5, 4.5) for y in (1.0, 3.0)),
        *((x, y) for x in (2.0, 5.0) for y in (1.5, 2.5)),
    }


def test_a_mask_at_the_border_has_a_closed_contour_of_full_extent() -> None:
    path = gallery.contour_path(np.ones((3, 4), bool))
    found = np.array(points(path))
    assert path.count("M") == path.count("Z") == 1
    assert (found.min(0).tolist(), found.max(0).tolist()) == ([0.0, 0.0], [4.0, 3.0])


def test_a_hole_and_a_second_part_have_contours_of_their_own() -> None:
    mask = np.zeros((9, 9), bool)
    mask[1:6, 1:6] = True
    mask[3, 3] = False
    mask[7, 7] = True
    assert gallery.contour_path(mask).count("M") == 3


def test_an_empty_mask_has_no_contour() -> None:
    assert gallery.contour_path(np.zeros((4, 4), bool)) == ""


def test_proportions_follow_the_spacing(results: Results, run_dir: Path) -> None:
    picture = results.pictures[0].model_copy(update={"spacing_mm": (2.0, 0.5)})
    plate = gallery.plates([picture], run_dir)[0]
    assert plate.scale == (1.0, 4.0)
    x, y, width, height = plate.window
    assert height / width == pytest.approx(4.0)
    assert x >= 0 and y >= 0 and x + width <= 64 + 1e-6 and y + height <= 256 + 1e-6


def test_nothing_that_is_labelled_is_cropped_away(results: Results, run_dir: Path) -> None:
    for plate in gallery.plates(results.pictures, run_dir):
        x, y, width, height = plate.window
        paths = [line.path for line in plate.reference] + [o.path for panel in plate.panels for o in panel.outlines]
        drawn = np.concatenate([points(path) for path in paths]) * plate.scale
        assert (drawn >= (x, y)).all() and (drawn <= (x + width, y + height)).all()


def test_a_reduced_precision_has_a_panel_of_its_own_name(results: Results, run_dir: Path) -> None:
    picture = results.pictures[0]
    files = {**picture.predictions, "onnxruntime int8": picture.predictions["onnxruntime"]}
    shown = picture.model_copy(update={"predictions": files, "dice": {**picture.dice, "onnxruntime int8": 0.5}})
    (plate,) = gallery.plates([shown], run_dir)
    assert [(panel.name, panel.dice) for panel in plate.panels] == [
        ("PyTorch", "0.931"),
        ("ONNX Runtime", "0.931"),
        ("ONNX Runtime int8", "0.500"),
    ]
    assert plate.panels[2].alt.endswith("prediction of ONNX Runtime int8")


def test_a_picture_without_dice_says_why(results: Results, run_dir: Path) -> None:
    picture = results.pictures[0]
    blank = picture.model_copy(update={"dice": dict.fromkeys(picture.dice), "dice_reason": "random weights"})
    page = write_html(results.model_copy(update={"pictures": [blank]}), run_dir).read_text(encoding="utf-8")
    assert "No Dice: random weights" in page
    assert "<b>ONNX Runtime</b> Dice –" in page


@pytest.mark.parametrize("name", ["pictures/absent.png", "../secret.png"])
def test_a_picture_that_cannot_be_had_says_so_and_reads_nothing_outside(
    name: str, results: Results, run_dir: Path
) -> None:
    plate = gallery.plates([results.pictures[0].model_copy(update={"image": name})], run_dir / ".")[0]
    assert plate.problem is not None and name in plate.problem
    assert plate.image == ""
