import gzip
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, ornt_transform

from benchmark.data.intensity import CTWindow
from benchmark.data.msd import CaseFiles, Task, TaskOverride, open_task
from benchmark.data.volume import MAX_DISPLACEMENT, Volume, load_labels, load_volume, save_labels
from benchmark.errors import InputError

WIDE = (500.0, 1000.0)  # a window in which the values 0 to 1000 become 0 to 255
ORIENTATIONS = [
    tuple(pair[flip] for pair, flip in zip(axes, flips, strict=True))
    for axes in itertools.permutations(("LR", "PA", "SI"))
    for flips in itertools.product((0, 1), repeat=3)
]
ROTATION = np.array(  # about z by 44.9°, about x by 20°: oblique, and a hair from a tie between two orientations
    [[np.cos(a := np.deg2rad(44.9)), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
) @ np.array([[1, 0, 0], [0, np.cos(b := np.deg2rad(20)), -np.sin(b)], [0, np.sin(b), np.cos(b)]])


def lps_affine(rotation: np.ndarray | None = None) -> np.ndarray:
    """Voxels of 2 × 3 × 4 mm along left, posterior, superior, away from the origin."""
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if rotation is None else rotation) @ np.diag([-2.0, -3.0, 4.0])
    affine[:3, 3] = [10, -20, 30]
    return affine


def stored_as(array: np.ndarray, affine: np.ndarray, codes: tuple[str, ...]) -> nib.Nifti1Image:
    """The same patient, written with its axes along `codes` (nibabel turns data and affine)."""
    transform = ornt_transform(axcodes2ornt(("L", "P", "S")), axcodes2ornt(codes))
    return nib.Nifti1Image(array, affine).as_reoriented(transform)


def replace(folder: Path, image: Any = None, label: Any = None) -> None:
    for sub, new in (("imagesTr", image), ("labelsTr", label)):
        if new is not None:
            nib.save(new, folder / sub / "case_1.nii.gz")


def load(folder: Path, **override: Any) -> Volume:
    task = open_task(folder, TaskOverride(**override))
    return load_volume(task, task.cases[0])


def complaint(folder: Path, **override: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(folder, **override)
    message = str(caught.value)
    assert "\n" not in message
    return message


# Orientation


def test_a_stored_ras_volume_is_flipped_in_its_first_two_axes(make_task: Callable[..., Path]) -> None:
    image = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    label = np.zeros((2, 3, 4), np.uint8)
    label[1, 0, 3] = 2  # right, posterior, superior
    volume = load(make_task(image=image, label=label, affine=np.diag([2.0, 3, 4, 1])), window=(12, 24))
    for x, y, z in np.ndindex(2, 3, 4):
        assert volume.image[x, y, z] == pytest.approx(image[1 - x, 2 - y, z] * 255 / 24, abs=1e-4)
    np.testing.assert_array_equal(np.argwhere(volume.label), [[0, 2, 3]])


def test_a_slice_shows_the_patients_right_on_the_left_and_the_front_above(make_task: Callable[..., Path]) -> None:
    image = np.zeros((2, 3, 4), np.float32)
    image[1, 2, 0] = 1000  # RAS: right, anterior, inferior
    shown = load(make_task(image=image, label=np.zeros_like(image, np.uint8)), window=WIDE).image[:, :, 0].T
    assert shown.shape == (3, 2) and shown[0, 0] == 255 and shown.sum() == 255


@pytest.mark.parametrize("codes", ORIENTATIONS, ids="".join)
def test_a_patient_is_the_same_in_all_48_orientations(make_task: Callable[..., Path], codes: tuple[str, ...]) -> None:
    rng = np.random.default_rng(1)
    image = rng.uniform(0, 1000, (3, 4, 5)).astype(np.float32)
    label = rng.integers(0, 3, (3, 4, 5), dtype=np.uint8)
    other = ORIENTATIONS[(ORIENTATIONS.index(codes) * 7 + 5) % 48]  # the label's own axes point elsewhere
    folder = make_task()
    replace(folder, stored_as(image, lps_affine(), codes), stored_as(label, lps_affine(), other))
    volume = load(folder, window=WIDE)
    np.testing.assert_allclose(volume.image, image * 0.255, atol=1e-3)
    np.testing.assert_array_equal(volume.label, label)
    assert volume.spacing == pytest.approx((2, 3, 4))
    assert nib.aff2axcodes(volume.geometry.affine) == codes

    path = folder / "out" / "pseudo.nii.gz"
    save_labels(volume.label, volume.geometry, path)
    saved, original = nib.load(path), nib.load(folder / "imagesTr" / "case_1.nii.gz")
    np.testing.assert_array_equal(saved.affine, original.affine)
    assert saved.shape == original.shape and saved.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(load_labels(open_task(folder), path, volume.geometry), label)


@settings(max_examples=25, deadline=None)
@given(image=st.sampled_from(ORIENTATIONS), label=st.sampled_from(ORIENTATIONS), degrees=st.floats(-180, 180))
def test_an_oblique_label_finds_its_image_from_any_orientation(
    tmp_path_factory: pytest.TempPathFactory, image: tuple[str, ...], label: tuple[str, ...], degrees: float
) -> None:
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    values = np.random.default_rng(2).integers(0, 3, (3, 4, 5), dtype=np.uint8)
    folder = tmp_path_factory.mktemp("task")
    for sub, codes in (("imagesTr", image), ("labelsTr", label)):
        (folder / sub).mkdir()
        # Its axes are permuted and flipped after the rotation, so "codes" are relative to the rotated grid.
        turned = stored_as(values, lps_affine(), codes)
        affine = np.eye(4)
        affine[:3, :3] = ROTATION @ turn
        nib.save(nib.Nifti1Image(turned.dataobj, affine @ turned.affine), folder / sub / "a.nii")
    files = CaseFiles("a", folder / "imagesTr" / "a.nii", folder / "labelsTr" / "a.nii")
    labels = {1: "organ", 2: "tumour"}
    task = Task("T", folder, "CT", 0, 1, labels, frozenset({0, 1, 2}), CTWindow(1, 2), (files,))
    volume = load_volume(task, files)
    # The image holds the label's values, so the two must stay on top of each other.
    np.testing.assert_allclose(volume.image, volume.label * 127.5)


# Grids that must agree


def test_a_label_of_another_shape_is_refused_with_both(make_task: Callable[..., Path]) -> None:
    message = complaint(make_task(label=np.zeros((4, 5, 7), np.uint8)))
    assert message.startswith("Task77_Test/labelsTr/case_1.nii.gz: shape (4, 5, 7) differs from its image's (4, 5, 6)")


@pytest.mark.parametrize(("share", "accepted"), [(0.5, True), (2.0, False)])
def test_a_label_may_lie_beside_its_image_by_header_rounding_only(
    make_task: Callable[..., Path], share: float, accepted: bool
) -> None:
    affine = np.diag([2.0, 3, 4, 1])
    moved = affine.copy()
    moved[0, 3] += share * MAX_DISPLACEMENT * 2.0
    folder = make_task(affine=affine, label_affine=moved)
    if accepted:
        assert load(folder)
    else:
        message = complaint(folder)
        assert "0.4 mm beside its image" in message and "[2 0 0 0.4]" in message and "[2 0 0 0]" in message


def test_a_label_with_other_voxels_is_refused_though_shapes_agree(make_task: Callable[..., Path]) -> None:
    assert "beside its image" in complaint(make_task(label_affine=np.diag([2.0, 3, 4.1, 1])))


def test_an_affine_without_three_directions_is_refused(make_task: Callable[..., Path]) -> None:
    folder = make_task()
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), None)
    image.header["sform_code"] = 1
    image.header["srow_x"] = [1, 0, 0, 0]
    replace(folder, image)
    assert "does not span three directions" in complaint(folder)


def test_files_without_any_orientation_fall_back_to_voxel_sizes(make_task: Callable[..., Path]) -> None:
    folder = make_task()
    image, label = (nib.Nifti1Image(np.ones((4, 5, 6), np.uint8), None) for _ in range(2))
    for part in (image, label):
        part.header.set_zooms((2, 3, 4))
        assert part.header["sform_code"] == part.header["qform_code"] == 0
    replace(folder, image, label)
    assert load(folder).spacing == (2, 3, 4)


# Channels


def test_only_the_chosen_channel_is_read(make_task: Callable[..., Path]) -> None:
    image = np.zeros((4, 5, 6, 2), np.float32)
    image[..., 0], image[..., 1] = np.nan, 500
    folder = make_task(image=image, json_fields={"modality": {"0": "T2", "1": "ADC"}})
    assert np.all(load(folder, channel=1, window=WIDE).image == 127.5)
    assert "120 of 120 voxels are NaN" in complaint(folder, channel=0)


def test_a_fourth_dimension_of_one_is_one_channel(make_task: Callable[..., Path]) -> None:
    image, label = np.full((4, 5, 6, 1), 500, np.int16), np.ones((4, 5, 6, 1), np.uint8)
    volume = load(make_task(image=image, label=label), window=WIDE)
    assert volume.image.shape == volume.label.shape == (4, 5, 6) and volume.label.all()


@pytest.mark.parametrize(
    ("shape", "modality", "expected"),
    [
        ((4, 5, 6, 2), {"0": "CT"}, "has 2 channel(s), dataset.json declares 1"),
        ((4, 5, 6), {"0": "T2", "1": "ADC"}, "has 1 channel(s), dataset.json declares 2"),
        ((4, 5), {"0": "CT"}, "shape (4, 5) is no volume"),
        ((4, 5, 6, 1, 2), {"0": "CT"}, "shape (4, 5, 6, 1, 2) is no volume"),
    ],
)
def test_an_image_of_another_shape_than_declared_is_refused(
    make_task: Callable[..., Path], shape: tuple[int, ...], modality: dict[str, str], expected: str
) -> None:
    message = complaint(make_task(image=np.ones(shape, np.int16), json_fields={"modality": modality}))
    assert expected in message and "imagesTr/case_1.nii.gz" in message


def test_a_label_with_channels_is_refused(make_task: Callable[..., Path]) -> None:
    assert "one 3-D volume" in complaint(make_task(label=np.ones((4, 5, 6, 2), np.uint8)))


def test_colours_are_no_intensities(make_task: Callable[..., Path]) -> None:
    rgb = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert "not plain numbers" in complaint(make_task(image=rgb))


# Values


def test_slope_and_intercept_of_both_files_count(make_task: Callable[..., Path]) -> None:
    folder = make_task()
    image = nib.Nifti1Image(np.full((4, 5, 6), 100, np.int16), lps_affine())
    label = nib.Nifti1Image(np.full((4, 5, 6), 3, np.uint8), lps_affine())
    for part, slope, inter, sub in ((image, 2, 50, "imagesTr"), (label, 0.5, 0.5, "labelsTr")):
        part.header.set_slope_inter(slope, inter)
        raw = np.asanyarray(part.dataobj)
        # Written by hand: nibabel would choose a scaling of its own.
        part.header.set_data_offset(352)
        with gzip.open(folder / sub / "case_1.nii.gz", "wb") as stream:
            stream.write(part.header.binaryblock + b"\0" * 4 + raw.tobytes(order="F"))
    volume = load(folder, window=WIDE)
    np.testing.assert_allclose(volume.image, 250 * 0.255)
    assert np.all(volume.label == 2)


def test_arrays_are_float32_and_uint8_whatever_the_files_hold(make_task: Callable[..., Path]) -> None:
    image, label = np.ones((4, 5, 6), np.float64), np.full((4, 5, 6), 2, np.float32)
    volume = load(make_task(image=image, label=label))
    assert volume.image.dtype == np.float32 and volume.label.dtype == np.uint8 and np.all(volume.label == 2)


def test_declared_values_that_are_not_targets_become_background(make_task: Callable[..., Path]) -> None:
    label = (np.arange(120).reshape(4, 5, 6) % 3).astype(np.uint8)
    np.testing.assert_array_equal(load(make_task(label=label), labels=("tumour",)).label[::-1, ::-1], (label == 2) * 2)


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [(np.uint8, 7, "value(s) 7;"), (np.int16, -1, "value(s) -1;"), (np.int16, 258, "258"), (np.float32, 3, "3")],
)
def test_undeclared_values_are_named(make_task: Callable[..., Path], dtype: Any, value: int, expected: str) -> None:
    label = np.ones((4, 5, 6), dtype)
    label[0, 0, 0] = value
    message = complaint(make_task(label=label))
    assert expected in message and "declare them in `labels` of Task77_Test/dataset.json" in message


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_labels_that_are_not_whole_numbers_are_refused(make_task: Callable[..., Path], value: float) -> None:
    label = np.ones((4, 5, 6), np.float32)
    label[1, 1, :2] = value
    assert "2 voxels are not whole numbers" in complaint(make_task(label=label))


@pytest.mark.parametrize(("dtype", "value"), [(np.float32, np.nan), (np.float32, -np.inf), (np.float64, 1e300)])
def test_voxels_that_are_not_finite_are_counted(make_task: Callable[..., Path], dtype: Any, value: float) -> None:
    image = np.ones((4, 5, 6), dtype)
    image[0, 0, :3] = value
    assert "3 of 120 voxels are NaN or infinite" in complaint(make_task(image=image))


# Files that are not whole


@pytest.mark.parametrize("sub", ["imagesTr", "labelsTr"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kept", [0, 5, 200, 0.6, 0.98])
def test_a_truncated_file_is_to_be_downloaded_again(
    make_task: Callable[..., Path], sub: str, ending: str, kept: float
) -> None:
    noise = np.random.default_rng(0).integers(0, 3, (20, 20, 20)).astype(np.uint8)
    folder = make_task(image=noise, label=noise, ending=ending)
    path = folder / sub / f"case_1{ending}"
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    message = complaint(folder)
    assert message.startswith(f"Task77_Test/{sub}/case_1{ending}: not a whole NIfTI file")
    assert "download it or export it again" in message


@pytest.mark.parametrize(
    "content",
    [b"<html>404 not found</html>", gzip.compress(b"x" * 4000, mtime=0), b"\x1f\x8b" + b"\7" * 4000],
    ids=["a web page", "gzip of something else", "no gzip at all"],
)
def test_a_file_of_something_else_is_no_volume(make_task: Callable[..., Path], content: bytes) -> None:
    folder = make_task()
    (folder / "imagesTr" / "case_1.nii.gz").write_bytes(content)
    assert "not a whole NIfTI file" in complaint(folder)


def test_a_damaged_byte_in_a_gz_is_noticed(make_task: Callable[..., Path]) -> None:
    noise = np.random.default_rng(0).integers(0, 3, (20, 20, 20)).astype(np.uint8)
    folder = make_task(image=noise, label=noise)
    path = folder / "imagesTr" / "case_1.nii.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 8] = b"\xff" * 8
    path.write_bytes(content)
    assert "not a whole NIfTI file" in complaint(folder)


def test_a_label_file_that_is_not_there_is_named(make_task: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_task()
    volume = load(folder)
    with pytest.raises(InputError, match=r"pseudo\.nii\.gz: there is no such file"):
        load_labels(open_task(folder), tmp_path / "pseudo.nii.gz", volume.geometry)


# Saving


def test_saved_labels_keep_both_forms_and_the_units_and_nothing_else(
    make_task: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_task()
    image = nib.Nifti1Image(np.ones((4, 5, 6), np.int16), None)
    image.header.set_qform(lps_affine(ROTATION), code=1)
    image.header.set_sform(lps_affine(ROTATION), code=4)
    image.header.set_xyzt_units("mm", "sec")
    image.header["cal_max"], image.header["descrip"] = 1000, b"somebody's name"
    replace(folder, image, nib.Nifti1Image(np.ones((4, 5, 6), np.uint8), image.header.get_best_affine()))
    volume = load(folder)
    save_labels(volume.label, volume.geometry, tmp_path / "saved.nii")
    ours, theirs = (nib.load(path).header for path in (tmp_path / "saved.nii", folder / "imagesTr" / "case_1.nii.gz"))
    assert (int(ours["qform_code"]), int(ours["sform_code"])) == (1, 4)
    np.testing.assert_array_equal(ours.get_qform(), theirs.get_qform())
    np.testing.assert_array_equal(ours.get_sform(), theirs.get_sform())
    assert ours.get_xyzt_units()[0] == "mm" and ours.get_zooms() == theirs.get_zooms()
    assert ours["cal_max"] == 0 and ours["descrip"].item() == b"" and ours.get_intent()[0] == "label"


def test_saving_twice_gives_the_same_bytes(make_task: Callable[..., Path], tmp_path: Path) -> None:
    volume = load(make_task())
    for name in ("a.nii.gz", "b.nii.gz"):
        save_labels(volume.label, volume.geometry, tmp_path / name)
    content = (tmp_path / "a.nii.gz").read_bytes()
    assert content == (tmp_path / "b.nii.gz").read_bytes()
    # Magic, method, no flags (so no name), no time.
    assert content[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"
    assert not list(tmp_path.glob(".*"))


def test_a_nifti_2_image_gets_nifti_2_labels(make_task: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_task()
    replace(folder, nib.Nifti2Image(np.ones((4, 5, 6), np.int16), np.diag([2.0, 3, 4, 1])))
    volume = load(folder)
    save_labels(volume.label, volume.geometry, tmp_path / "saved.nii.gz")
    assert isinstance(nib.load(tmp_path / "saved.nii.gz"), nib.Nifti2Image)


def test_a_big_endian_image_is_read_and_its_labels_written(make_task: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_task()
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    replace(folder, nib.Nifti1Image(np.full((4, 5, 6), 500, ">i2"), np.diag([2.0, 3, 4, 1]), header))
    volume = load(folder, window=WIDE)
    assert np.all(volume.image == 127.5)
    save_labels(volume.label, volume.geometry, tmp_path / "saved.nii.gz")
    np.testing.assert_array_equal(nib.load(tmp_path / "saved.nii.gz").affine, volume.geometry.affine)


@pytest.mark.parametrize(
    ("labels", "name", "expected"),
    [
        (np.zeros((6, 5, 4), np.uint8), "a.nii", "stored as"),
        (np.zeros((4, 5, 6), np.int64), "a.nii", "uint8"),
        (np.zeros((4, 5, 6), np.uint8), "a.mha", "nii.gz"),
    ],
)
def test_labels_that_do_not_fit_are_never_written(
    make_task: Callable[..., Path], tmp_path: Path, labels: np.ndarray, name: str, expected: str
) -> None:
    volume = load(make_task())
    with pytest.raises(ValueError, match=expected):
        save_labels(labels, volume.geometry, tmp_path / name)
    assert not (tmp_path / name).exists()


def test_spacing_is_in_millimetres_whatever_the_files_unit(make_task: Callable[..., Path]) -> None:
    folder = make_task()
    image = nib.Nifti1Image(np.ones((4, 5, 6), np.int16), np.diag([2.0, 3, 4, 1]))
    image.header.set_xyzt_units("micron")
    replace(folder, image)
    assert load(folder).spacing == pytest.approx((0.002, 0.003, 0.004))


# Real scans


def test_in_a_real_ct_the_spleen_is_left_and_behind_and_the_liver_right(msd_real: Path) -> None:
    volume = load(msd_real / "Task101_AbdomenCT")
    assert volume.image.shape == (122, 101, 30) and volume.spacing == pytest.approx((3, 3, 3))
    body = np.argwhere(volume.image > 100).mean(axis=0)
    spleen, liver, aorta = (np.argwhere(volume.label == value).mean(axis=0) for value in (1, 2, 6))
    assert spleen[0] > body[0] > liver[0]  # x rises to the patient's left
    assert spleen[1] > body[1] and aorta[1] > liver[1]  # y rises to the back
    assert volume.image[volume.label == 2].mean() == pytest.approx((100 + 160) * 255 / 400, abs=40)


def test_a_real_mri_uses_the_whole_scale_and_keeps_its_left_on_the_right(msd_real: Path) -> None:
    volume = load(msd_real / "Task102_BrainMRI")
    assert volume.image.shape == (256, 256, 25) and volume.spacing == pytest.approx((0.78125, 0.78125, 6.5))
    assert volume.image.min() == 0 and volume.image.max() == pytest.approx(255)
    stored = nib.load(msd_real / "Task102_BrainMRI" / "labelsTr" / "brain_001.nii.gz")
    # Stored as LAS, so that only the second axis is flipped.
    np.testing.assert_array_equal(volume.label, np.asarray(stored.dataobj)[:, ::-1])


@pytest.mark.parametrize("name", ["Task03_Liver", "Task09_Spleen", "Task101_AbdomenCT", "Task102_BrainMRI"])
def test_a_real_label_survives_saving(msd_real: Path, tmp_path: Path, name: str) -> None:
    task = open_task(msd_real / name)
    volume = load_volume(task, task.cases[0])
    save_labels(volume.label, volume.geometry, tmp_path / "saved.nii.gz")
    saved, original = nib.load(tmp_path / "saved.nii.gz"), nib.load(task.cases[0].label)
    np.testing.assert_array_equal(np.asarray(saved.dataobj), np.asarray(original.dataobj))
    np.testing.assert_array_equal(saved.affine, original.affine)
