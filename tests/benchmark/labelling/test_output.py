"""The output folder: whose it is, what in it is done again, and that the source is never written to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.errors import InputError
from benchmark.labelling import images
from benchmark.labelling.output import WORK
from tests.benchmark.labelling.conftest import Label, content

Decoded = list[tuple[str, int]]


def refusal(label: Label, task: Path, out: Path, **settings: object) -> str:
    with pytest.raises(InputError) as refused:
        label(task, out, **settings)
    return str(refused.value)


# Going on.


def test_finished_cases_are_not_done_again(task: Path, label: Label, tmp_path: Path, decoded: Decoded) -> None:
    first = label(task, tmp_path / "out")
    before = content(tmp_path / "out")
    assert first.labelled == 3 and first.slices_per_second
    decoded.clear()
    again = label(task, tmp_path / "out")
    assert (decoded, again.labelled, again.slices_per_second) == ([], 0, None)
    assert again.records == first.records
    assert content(tmp_path / "out") == before


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def part_and_truncate(path: Path) -> None:
    """Damages a copy, as the hard link's bytes are the source's."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1])


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("labelsTr/case_2.nii.gz", Path.unlink),
        ("labelsTr/case_2.nii.gz", truncate),
        ("imagesTr/case_2.nii.gz", Path.unlink),
        ("imagesTr/case_2.nii.gz", part_and_truncate),
        (f"{WORK}/cases/case_2.json", Path.unlink),
        (f"{WORK}/cases/case_2.json", truncate),
    ],
)
def test_a_case_with_a_damaged_or_missing_file_is_done_again(
    task: Path, label: Label, tmp_path: Path, decoded: Decoded, file: str, damage: Callable[[Path], None]
) -> None:
    label(task, tmp_path / "out")
    before, source = content(tmp_path / "out"), content(task)
    damage(tmp_path / "out" / file)
    decoded.clear()
    assert label(task, tmp_path / "out").labelled == 1
    assert {case for case, _ in decoded} == {"case_2"}
    assert content(tmp_path / "out") == before
    assert content(task) == source


def test_an_image_that_changed_in_the_source_is_labelled_and_linked_anew(
    task: Path, label: Label, tmp_path: Path, decoded: Decoded
) -> None:
    """Also one of the same size, as an uncompressed image usually is."""
    label(task, tmp_path / "out")
    image = task / "imagesTr/case_2.nii.gz"
    data, stat = image.read_bytes(), image.stat()
    image.unlink()
    image.write_bytes(data)
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**10))
    decoded.clear()
    label(task, tmp_path / "out")
    assert {case for case, _ in decoded} == {"case_2"}
    assert (tmp_path / "out/imagesTr/case_2.nii.gz").samefile(image)


def test_where_no_links_can_be_made_images_are_copied_once(
    task: Path, label: Label, tmp_path: Path, decoded: Decoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_disk(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(images.os, "link", other_disk)
    label(task, tmp_path / "out")
    copied = tmp_path / "out/imagesTr/case_1.nii.gz"
    assert copied.read_bytes() == (task / "imagesTr/case_1.nii.gz").read_bytes()
    assert not copied.samefile(task / "imagesTr/case_1.nii.gz")
    decoded.clear()
    assert label(task, tmp_path / "out").labelled == 0


# Refused.


def test_a_folder_without_a_finished_case_is_free_for_other_settings(task: Path, label: Label, tmp_path: Path) -> None:
    """A labelling that failed at its first slice must not block the next attempt with a name that means nothing."""
    label(task, tmp_path / "out")
    for record in (tmp_path / "out" / WORK / "cases").iterdir():
        record.unlink()
    assert label(task, tmp_path / "out", seed=1).labelled == 3


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"prompt": "box-margin2"}, "prompt was box and is box-margin2"),
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"backend": "pytorch"}, "backend was onnxruntime and is pytorch"),
        ({"per": "component"}, "per was object and is component"),
        ({"labels": ("organ",)}, "labels was None and is ['organ']"),
        ({"min_pixels": 2}, "min_pixels was 1 and is 2"),
    ],
)
def test_other_settings_are_refused_by_the_field_that_differs(
    task: Path, label: Label, tmp_path: Path, settings: dict[str, object], told: str
) -> None:
    label(task, tmp_path / "out")
    before = content(tmp_path / "out")
    message = refusal(label, task, tmp_path / "out", **settings)
    assert message.startswith(f"--out {tmp_path / 'out'}: holds labels made otherwise ({told})")
    assert message.endswith("name a new folder")
    assert content(tmp_path / "out") == before


def test_another_library_version_is_refused_by_its_name_alone(task: Path, label: Label, tmp_path: Path) -> None:
    label(task, tmp_path / "out")
    settings = tmp_path / "out" / WORK / "settings.json"
    earlier = json.loads(settings.read_text(encoding="utf-8"))
    earlier["libraries"]["torch"] = "1.0"
    settings.write_text(json.dumps(earlier), encoding="utf-8")
    assert "(libraries.torch was 1.0 and is " in refusal(label, task, tmp_path / "out")


def test_another_task_is_refused_or_its_cases_would_be_mixed(task: Path, label: Label, tmp_path: Path) -> None:
    label(task, tmp_path / "out")
    other = task.rename(task.with_name("Task79_Other"))
    assert "source was Task77_Test and is Task79_Other" in refusal(label, other, tmp_path / "out")


def test_somebody_elses_folder_is_left_alone(task: Path, label: Label, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("all of it", encoding="utf-8")
    assert "not empty and no labels of sambench" in refusal(label, task, foreign)
    assert "is a file" in refusal(label, task, foreign / "thesis.txt")
    assert "cannot be written" in refusal(label, task, foreign / "thesis.txt" / "out")
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("settings", ["", "[1, 2]", '{"half', "null"])
def test_damaged_settings_cost_nothing_as_each_record_knows_them_too(
    task: Path, label: Label, tmp_path: Path, decoded: Decoded, settings: str
) -> None:
    label(task, tmp_path / "out")
    (tmp_path / "out" / WORK / "settings.json").write_text(settings, encoding="utf-8")
    decoded.clear()
    assert label(task, tmp_path / "out").labelled == 0
    (tmp_path / "out" / WORK / "settings.json").write_text(settings, encoding="utf-8")
    assert label(task, tmp_path / "out", seed=1).labelled == 3


# The source.


@pytest.mark.parametrize("where", [".", "labelsTr", "imagesTr", "labelsTr/new", "new/deep", "../Task77_Test"])
def test_the_source_and_what_lies_in_it_are_refused_and_untouched(
    task: Path, label: Label, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(path for path in task.rglob("*")), content(task)
    assert "name a" in refusal(label, task, task / where)
    monkeypatch.chdir(task)
    refusal(label, Path(), Path(where))
    assert (sorted(path for path in task.rglob("*")), content(task)) == before


def test_the_source_is_known_behind_symbolic_links(task: Path, label: Label, tmp_path: Path) -> None:
    before = content(task)
    (tmp_path / "alias").symlink_to(task)
    for data, out in (
        (task, tmp_path / "alias"), (tmp_path / "alias", task), (task, tmp_path / "alias/labelsTr"),
        (tmp_path / "alias", task / "labelsTr"), (task, tmp_path / "alias/new"),
    ):  # fmt: skip
        refusal(label, data, out)
    label(task, tmp_path / "out")
    (tmp_path / "out/labelsTr").rename(tmp_path / "moved")
    (tmp_path / "out/labelsTr").symlink_to(task / "labelsTr")
    assert "its labelsTr leads to the task's own files" in refusal(label, task, tmp_path / "out")
    assert content(task) == before


def test_a_folder_around_the_source_is_refused(task: Path, label: Label, tmp_path: Path) -> None:
    (tmp_path / WORK).mkdir()
    assert "lie in one another" in refusal(label, task, tmp_path)


def test_hard_links_to_the_reference_in_the_folder_are_parted_not_written_through(
    task: Path, label: Label, tmp_path: Path
) -> None:
    """Who copied the task with links, or put the reference back, must not lose it."""
    before = content(task)
    label(task, tmp_path / "out", prompt="box-margin2")
    for name in ("labelsTr/case_1.nii.gz", "dataset.json"):
        (tmp_path / "out" / name).unlink()
        os.link(task / name, tmp_path / "out" / name)
    label(task, tmp_path / "out", prompt="box-margin2")
    assert content(task) == before
    assert not (tmp_path / "out/labelsTr/case_1.nii.gz").samefile(task / "labelsTr/case_1.nii.gz")


def test_a_source_of_symbolic_links_gives_images_of_its_own(task: Path, label: Label, tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    for name in ("imagesTr", "labelsTr"):
        (task / name).rename(tmp_path / name)
        (task / name).mkdir()
        for path in (tmp_path / name).iterdir():
            (task / name / path.name).symlink_to(path)
    label(task, pool)
    assert not any(path.is_symlink() for path in pool.rglob("*"))
    assert (pool / "imagesTr/case_1.nii.gz").samefile(tmp_path / "imagesTr/case_1.nii.gz")


def test_pseudo_labels_can_be_a_source_themselves(task: Path, label: Label, tmp_path: Path) -> None:
    label(task, tmp_path / "once")
    before = content(tmp_path / "once")
    label(tmp_path / "once", tmp_path / "twice", seed=1)
    assert content(tmp_path / "once") == before
    assert json.loads((tmp_path / "twice/dataset.json").read_text(encoding="utf-8"))["provenance"]["source"] == "once"
