"""Contours lie where the pixels are."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.results import Results
from reports.contours import contour_path
from reports.gallery import gallery
from reports.html import write_html


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.-]+),([\d.-]+)", path)]


def test_the_contour_of_a_block_runs_along_the_edges_of_its_pixels() -> None:
    mask = np.zeros((6, 8), bool)
    mask[1:3, 2:5] = True  # rows 1 and 2, columns 2 to 4: x from 2 to 5, y from 1 to 3
    assert set(points(contour_path(mask))) == {
        # Corners are cut half a pixel from the corner; edges are exact.
        *((x, y) for x in (2.5, 3.5, 4.5) for y in (1.0, 3.0)),
        *((x, y) for x in (2.0, 5.0) for y in (1.5, 2.5)),
    }


def test_a_mask_at_the_border_has_a_closed_contour_of_full_extent() -> None:
    path = contour_path(np.ones((3, 4), bool))
    found = np.array(points(path))
    assert path.count("M") == path.count("Z") == 1
    assert (found.min(0).tolist(), found.max(0).tolist()) == ([0.0, 0.0], [4.0, 3.0])


def test_a_hole_and_a_second_part_have_contours_of_their_own() -> None:
    mask = np.zeros((9, 9), bool)
    mask[1:6, 1:6] = True
    mask[3, 3] = False
    mask[7, 7] = True
    assert contour_path(mask).count("M") == 3


def test_an_empty_mask_has_no_contour() -> None:
    assert contour_path(np.zeros((4, 4), bool)) == ""


def test_proportions_follow_the_spacing(results: Results, run_dir: Path) -> None:
    picture = results.pictures[0].model_copy(update={"spacing_mm": (2.0, 0.5)})
    (plate,) = gallery([picture], run_dir).plates
    assert plate.scale == (1.0, 4.0)
    x, y, width, height = plate.window
    assert height / width == pytest.approx(4.0)
    assert x >= 0 and y >= 0 and x + width <= 64 + 1e-6 and y + height <= 256 + 1e-6


def test_nothing_that_is_labelled_is_cropped_away(results: Results, run_dir: Path) -> None:
    for plate in gallery(results.pictures, run_dir).plates:
        x, y, width, height = plate.window
        panels = [panel for strip in plate.strips for panel in strip.panels]
        paths = [line.path for line in plate.reference] + [o.path for panel in panels for o in panel.outlines]
        drawn = np.concatenate([points(path) for path in paths]) * plate.scale
        assert (drawn >= (x, y)).all() and (drawn <= (x + width, y + height)).all()


def test_the_embedded_part_of_the_image_covers_the_window_in_whole_pixels(results: Results, run_dir: Path) -> None:
    picture = results.pictures[0].model_copy(update={"spacing_mm": (0.9, 0.6)})
    (plate,) = gallery([picture], run_dir).plates
    with Image.open(run_dir / picture.image) as whole:
        left, top, width, height = *plate.corner, *plate.size
        expected = np.asarray(whole)[top : top + height, left : left + width]
    embedded = Image.open(io.BytesIO(base64.b64decode(plate.image.partition(",")[2])))
    np.testing.assert_array_equal(np.asarray(embedded), expected)
    x, y, w, h = plate.window
    assert left * plate.scale[0] <= x and top * plate.scale[1] <= y
    assert (left + width) * plate.scale[0] >= x + w - 1e-6 and (top + height) * plate.scale[1] >= y + h - 1e-6


def test_a_reduced_precision_has_a_panel_of_its_own_name(results: Results, run_dir: Path) -> None:
    picture = results.pictures[0]
    files = {**picture.predictions, "onnxruntime int8": picture.predictions["onnxruntime"]}
    shown = picture.model_copy(update={"predictions": files, "dice": {**picture.dice, "onnxruntime int8": 0.5}})
    ((strip,),) = (plate.strips for plate in gallery([shown], run_dir).plates)
    assert [(panel.name, panel.dice) for panel in strip.panels] == [
        ("PyTorch", "0.931"),
        ("ONNX Runtime", "0.931"),
        ("ONNX Runtime int8", "0.500"),
    ]
    assert strip.panels[2].alt.endswith("prediction of ONNX Runtime int8")


def test_pseudo_label_and_unet_of_one_slice_share_a_plate(results: Results, run_dir: Path) -> None:
    pair = [picture for picture in results.pictures if picture.task == "Task09_Spleen" and picture.prompt == "box"]
    assert {picture.stage for picture in pair} == {"pseudolabel", "segment"}
    (plate,) = gallery(pair, run_dir).plates
    assert [strip.caption for strip in plate.strips] == ["pseudolabel, litemedsam, box", "segment, unet-2d, box labels"]
    assert all(len(strip.panels) == 2 for strip in plate.strips)


def test_backends_that_disagree_most_come_first_and_the_pixels_are_marked(results: Results, run_dir: Path) -> None:
    calm, other = (p.model_copy(update={"slice": n}) for n, p in enumerate(results.pictures[:2]))
    moved = np.asarray(Image.open(run_dir / other.predictions["pytorch"])).copy()
    moved[0, :3] = 1
    Image.fromarray(moved).save(run_dir / "pictures" / "moved.png")
    odd = other.model_copy(
        update={"predictions": {**other.predictions, "onnxruntime": "pictures/moved.png"}, "differing": 3}
    )
    plates = gallery([calm.model_copy(update={"differing": 0}), odd], run_dir).plates
    assert [plate.strips[0].agreement for plate in plates] == [
        "backends differ in 3 pixels",
        "backends agree in every pixel",
    ]
    found = np.array(points(plates[0].strips[0].differs))
    assert (found.min(0).tolist(), found.max(0).tolist()) == ([0.0, 0.0], [3.0, 1.0])
    assert plates[1].strips[0].differs == ""


def test_more_slices_than_a_page_holds_are_counted(
    results: Results, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [results.pictures[0].model_copy(update={"slice": n}) for n in range(30)]
    found = gallery(many, run_dir)
    assert (len(found.plates), found.more) == (24, 6)
    monkeypatch.setattr("reports.gallery.MOST_BYTES", 2 * len(found.plates[0].image))
    small = gallery(many, run_dir)
    assert (len(small.plates), small.more) == (2, 28)
    monkeypatch.setattr("reports.gallery.MOST_BYTES", 0)
    assert len(gallery(many, run_dir).plates) == 1


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
    (plate,) = gallery([results.pictures[0].model_copy(update={"image": name})], run_dir / ".").plates
    assert plate.strips[0].problem is not None and name in plate.strips[0].problem
    assert plate.image == ""
