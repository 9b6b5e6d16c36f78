"""From a task to its pseudo labels: what trainers read, and what is done again and what is not."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import load_decathlon_datalist

from benchmark import __version__
from benchmark.data.msd import open_task
from benchmark.data.phantom import PhantomSpec, write_phantom
from benchmark.errors import InputError
from benchmark.stages.overlay import Overlay
from runners.base import RunnerError
from tests.benchmark.conftest import MakeTask
from tests.benchmark.labelling.conftest import Label, boxes, content, greys

BACKENDS = ["onnxruntime", "pytorch"]


def oblique() -> np.ndarray:
    """Voxels of 2 × 3 × 4 mm, turned by 20° around z and 10° around x, with the origin elsewhere."""
    a, b = np.deg2rad([20, 10])
    around_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    around_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = around_z @ around_x @ np.diag([2.0, 3.0, 4.0])
    affine[:3, 3] = [-31, 17, 100]
    return affine


PIR = np.array([[0, 0, 4.0, -7], [-2.0, 0, 0, 5], [0, -3.0, 0, 9], [0, 0, 0, 1]])
LPS = np.diag([-2.0, -3.0, 4.0, 1.0])


def stored(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def dataset(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "dataset.json").read_text(encoding="utf-8")))


def require_convertible(folder: Path) -> None:
    """What nnU-Net's `convert_msd_dataset` asserts, reads and deletes."""
    number, _ = folder.name.split("_")
    assert number.startswith("Task") and number[4:].isdecimal()
    assert all((folder / name).is_dir() for name in ("imagesTr", "labelsTr", "imagesTs"))
    names = {path.name for path in (folder / "imagesTr").iterdir()}
    assert names == {path.name for path in (folder / "labelsTr").iterdir()}
    assert all(name.endswith(".nii.gz") and name[0] not in "._" for name in names)
    read = dataset(folder)
    assert {"labels", "modality", "training", "test"} <= set(read)
    values = sorted(int(value) for value in read["labels"])
    assert values == list(range(len(values))), "nnU-Net wants labels without a gap"
    assert len(read["training"]) == read["numTraining"] == len(names)


# What is written.


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("affine", [None, LPS, PIR, oblique()], ids=["RAS", "LPS", "PIR", "oblique"])
def test_pseudo_labels_lie_in_the_grid_of_their_image(
    make_task: MakeTask, label: Label, tmp_path: Path, affine: np.ndarray | None, backend: str
) -> None:
    shape = (10, 6, 12) if affine is PIR else (12, 10, 6)
    reference = boxes().transpose(1, 2, 0) if affine is PIR else boxes()
    data = make_task(image=greys(shape), label=reference, affine=affine)
    report = label(data, tmp_path / "out", backend=backend)
    written = nib.load(tmp_path / "out" / "labelsTr" / "case_1.nii.gz")
    image = nib.load(data / "imagesTr" / "case_1.nii.gz")
    np.testing.assert_array_equal(stored(tmp_path / "out" / "labelsTr" / "case_1.nii.gz"), reference)
    np.testing.assert_array_equal(written.affine, image.affine)
    assert written.get_data_dtype() == np.uint8
    (record,) = report.records
    assert record.dice == {"organ": 1.0, "tumour": 1.0}
    assert (record.slices, record.effort.boxes, record.effort.objects) == (4, 6, 6)


def test_the_output_is_a_task_for_us_for_monai_and_for_nnunet(task: Path, label: Label, tmp_path: Path) -> None:
    out = tmp_path / "Task78_Pseudo"
    label(task, out, seed=3)
    reopened = open_task(out)
    assert [files.case for files in reopened.cases] == ["case_1", "case_2", "case_3"]
    assert reopened.labels == {1: "organ", 2: "tumour"}
    entries = load_decathlon_datalist(str(out / "dataset.json"), True, "training")
    assert [Path(entry["label"]) for entry in entries] == sorted((out / "labelsTr").iterdir())
    assert all(Path(entry["image"]).is_file() for entry in entries)
    require_convertible(out)
    rows = list(csv.reader((out / "dice.csv").read_text(encoding="utf-8").splitlines()))
    assert rows[:2] == [["case", "label", "dice", "reason"], ["case_1", "organ", "1.000000", ""]]
    assert len(rows) == 7


def test_the_provenance_says_where_the_labels_come_from(task: Path, label: Label, tmp_path: Path) -> None:
    label(task, tmp_path / "out", prompt="box-jitter10", seed=3, labels=("tumour",))
    provenance = dataset(tmp_path / "out")["provenance"]
    told = {"model": "litemedsam", "prompt": "box-jitter10", "backend": "onnxruntime", "precision": "fp32", "seed": 3}
    assert told.items() <= provenance.items()
    assert provenance["weights"]["sha256"] == "5a" * 32
    assert provenance["made_by"] == f"sambench {__version__}"
    assert provenance["source"] == "Task77_Test" and provenance["labelled"] == ["tumour"]
    assert {"torch", "numpy"} <= set(provenance["libraries"])


def test_images_are_links_and_the_task_stays_as_it_was(task: Path, label: Label, tmp_path: Path) -> None:
    before = content(task)
    label(task, tmp_path / "out")
    assert content(task) == before
    assert (tmp_path / "out/imagesTr/case_1.nii.gz").samefile(task / "imagesTr/case_1.nii.gz")
    assert not (tmp_path / "out/labelsTr/case_1.nii.gz").samefile(task / "labelsTr/case_1.nii.gz")


def test_uncompressed_files_keep_their_ending(make_task: MakeTask, label: Label, tmp_path: Path) -> None:
    label(make_task(image=greys(), label=boxes(), ending=".nii"), tmp_path / "out")
    np.testing.assert_array_equal(stored(tmp_path / "out/labelsTr/case_1.nii"), boxes())
    assert open_task(tmp_path / "out").cases[0].image.name == "case_1.nii"


def test_a_label_takes_the_name_of_its_image(make_task: MakeTask, label: Label, tmp_path: Path) -> None:
    training = [{"image": "./imagesTr/case_1.nii.gz", "label": "./labelsTr/seg_of_1.nii.gz"}]
    data = make_task(image=greys(), label=boxes(), json_fields={"training": training})
    (data / "labelsTr/case_1.nii.gz").rename(data / "labelsTr/seg_of_1.nii.gz")
    label(data, tmp_path / "Task78_Pseudo")
    assert [path.name for path in (tmp_path / "Task78_Pseudo/labelsTr").iterdir()] == ["case_1.nii.gz"]
    require_convertible(tmp_path / "Task78_Pseudo")


def test_other_labels_are_left_out_but_stay_declared(task: Path, label: Label, tmp_path: Path) -> None:
    label(task, tmp_path / "Task78_Pseudo", labels=("tumour",))
    found = stored(tmp_path / "Task78_Pseudo/labelsTr/case_1.nii.gz")
    np.testing.assert_array_equal(found, np.where(boxes() == 2, 2, 0))
    require_convertible(tmp_path / "Task78_Pseudo")


def test_each_component_gets_a_box_of_its_own(make_task: MakeTask, label: Label, tmp_path: Path) -> None:
    reference = np.zeros((12, 10, 6), np.uint8)
    reference[1:4, 2:5, 2] = reference[7:11, 6:9, 2] = 1
    data = make_task(image=greys(), label=reference)
    (together,) = label(data, tmp_path / "object").records
    (apart,) = label(data, tmp_path / "component", per="component").records
    np.testing.assert_array_equal(stored(tmp_path / "component/labelsTr/case_1.nii.gz"), reference)
    assert together.dice["organ"] is not None and together.dice["organ"] < 0.7
    assert (together.effort.boxes, apart.effort.boxes) == (1, 2)


def test_a_channel_of_a_multi_channel_image_is_labelled(make_task: MakeTask, label: Label, tmp_path: Path) -> None:
    modality = {"0": "FLAIR", "1": "T1w", "2": "CT"}
    data = make_task(image=greys((12, 10, 6, 3)), label=boxes(), json_fields={"modality": modality})
    label(data, tmp_path / "Task78_Pseudo", channel=1)
    assert stored(tmp_path / "Task78_Pseudo/labelsTr/case_1.nii.gz").shape == (12, 10, 6)
    require_convertible(tmp_path / "Task78_Pseudo")
    assert open_task(tmp_path / "Task78_Pseudo").channels == 3


def nnunet_task(folder: Path, cases: tuple[str, ...] = ("a[1]", "b")) -> Path:
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for case in cases:
        for channel in range(2):
            nib.save(nib.Nifti1Image(greys(), LPS), folder / "imagesTr" / f"{case}_{channel:04d}.nii.gz")
        nib.save(nib.Nifti1Image(boxes(), LPS), folder / "labelsTr" / f"{case}.nii.gz")
    fields = {
        "channel_names": {"0": "CT", "1": "PET"},
        "labels": {"background": 0, "organ": 1, "tumour": 2},
        "numTraining": len(cases),
        "file_ending": ".nii.gz",
        "dataset": {case: {"images": ["elsewhere"], "label": "the reference"} for case in cases},
    }
    (folder / "dataset.json").write_text(json.dumps(fields), encoding="utf-8")
    return folder


def test_nnunets_layout_is_kept_with_a_file_for_each_channel(label: Label, tmp_path: Path) -> None:
    out = tmp_path / "out"
    label(nnunet_task(tmp_path / "Dataset077_Test"), out)
    assert sorted(path.name for path in (out / "imagesTr").iterdir()) == [
        "a[1]_0000.nii.gz", "a[1]_0001.nii.gz", "b_0000.nii.gz", "b_0001.nii.gz",
    ]  # fmt: skip
    assert [files.case for files in open_task(out).cases] == ["a[1]", "b"]
    read = dataset(out)
    assert "training" not in read and read["numTraining"] == 2
    assert "dataset" not in read, "nnU-Net would train on the reference labels it names"


def test_a_case_that_left_the_source_leaves_the_pseudo_labels_too(label: Label, tmp_path: Path) -> None:
    """nnU-Net takes every file of labelsTr for a case."""
    data, out = nnunet_task(tmp_path / "Dataset077_Test"), tmp_path / "out"
    label(data, out)
    for path in [*data.rglob("b.nii.gz"), *data.rglob("b_*")]:
        path.unlink()
    label(data, out)
    assert [files.case for files in open_task(out).cases] == ["a[1]"]
    assert not [name for name in content(out) if "/b" in name]


def test_a_case_without_an_object_stays_with_an_empty_label_and_is_named(
    task: Path, label: Label, tmp_path: Path
) -> None:
    empty = nib.Nifti1Image(np.zeros((12, 10, 6), np.uint8), np.diag([2.0, 3.0, 4.0, 1.0]))
    nib.save(empty, task / "labelsTr" / "case_2.nii.gz")
    report = label(task, tmp_path / "Task78_Pseudo")
    require_convertible(tmp_path / "Task78_Pseudo")
    assert not stored(tmp_path / "Task78_Pseudo/labelsTr/case_2.nii.gz").any()
    assert dataset(tmp_path / "Task78_Pseudo")["provenance"]["cases_without_prompt"] == ["case_2"]
    assert report.records[1].dice == {"organ": None, "tumour": None}
    assert "case_2,organ,,the reference has no such label in this case" in (
        tmp_path / "Task78_Pseudo/dice.csv"
    ).read_text(encoding="utf-8")


def test_objects_below_min_pixels_get_no_label(task: Path, label: Label, tmp_path: Path) -> None:
    report = label(task, tmp_path / "out", min_pixels=15)
    assert report.records[0].dice == {"organ": 1.0, "tumour": 0.0}
    assert label(task, tmp_path / "none", min_pixels=99).records[0].slices == 0


def test_a_phantom_is_labelled_the_same_by_both_backends(label: Label, tmp_path: Path) -> None:
    data = write_phantom(tmp_path, PhantomSpec(cases=2, size=48, slices=4, spacing_mm=(8.0, 8.0, 36.0)))
    for backend in BACKENDS:
        label(data, tmp_path / backend, backend=backend)
    for path in (tmp_path / "pytorch" / "labelsTr").iterdir():
        np.testing.assert_array_equal(stored(path), stored(tmp_path / "onnxruntime" / "labelsTr" / path.name))


# What stops it.


def test_a_damaged_case_stops_with_its_name_and_earlier_cases_are_kept(
    task: Path, label: Label, tmp_path: Path, decoded: list[tuple[str, int]]
) -> None:
    good = (task / "imagesTr/case_2.nii.gz").read_bytes()
    (task / "imagesTr/case_2.nii.gz").write_bytes(good[:-20])
    with pytest.raises(InputError, match=r"imagesTr/case_2\.nii\.gz"):
        label(task, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out/labelsTr").iterdir()] == ["case_1.nii.gz"]
    assert not (tmp_path / "out/dataset.json").exists(), "it is written once every case is there"
    (task / "imagesTr/case_2.nii.gz").write_bytes(good)
    decoded.clear()
    assert label(task, tmp_path / "out").labelled == 2
    assert {case for case, _ in decoded} == {"case_2", "case_3"}


def test_a_backend_that_answers_nan_is_told_in_a_sentence(
    task: Path, label: Label, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Overlay, "add", lambda self, logits, values: pytest.fail("NaN must not become a label"))
    no_number = torch.full((1, 1, 10, 12), torch.nan)
    monkeypatch.setattr("benchmark.stages.pseudolabel.tensor_on_slice", lambda *_: no_number)
    with pytest.raises(RunnerError, match=r"case case_1, slice 1: .*NaN.*--precision fp32"):
        label(task, tmp_path / "out")


def test_a_full_disk_is_told_in_a_sentence(
    task: Path, label: Label, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("benchmark.labelling.output.save_labels", full)
    with pytest.raises(InputError, match=r"--out .*No space left on device.*make room"):
        label(task, tmp_path / "out")


def test_a_folder_that_was_copied_elsewhere_is_still_finished(task: Path, label: Label, tmp_path: Path) -> None:
    label(task, tmp_path / "out")
    shutil.copytree(tmp_path / "out", tmp_path / "moved")
    assert label(task, tmp_path / "moved").labelled == 0
