import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.data.intensity import CTWindow, Percentiles
from benchmark.data.msd import TaskOverride, open_task
from benchmark.errors import InputError


def rewrite(folder: Path, **fields: Any) -> None:
    path = folder / "dataset.json"
    data = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))


def complaint(folder: Path, override: TaskOverride | None = None) -> str:
    with pytest.raises(InputError) as caught:
        open_task(folder, override or TaskOverride())
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_sound_task_is_read_from_its_json_and_file_names_alone(make_task: Callable[..., Path]) -> None:
    folder = make_task(cases=("case_2", "case_10", "case_1"))
    for path in folder.glob("*Tr/*"):
        path.write_bytes(b"no volume at all")
    task = open_task(folder)
    assert (task.name, task.modality, task.channel, task.channels) == ("Task77_Test", "CT", 0, 1)
    assert dict(task.labels) == {1: "organ", 2: "tumour"}
    assert task.known_values == {0, 1, 2}
    assert task.intensity == CTWindow(40, 400)
    assert [files.case for files in task.cases] == ["case_1", "case_10", "case_2"]
    assert task.cases[0].label == folder / "labelsTr" / "case_1.nii.gz"


def test_a_task_can_be_sent_to_a_worker_process(make_task: Callable[..., Path]) -> None:
    task = open_task(make_task())
    assert pickle.loads(pickle.dumps(task)) == task  # noqa: S301


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_case_id_is_the_file_name_without_its_ending(make_task: Callable[..., Path], ending: str) -> None:
    assert open_task(make_task(cases=("a.b_1",), ending=ending)).cases[0].case == "a.b_1"


def test_paths_are_read_with_and_without_a_leading_dot(make_task: Callable[..., Path]) -> None:
    folder = make_task()
    rewrite(folder, training=[{"image": "imagesTr/case_1.nii.gz", "label": "labelsTr/case_1.nii.gz"}])
    assert open_task(folder).cases[0].image.is_file()


def test_a_byte_order_mark_is_no_mistake(make_task: Callable[..., Path]) -> None:
    path = make_task() / "dataset.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert open_task(path.parent).cases


def test_macos_companions_in_the_folders_are_not_cases(make_task: Callable[..., Path]) -> None:
    folder = make_task(json_fields={"training": None, "file_ending": ".nii.gz"}, cases=("case_1_0000",))
    (folder / "labelsTr" / "case_1_0000.nii.gz").rename(folder / "labelsTr" / "case_1.nii.gz")
    (folder / "labelsTr" / "._case_1.nii.gz").write_bytes(b"\0")
    assert [files.case for files in open_task(folder).cases] == ["case_1"]


def test_nnunets_dataset_json_is_read(make_task: Callable[..., Path]) -> None:
    fields = {
        "modality": None,
        "training": None,
        "channel_names": {"0": "T2", "1": "CT"},
        "labels": {"background": 0, "liver": 1, "ignore": 2},
        "file_ending": ".nii.gz",
    }
    folder = make_task(json_fields=fields, cases=("case_1_0001",))
    (folder / "labelsTr" / "case_1_0001.nii.gz").rename(folder / "labelsTr" / "case_1.nii.gz")
    task = open_task(folder, TaskOverride(channel=1))
    assert [files.image.name for files in task.cases] == ["case_1_0001.nii.gz"]
    assert task.modality == "CT" and (task.channel, task.channels) == (0, 1)
    assert dict(task.labels) == {1: "liver"} and task.known_values == {0, 1, 2}


def test_a_modality_of_its_own_decides_the_scale_of_each_channel(make_task: Callable[..., Path]) -> None:
    folder = make_task(json_fields={"modality": {"0": "PET", "1": "CT"}})
    assert open_task(folder).intensity == Percentiles()
    task = open_task(folder, TaskOverride(channel=1))
    assert (task.modality, task.channel, task.channels, task.intensity) == ("CT", 1, 2, CTWindow(40, 400))


def test_an_override_sets_the_tolerance_of_surfaces(make_task: Callable[..., Path]) -> None:
    assert open_task(make_task(), TaskOverride(nsd_tolerance_mm=1.5)).nsd_tolerance_mm == 1.5
    assert open_task(make_task("Task03_Liver")).nsd_tolerance_mm == 7.0
    assert open_task(make_task()).nsd_tolerance_mm == 3.0


def test_an_override_chooses_window_and_labels_and_keeps_the_known_values(make_task: Callable[..., Path]) -> None:
    task = open_task(make_task(), TaskOverride(window=(-160, 1500), labels=("tumour",)))
    assert task.intensity == CTWindow(-160, 1500)
    assert dict(task.labels) == {2: "tumour"} and task.known_values == {0, 1, 2}


def test_a_task_named_by_the_current_folder_has_its_real_name(
    make_task: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_task())
    assert open_task(Path()).name == "Task77_Test"


def test_a_missing_folder_lists_the_tasks_beside_it(make_task: Callable[..., Path]) -> None:
    folder = make_task()
    assert "Task77_Test" in complaint(folder.parent / "Task78_Test")


def test_a_missing_parent_folder_is_told_plainly(tmp_path: Path) -> None:
    assert "no such task folder" in complaint(tmp_path / "no" / "Task09_Spleen")


def test_a_folder_of_tasks_lists_them(make_task: Callable[..., Path]) -> None:
    make_task("Task01_A")
    message = complaint(make_task("Task02_B").parent)
    assert "Task01_A, Task02_B" in message and "one level below" in message


def test_a_folder_with_images_but_no_json_says_what_is_missing(make_task: Callable[..., Path]) -> None:
    folder = make_task()
    (folder / "dataset.json").unlink()
    assert "imagesTr is here but dataset.json is not" in complaint(folder)


def test_an_archive_is_to_be_extracted(tmp_path: Path) -> None:
    (tmp_path / "Task09_Spleen.tar").write_bytes(b"")
    assert "extract it" in complaint(tmp_path / "Task09_Spleen.tar")


def test_a_folder_of_anything_else_is_no_task(tmp_path: Path) -> None:
    assert "is not a task folder" in complaint(tmp_path)


def test_invalid_json_is_told_with_its_line(make_task: Callable[..., Path]) -> None:
    folder = make_task()
    (folder / "dataset.json").write_text('{\n "labels": {,\n}')
    assert "dataset.json: line 2" in complaint(folder)


@pytest.mark.parametrize("content", [b"[]", b"\xff\xfe{\0"])
def test_a_json_that_is_no_object_or_no_utf8_is_told(make_task: Callable[..., Path], content: bytes) -> None:
    folder = make_task()
    (folder / "dataset.json").write_bytes(content)
    assert complaint(folder).startswith("Task77_Test/dataset.json: ")


@pytest.mark.parametrize("field", ["modality", "labels", "training"])
def test_a_missing_field_is_named(make_task: Callable[..., Path], field: str) -> None:
    assert f"the field `{field}` is missing" in complaint(make_task(json_fields={field: None}))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"labels": {}}, "`labels` is empty"),
        ({"labels": []}, "`labels` is empty"),
        ({"labels": {"0": "background"}}, "nothing to segment"),
        ({"labels": {"background": 0, "whole": [1, 2]}}, "label `whole` is a region"),
        ({"labels": {"1": "a", "2": "a"}}, "declared twice"),
        ({"labels": {"a": 1, "b": 1}}, "declared twice"),
        ({"labels": {"a": 1.5}}, "`1.5` is not understood"),
        ({"labels": {"300": "a"}}, "0 to 255"),
        ({"modality": {}}, "`modality`"),
        ({"modality": "CT"}, "`modality`"),
        ({"modality": {"1": "CT"}}, "number the channels from 0"),
        ({"training": []}, "the task is empty"),
        ({"training": ["imagesTr/case_1.nii.gz"]}, "training[0] must be"),
        ({"training": None, "file_ending": ".mha"}, "`file_ending`"),
        ({"training": None, "file_ending": ".nii"}, "the task is empty"),
    ],
)
def test_a_field_that_is_not_understood_is_named(
    make_task: Callable[..., Path], fields: dict[str, Any], expected: str
) -> None:
    message = complaint(make_task(json_fields=fields))
    assert expected in message and message.startswith("Task77_Test/dataset.json: ")


@pytest.mark.parametrize(
    "path", ["../secret.nii.gz", "/etc/secret.nii.gz", "imagesTr/../../x.nii.gz", "C:\\x.nii.gz", "..\\x.nii"]
)
def test_a_dataset_json_cannot_reach_outside_its_folder(make_task: Callable[..., Path], path: str) -> None:
    folder = make_task(json_fields={"training": [{"image": path, "label": "./labelsTr/case_1.nii.gz"}]})
    assert "training[0].image" in complaint(folder) and "leaves the task folder" in complaint(folder)


def test_linked_folders_are_followed(make_task: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_task()
    (folder / "imagesTr").rename(tmp_path / "elsewhere")
    (folder / "imagesTr").symlink_to(tmp_path / "elsewhere")
    assert open_task(folder).cases


def test_a_listed_macos_companion_is_explained(make_task: Callable[..., Path]) -> None:
    entry = {"image": "./imagesTr/._case_1.nii.gz", "label": "./labelsTr/case_1.nii.gz"}
    assert "macOS" in complaint(make_task(json_fields={"training": [entry]}))


def test_another_file_format_is_refused_by_its_name(make_task: Callable[..., Path]) -> None:
    entry = {"image": "./imagesTr/case_1.mha", "label": "./labelsTr/case_1.nii.gz"}
    assert "only .nii and .nii.gz" in complaint(make_task(json_fields={"training": [entry]}))


def test_missing_files_are_named_and_counted(make_task: Callable[..., Path]) -> None:
    folder = make_task(cases=("case_1", "case_2"))
    (folder / "labelsTr" / "case_1.nii.gz").unlink()
    assert complaint(folder).startswith("Task77_Test/labelsTr/case_1.nii.gz: the file is missing; download")
    (folder / "imagesTr" / "case_2.nii.gz").unlink()
    assert "(and 1 more, 2 in all)" in complaint(folder)


def test_a_case_listed_twice_is_not_counted_twice(make_task: Callable[..., Path]) -> None:
    assert "`case_1` is listed twice" in complaint(make_task(cases=("case_1", "case_1")))


def test_an_unknown_label_lists_those_there_are(make_task: Callable[..., Path]) -> None:
    message = complaint(make_task(), TaskOverride(labels=("organ", "spleen")))
    assert "`spleen` does not exist" in message and "organ, tumour" in message
    assert "no label is named" in complaint(make_task(), TaskOverride(labels=()))


def test_the_background_is_no_target(make_task: Callable[..., Path]) -> None:
    assert "`background` does not exist" in complaint(make_task(), TaskOverride(labels=("background",)))


@pytest.mark.parametrize("channel", [2, -1])
def test_a_channel_out_of_range_lists_those_there_are(make_task: Callable[..., Path], channel: int) -> None:
    folder = make_task(json_fields={"modality": {"0": "T2", "1": "ADC"}})
    assert "0 T2, 1 ADC" in complaint(folder, TaskOverride(channel=channel))


@pytest.mark.parametrize("modality", ["MRI", "T2 MR", "magnetic resonance"])
def test_a_ct_window_on_an_mri_is_refused(make_task: Callable[..., Path], modality: str) -> None:
    """It would show black or white, and the Dice of it would be taken for the model's."""
    task = make_task(json_fields={"modality": {"0": modality}})
    assert f"Hounsfield units was asked for, and dataset.json says {modality}" in complaint(
        task, TaskOverride(window=(40, 400))
    )


def test_a_window_without_width_is_the_users_mistake(make_task: Callable[..., Path]) -> None:
    assert "width above 0" in complaint(make_task(), TaskOverride(window=(40, 0)))


@pytest.mark.parametrize("name", ["Task03_Liver", "Task09_Spleen", "Task101_AbdomenCT", "Task102_BrainMRI"])
def test_the_real_tasks_open(msd_real: Path, name: str) -> None:
    task = open_task(msd_real / name)
    assert len(task.cases) == 1
    assert task.intensity == (Percentiles() if "MRI" in name else CTWindow(40, 400))
