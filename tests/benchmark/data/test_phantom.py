"""The phantom stands in for patients in every demo and test, so it must be repeatable, valid MSD and like a CT."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmark.data.phantom import PHANTOM_LABELS, PHANTOM_TASK, PhantomSpec, phantom_case, write_phantom
from benchmark.errors import InputError

SMALL = PhantomSpec(cases=2, size=64, slices=12, spacing_mm=(6.0, 6.0, 12.0))
TINY = PhantomSpec(cases=2, size=24, slices=3, spacing_mm=(16.0, 16.0, 48.0))
"""Where what is drawn does not matter, only which files are written."""

Case = tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.float64]]
NUMBER = {name: number for number, name in PHANTOM_LABELS.items()}


@pytest.fixture(scope="module")
def case() -> Case:
    return phantom_case(PhantomSpec(), 0)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom(tmp_path_factory.mktemp("msd"), SMALL)


def middle_mm(label: NDArray[np.uint8], affine: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """Centre of mass of a label in world coordinates."""
    voxels = np.argwhere(label == NUMBER[name])
    centre: NDArray[np.float64] = affine[:3, :3] @ voxels.mean(axis=0) + affine[:3, 3]
    return centre


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def stamps_of(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_a_case_is_the_same_every_time() -> None:
    first, second = phantom_case(TINY, 1), phantom_case(TINY, 1)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_case_does_not_depend_on_how_many_there_are() -> None:
    few, many = dataclasses.replace(TINY, cases=2), dataclasses.replace(TINY, cases=9)
    np.testing.assert_array_equal(phantom_case(few, 1)[0], phantom_case(many, 1)[0])


def test_cases_and_seeds_are_different_patients_and_not_just_other_noise() -> None:
    base = phantom_case(SMALL, 0)[1]
    for other in (phantom_case(SMALL, 1)[1], phantom_case(dataclasses.replace(SMALL, seed=1), 0)[1]):
        assert np.mean(base[base > 0] != other[base > 0]) > 0.1


def test_a_finer_grid_shows_the_same_patient(case: Case) -> None:
    """Anatomy is drawn in millimetres: a quick coarse phantom must be the full one, seen worse."""
    fine, coarse = case[1], phantom_case(SMALL, 0)[1]
    for number in PHANTOM_LABELS:
        volume = (fine == number).sum() * 54.0, (coarse == number).sum() * 432.0
        assert volume[1] == pytest.approx(volume[0], rel=0.25)


def test_array_types_shapes_and_the_centred_ras_affine(case: Case) -> None:
    image, label, affine = case
    assert image.dtype == np.int16
    assert label.dtype == np.uint8
    assert image.shape == label.shape == (128, 128, 24)
    assert nib.aff2axcodes(affine) == ("R", "A", "S")
    np.testing.assert_allclose(affine[:3, :3] @ ((np.array(image.shape) - 1) / 2) + affine[:3, 3], 0, atol=1e-9)


# Adult volumes, wide enough for the variation between patients and for a field of view that may cut the dome.
@pytest.mark.parametrize(
    ("name", "millilitres"),
    [
        ("liver", (700, 1900)),
        ("spleen", (80, 350)),
        ("right kidney", (90, 260)),
        ("left kidney", (90, 260)),
        ("aorta", (25, 90)),
        ("stomach", (120, 600)),
    ],
)
def test_every_organ_has_an_adult_volume_and_spans_many_slices(
    case: Case, name: str, millilitres: tuple[float, float]
) -> None:
    mask = case[1] == NUMBER[name]
    assert millilitres[0] < mask.sum() * 0.054 < millilitres[1]
    assert mask.any(axis=(0, 1)).sum() >= 8


@pytest.mark.slow
def test_every_one_of_the_default_patients_has_every_label() -> None:
    for index in range(PhantomSpec().cases):
        label = phantom_case(SMALL, index)[1]
        for number in PHANTOM_LABELS:
            assert (label == number).any(axis=(0, 1)).sum() >= 4, (index, PHANTOM_LABELS[number])


@pytest.mark.parametrize(
    ("name", "hu"),
    [
        ("liver", (90, 130)),
        ("spleen", (100, 140)),
        ("right kidney", (120, 200)),
        ("left kidney", (120, 200)),
        ("aorta", (130, 185)),
        ("stomach", (5, 60)),
    ],
)
def test_organs_have_the_hounsfield_units_of_portal_venous_contrast(
    case: Case, name: str, hu: tuple[float, float]
) -> None:
    image, label, _ = case
    assert hu[0] < np.median(image[label == NUMBER[name]]) < hu[1]


def test_the_rest_of_the_body_has_fat_muscle_bone_and_gas_and_nothing_beyond_a_scanner(case: Case) -> None:
    image, label, _ = case
    assert image.min() >= -1024
    assert image.max() < 1500
    assert np.median(image[0, -8:]) == pytest.approx(-1000, abs=20)  # the air around
    body = image[image > -200]
    fat, soft = np.mean((body > -140) & (body < -60)), np.mean((body > 20) & (body < 200))
    assert 0.2 < fat < 0.6
    assert 0.3 < soft < 0.7
    assert np.sum(image > 350) > 1000  # bone
    lungs = image[30:98, 40:90, -1]
    assert np.mean((lungs < -750) & (lungs > -960)) > 0.15
    assert np.mean(image[..., 0][30:98, 30:110] < -800) > 0.005  # gas in the colon
    assert (image[label == NUMBER["stomach"]] < -800).sum() > 100


def test_noise_is_that_of_a_ct(case: Case) -> None:
    image, label, _ = case
    liver = label == NUMBER["liver"]
    pairs = liver[1:] & liver[:-1]
    # Neighbours share anatomy and part of the noise, so their differences show the noise from below.
    assert 4 < np.std((image[1:].astype(float) - image[:-1])[pairs]) / np.sqrt(2) < 20


def test_organs_lie_on_their_sides_of_the_patient(case: Case) -> None:
    """World axes are RAS: a loader that honours the affine must find the liver on the right."""
    _, label, affine = case
    at = {name: middle_mm(label, affine, name) for name in NUMBER}
    assert at["liver"][0] > 30 > -30 > at["spleen"][0]
    assert at["right kidney"][0] > 30 > -30 > at["left kidney"][0]
    assert at["stomach"][0] < 0
    assert abs(at["aorta"][0]) < 30
    assert at["stomach"][1] > at["aorta"][1] > at["left kidney"][1]
    assert at["liver"][2] > at["right kidney"][2]
    assert at["spleen"][2] > at["left kidney"][2]


def test_air_in_the_stomach_floats_in_front_of_the_fluid(case: Case) -> None:
    image, label, _ = case
    stomach = label == NUMBER["stomach"]
    air, fluid = np.argwhere(stomach & (image < -800)), np.argwhere(stomach & (image > -20) & (image < 60))
    assert air[:, 1].mean() > fluid[:, 1].mean() + 3


def test_the_liver_holds_a_darker_lesion_and_brighter_vessels(case: Case) -> None:
    image, label, _ = case
    liver = image[label == NUMBER["liver"]]
    middle = np.median(liver)
    assert np.mean(liver < middle - 45) > 0.003
    assert np.mean(liver > middle + 35) > 0.01


def test_the_folder_is_a_complete_msd_task(written: Path) -> None:
    assert written.name == PHANTOM_TASK
    dataset = json.loads((written / "dataset.json").read_text())
    assert dataset["labels"] == {"0": "background"} | {str(k): v for k, v in PHANTOM_LABELS.items()}
    assert dataset["modality"] == {"0": "CT"}
    assert dataset["tensorImageSize"] == "3D"
    assert dataset["numTraining"] == len(dataset["training"]) == 2
    assert dataset["numTest"] == len(dataset["test"]) == 0
    listed = {row[part] for row in dataset["training"] for part in ("image", "label")}
    found = {f"./{p.relative_to(written).as_posix()}" for p in written.rglob("*.nii.gz")}
    assert listed == found
    assert not list(written.rglob(".*")), "temporary files are left"


def test_files_hold_the_drawn_arrays_and_image_and_label_share_their_geometry(written: Path) -> None:
    expected_image, expected_label, affine = phantom_case(SMALL, 0)
    image = nib.load(written / "imagesTr" / "phantom_001.nii.gz")
    label = nib.load(written / "labelsTr" / "phantom_001.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), expected_image)
    np.testing.assert_array_equal(np.asanyarray(label.dataobj), expected_label)
    assert (image.get_data_dtype(), label.get_data_dtype()) == (np.int16, np.uint8)
    for volume in (image, label):
        np.testing.assert_allclose(volume.affine, affine)
        np.testing.assert_allclose(volume.header.get_zooms(), SMALL.spacing_mm)
        assert volume.header.get_xyzt_units()[0] == "mm"


def test_writing_twice_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    assert files_of(write_phantom(tmp_path, SMALL)) == files_of(written)


def test_a_second_call_keeps_what_is_there_and_draws_what_is_missing(tmp_path: Path) -> None:
    folder = write_phantom(tmp_path, TINY)
    whole, before = files_of(folder), stamps_of(folder)
    write_phantom(tmp_path, TINY)
    after = stamps_of(folder)
    assert {k: v for k, v in after.items() if "nii" in k} == {k: v for k, v in before.items() if "nii" in k}

    # As if interrupted during the second case.
    (folder / "dataset.json").unlink()
    (folder / "labelsTr" / "phantom_002.nii.gz").unlink()
    write_phantom(tmp_path, TINY)
    assert files_of(folder) == whole
    assert stamps_of(folder)["imagesTr/phantom_001.nii.gz"] == before["imagesTr/phantom_001.nii.gz"]


def test_more_cases_add_to_the_folder(tmp_path: Path) -> None:
    folder = write_phantom(tmp_path, dataclasses.replace(TINY, cases=1))
    before = stamps_of(folder)["imagesTr/phantom_001.nii.gz"]
    write_phantom(tmp_path, TINY)
    assert stamps_of(folder)["imagesTr/phantom_001.nii.gz"] == before
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 2


def test_another_phantom_replaces_the_folder_whole(tmp_path: Path) -> None:
    folder = write_phantom(tmp_path, TINY)
    before = files_of(folder)
    write_phantom(tmp_path, dataclasses.replace(TINY, cases=1, seed=7))
    after = files_of(folder)
    assert before["imagesTr/phantom_001.nii.gz"] != after["imagesTr/phantom_001.nii.gz"]
    assert "imagesTr/phantom_002.nii.gz" not in after, "a case of the old phantom is left"


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / PHANTOM_TASK / "dataset.json"
    other.parent.mkdir()
    other.write_text('{"name": "mine"}')
    with pytest.raises(InputError, match="something other than a phantom"):
        write_phantom(tmp_path, TINY)
    assert other.read_text() == '{"name": "mine"}'


def test_dataset_json_is_written_last(tmp_path: Path) -> None:
    """Its presence tells a reader that the folder is complete."""
    seen = []
    folder = tmp_path / PHANTOM_TASK
    write_phantom(tmp_path, TINY, lambda done, of: seen.append((done, of, (folder / "dataset.json").exists())))
    assert seen == [(1, 2, False), (2, 2, False)]


@pytest.mark.parametrize("wrong", [{"cases": 0}, {"size": 4}, {"slices": 0}, {"spacing_mm": (3.0, 0.0, 6.0)}])
def test_an_impossible_specification_is_told_so(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="a phantom needs"):
        PhantomSpec(**wrong)
