"""The images beside the pseudo labels: found by case, linked or copied, and known again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmark.data.msd import CaseFiles
from benchmark.labelling.images import is_placed, label_name, place_image, source_images


def case(folder: Path, case_id: str, image: str, label: str) -> CaseFiles:
    return CaseFiles(case_id, folder / image, folder / label)


def test_the_channels_of_a_case_are_found_whatever_its_name(tmp_path: Path) -> None:
    for name in ("a[1]_0000.nii.gz", "a[1]_0001.nii.gz", "a1_0000.nii.gz", "a[1]_0000.nii", "a[1]_00.nii.gz"):
        (tmp_path / name).touch()
    found = source_images(case(tmp_path, "a[1]", "a[1]_0001.nii.gz", "a[1].nii.gz"))
    assert [path.name for path in found] == ["a[1]_0000.nii.gz", "a[1]_0001.nii.gz"]


def test_a_decathlon_case_is_one_image_even_if_its_name_looks_like_a_channel(tmp_path: Path) -> None:
    (tmp_path / "a_0000_0001.nii.gz").touch()
    files = case(tmp_path, "a_0000", "a_0000.nii.gz", "a_0000.nii.gz")
    assert source_images(files) == [tmp_path / "a_0000.nii.gz"]


@pytest.mark.parametrize(
    ("image", "label", "written"),
    [
        ("x.nii.gz", "x.nii.gz", "x.nii.gz"),
        ("x.nii", "x.nii.gz", "x.nii.gz"),
        ("x.nii.gz", "seg.nii.gz", "x.nii.gz"),
        ("x.nii", "seg.nii.gz", "x.nii"),
        ("x_0000.nii", "x.nii", "x.nii"),
    ],
)
def test_a_label_is_named_as_its_case(tmp_path: Path, image: str, label: str, written: str) -> None:
    assert label_name(case(tmp_path, "x", image, label)) == written


def test_an_image_is_known_as_a_link_or_as_an_unchanged_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, place, temporary = (tmp_path / name for name in ("image", "place", "temporary"))
    image.write_bytes(b"voxels")
    os.utime(image, (10**9, 10**9))
    assert not is_placed(image, place)
    place_image(image, place, temporary)
    assert is_placed(image, place) and place.samefile(image)
    place.unlink()
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError), raising=False)
    place_image(image, place, temporary)
    assert is_placed(image, place) and not place.samefile(image) and not temporary.exists()
    place.write_bytes(b"VOXELS")
    assert not is_placed(image, place), "of the same size, but written to since"
    place_image(image, place, temporary)
    assert place.read_bytes() == image.read_bytes() == b"voxels"
