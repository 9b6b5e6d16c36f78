from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.data.intensity import CTWindow
from benchmark.data.msd import Task
from benchmark.data.slices import Slice
from benchmark.pictures import save_pictures
from benchmark.plan import Group, PlannedTask
from benchmark.results import Picture

LABELS = {1: "organ", 2: "tumour"}
TASK = Task("T", Path("T"), "CT", 0, 1, LABELS, frozenset({0, 1, 2}), CTWindow(40, 400), ())
GROUP = Group("pseudolabel", PlannedTask(TASK, ()), "m", ("box",), "cpu", (), (), "k" * 64)


def make_slices(areas: list[int]) -> list[Slice]:
    """Slices with so many labelled voxels, numbered from 10."""
    rng = np.random.default_rng(0)
    made = []
    for number, area in enumerate(areas):
        label = np.zeros((8, 6), np.uint8)
        label.flat[:area] = 1 + np.arange(area) % 2
        made.append(Slice("c1", 10 + number, rng.uniform(0, 255, (8, 6)).astype(np.float32), label, (0.7, 0.8)))
    return made


def perfect(chosen: list[Slice]) -> np.ndarray:
    return np.stack([piece.label for piece in chosen])


def save(run_dir: Path, chosen: list[Slice], count: int, **predictions: np.ndarray) -> list[Picture]:
    return save_pictures(run_dir, GROUP, chosen, {"box": predictions}, count)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "L"
        return np.asarray(image)


def test_the_files_hold_the_arrays_exactly(tmp_path: Path) -> None:
    chosen = make_slices([0, 20, 0])
    ours = perfect(chosen)
    theirs = ours.copy()
    theirs[1, 3, 3] = 2
    (picture,) = save(tmp_path, chosen, 1, pytorch=ours, onnxruntime=theirs)
    assert np.array_equal(pixels(tmp_path / picture.image), np.rint(chosen[1].image))
    assert np.array_equal(pixels(tmp_path / picture.reference), chosen[1].label)
    assert list(picture.predictions) == ["pytorch", "onnxruntime"]
    assert np.array_equal(pixels(tmp_path / picture.predictions["pytorch"]), ours[1])
    assert np.array_equal(pixels(tmp_path / picture.predictions["onnxruntime"]), theirs[1])
    assert (picture.case, picture.slice, picture.spacing_mm, picture.prompt) == ("c1", 11, (0.7, 0.8), "box")
    assert picture.labels == LABELS
    assert picture.differing == 1
    assert len(list(tmp_path.rglob("*"))) == 2 + 4  # two folders, four files, no temporary one


def test_a_slice_in_memory_in_any_order_is_written_as_seen(tmp_path: Path) -> None:
    """Predictions of a half-turned SAM are views with negative strides."""
    chosen = make_slices([20])
    turned = perfect(chosen)[:, ::-1, ::-1]
    (picture,) = save(tmp_path, chosen, 1, pytorch=turned)
    assert np.array_equal(pixels(tmp_path / picture.predictions["pytorch"]), turned[0])


def test_dice_beside_a_picture_is_that_of_its_slice(tmp_path: Path) -> None:
    chosen = make_slices([20, 4])
    half = perfect(chosen)
    half[0][half[0] == 2] = 0
    (picture,) = save(tmp_path, chosen, 1, pytorch=perfect(chosen), onnxruntime=half)
    assert picture.slice == 10
    assert picture.dice == {"pytorch": 1.0, "onnxruntime": 0.5}  # the mean of 1 and 0


def test_the_largest_organ_is_shown_where_the_backends_agree(tmp_path: Path) -> None:
    chosen = make_slices([0, 4, 12, 30, 12, 4, 0])
    same = perfect(chosen)
    assert [picture.slice for picture in save(tmp_path, chosen, 1, pytorch=same, onnxruntime=same)] == [13]


def test_the_slice_with_most_disagreement_comes_first(tmp_path: Path) -> None:
    chosen = make_slices([4, 30, 12, 8, 9, 6])
    theirs = perfect(chosen)
    theirs[1, 7, 5] ^= 1
    theirs[3, 7, :3] ^= 1
    found = save(tmp_path, chosen, 2, pytorch=perfect(chosen), onnxruntime=theirs)
    assert [picture.slice for picture in found] == [13, 11]


def test_slices_without_an_organ_are_not_shown_whatever_is_predicted_there(tmp_path: Path) -> None:
    chosen = make_slices([0, 5, 9, 0, 0, 0])
    theirs = perfect(chosen)
    theirs[0] = 1
    theirs[1, 7, 5] = 1
    found = save(tmp_path, chosen, 4, pytorch=perfect(chosen), onnxruntime=theirs)
    # The most disagreement among those that are shown still comes first.
    assert [picture.slice for picture in found] == [11, 12]
    empty = make_slices([0, 0])
    assert save(tmp_path, empty, 2, pytorch=perfect(empty)) == []


def test_no_more_than_asked_for_and_not_next_to_each_other(tmp_path: Path) -> None:
    chosen = make_slices(list(range(1, 31)))
    found = sorted(picture.slice for picture in save(tmp_path, chosen, 3, pytorch=perfect(chosen)))
    assert len(found) == 3
    assert min(np.diff(found)) >= 30 // 7


def test_every_variant_has_pictures_and_files_of_its_own(tmp_path: Path) -> None:
    chosen = make_slices([20])
    box, point = perfect(chosen), np.zeros_like(perfect(chosen))
    found = save_pictures(tmp_path, GROUP, chosen, {"box": {"pytorch": box}, "point": {"pytorch": point}}, 1)
    assert [picture.prompt for picture in found] == ["box", "point"]
    for picture, array in zip(found, (box, point), strict=True):
        assert np.array_equal(pixels(tmp_path / picture.predictions["pytorch"]), array[0])


@pytest.mark.parametrize("predictions", [{}, {"pytorch": np.zeros((0, 0, 0), np.uint8)}])
def test_nothing_to_show_is_no_picture(tmp_path: Path, predictions: dict[str, np.ndarray]) -> None:
    assert save_pictures(tmp_path, GROUP, [], {"box": predictions}, 2) == []


def test_a_case_in_which_every_lane_failed_has_no_pictures_and_no_error(tmp_path: Path) -> None:
    """The cells say why they failed; a picture that cannot be made must not end the run before they are written."""
    assert save(tmp_path, make_slices([5, 9]), 2) == []
    assert list(tmp_path.iterdir()) == []


def test_a_reduced_precision_has_pictures_beside_fp32_and_file_names_without_blanks(tmp_path: Path) -> None:
    chosen = make_slices([20])
    full, reduced = perfect(chosen), np.zeros_like(perfect(chosen))
    (picture,) = save_pictures(
        tmp_path, GROUP, chosen, {"box": {"onnxruntime": full, "onnxruntime int8-static": reduced}}, 1
    )
    assert list(picture.predictions) == ["onnxruntime", "onnxruntime int8-static"]
    assert np.array_equal(pixels(tmp_path / picture.predictions["onnxruntime"]), full[0])
    assert np.array_equal(pixels(tmp_path / picture.predictions["onnxruntime int8-static"]), reduced[0])
    assert not [path for path in tmp_path.rglob("*") if " " in path.name]


def test_where_dice_means_nothing_a_picture_gives_the_reason_instead(tmp_path: Path) -> None:
    chosen = make_slices([20])
    group = replace(GROUP, no_dice="random weights")
    (picture,) = save_pictures(tmp_path, group, chosen, {"box": {"pytorch": perfect(chosen)}}, 1)
    assert (picture.dice, picture.dice_reason) == ({"pytorch": None}, "random weights")


def test_paths_are_relative_so_that_a_run_folder_can_be_moved(tmp_path: Path) -> None:
    chosen = make_slices([20])
    (picture,) = save(tmp_path, chosen, 1, pytorch=perfect(chosen))
    for path in (picture.image, picture.reference, *picture.predictions.values()):
        assert not Path(path).is_absolute() and "\\" not in path
        assert path.startswith(f"pictures/{GROUP.folder}/")


def test_a_lane_alone_differs_from_nobody(tmp_path: Path) -> None:
    chosen = make_slices([20])
    assert save(tmp_path, chosen, 1, pytorch=perfect(chosen))[0].differing == 0
