"""What a person sees who makes a mistake: one or two lines that name file, field and fix, exit code 2, no traceback."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from benchmark import __version__, cli
from benchmark.errors import InputError
from benchmark.preflight import LOCK_FILE, sole_user
from runners.device import cuda_absence

LABEL = (np.arange(120).reshape(4, 5, 6) % 3).astype(np.uint8)
IMAGE = np.arange(120, dtype=np.float32).reshape(4, 5, 6)


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., Path]:
    """A specification over `tmp_path` with the segmentation stage alone: it reads the data before anything heavy."""

    def write(task: str = "Task77_Test", **fields: object) -> Path:
        content = {
            "name": "t",
            "data": {"root": str(tmp_path), "tasks": [task]},
            "sam": None,
            "unet": {"epochs": 1, "same_case": True},
            **fields,
        }
        path = tmp_path / "spec.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    return write


def assert_mistake(result: tuple[int, str, str], *words: str) -> None:
    code, _, err = result
    assert code == 2, err
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.strip()]
    complaint = [line for line in lines if line.startswith("error: ")]
    assert len(complaint) == 1
    assert lines[-1] == complaint[0], "nothing is printed after the message"
    for word in words:
        assert word in complaint[0]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def with_voxel(value: float) -> np.ndarray:
    image = IMAGE.copy()
    image[1, 2, 3] = value
    return image


@pytest.mark.parametrize(
    ("build", "damage", "words"),
    [
        ({}, lambda t: (t / "dataset.json").unlink(), ("dataset.json",)),
        ({}, lambda t: (t / "dataset.json").write_text("{"), ("dataset.json", "JSON")),
        ({"json_fields": {"training": []}}, lambda t: None, ("dataset.json", "training")),
        ({}, lambda t: (t / "imagesTr/case_1.nii.gz").unlink(), ("imagesTr/case_1.nii.gz",)),
        ({}, lambda t: (t / "labelsTr/case_1.nii.gz").unlink(), ("labelsTr/case_1.nii.gz",)),
        ({}, lambda t: truncate(t / "imagesTr/case_1.nii.gz"), ("imagesTr/case_1.nii.gz",)),
        ({}, lambda t: truncate(t / "labelsTr/case_1.nii.gz"), ("labelsTr/case_1.nii.gz",)),
        ({}, lambda t: (t / "imagesTr/case_1.nii.gz").write_bytes(gzip.compress(b"no NIfTI")), ("case_1.nii.gz",)),
        ({"label": LABEL[:, :, :5]}, lambda t: None, ("labelsTr/case_1.nii.gz", "(4, 5, 5)", "(4, 5, 6)")),
        ({"label_affine": np.diag([2.0, 3.0, 5.0, 1.0])}, lambda t: None, ("labelsTr/case_1.nii.gz", "mm")),
        ({"label": LABEL + 7}, lambda t: None, ("labelsTr/case_1.nii.gz", "9", "dataset.json")),
        ({"image": with_voxel(np.nan)}, lambda t: None, ("imagesTr/case_1.nii.gz", "NaN or infinite")),
        ({"image": with_voxel(np.inf)}, lambda t: None, ("imagesTr/case_1.nii.gz", "NaN or infinite")),
    ],
    ids=[
        "no dataset.json", "broken dataset.json", "empty task", "image missing", "label missing", "image truncated",
        "label truncated", "image no NIfTI", "shapes differ", "affines differ", "unknown label value", "NaN", "inf",
    ],
)  # fmt: skip
def test_damaged_data_ends_with_a_sentence_and_leaves_nothing(
    sambench, spec, make_task, tmp_path, build, damage, words
):
    task = make_task(**build)
    damage(task)
    assert_mistake(sambench("run", spec(), "--out", tmp_path / "run"), *words)
    assert not (tmp_path / "run").exists(), "the run folder is made only when the data can be read"


def test_a_missing_data_folder_is_named(sambench, spec, tmp_path):
    path = spec(data={"root": str(tmp_path / "nowhere"), "tasks": ["Task09_Spleen"]})
    assert_mistake(sambench("run", path), "data.root", "nowhere")


def test_a_missing_task_is_named(sambench, spec):
    assert_mistake(sambench("run", spec(task="Task99_Nothing")), "Task99_Nothing")


def test_one_case_is_not_split_behind_the_users_back(sambench, spec, make_task):
    make_task()
    assert_mistake(sambench("run", spec(unet={"epochs": 1})), "one case", "same_case")


@pytest.mark.skipif(cuda_absence() is None, reason="CUDA is here")
def test_an_absent_gpu_is_an_error_and_never_a_cpu_run(sambench, spec, make_task, tmp_path):
    make_task()
    result = sambench("run", spec(devices=["cuda"]), "--out", tmp_path / "run")
    assert_mistake(result, "devices", "cuda", "driver", "take cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\n", ("spec.yaml", "data")),
        ("name: [\n", ("spec.yaml", "YAML")),
        ("", ("spec.yaml", "name")),
        ("name: x\ndata: {root: ., tasks: [T]}\nbackends: [tensorflow]\n", ("backends", "tensorflow", "onnxruntime")),
        ("name: x\ndata: {root: ., tasks: [T]}\nprecisions: [fp8]\n", ("precisions", "fp32")),
        ("name: x\ndata: {root: ., tasks: [T]}\nsam: {prompt: [box]}\n", ("sam.prompt",)),
        ("name: x\ndata: {root: ., tasks: [T]}\nsam: {prompts: [boxes]}\n", ("sam.prompts", "boxes", "box")),
    ],
)
def test_a_wrong_specification_names_the_field(sambench, tmp_path, text, words):
    path = tmp_path / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    assert_mistake(sambench("run", path), *words)


def test_somebody_elses_folder_is_not_written_to(sambench, spec, make_task, tmp_path):
    make_task()
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter1.tex").write_text("precious", encoding="utf-8")
    assert_mistake(sambench("run", spec(), "--out", other), "thesis", "not empty")
    assert [path.name for path in other.iterdir()] == ["chapter1.tex"]
    assert_mistake(sambench("export", "sam", "--out", other), "thesis", "not empty")
    assert_mistake(sambench("run", spec(), "--out", other / "chapter1.tex"), "is a file")


def test_a_folder_that_cannot_be_made_is_named(sambench, tmp_path):
    """A file where the folder's parent should be; a traceback of mkdir tells a user nothing."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert_mistake(sambench("export", "sam", "--out", tmp_path / "file" / "artifact"), "artifact", "another folder")


def test_numbers_no_machine_has_are_refused_before_they_hang(sambench, spec, make_task):
    make_task()
    assert_mistake(sambench("run", spec(measure={"threads": 100_000})), "measure.threads", "processors")
    assert_mistake(sambench("run", spec(), "--set", "data.seed=-1"), "data.seed")


def test_a_second_run_stays_out_of_a_folder_in_use(tmp_path):
    """Two runs at once would each be timed against the other."""
    (tmp_path / LOCK_FILE).write_text(str(os.getppid()), encoding="utf-8")
    with pytest.raises(InputError, match="is running in it"), sole_user(tmp_path):
        pass
    (tmp_path / LOCK_FILE).write_text("999999999", encoding="utf-8")
    with sole_user(tmp_path):
        assert (tmp_path / LOCK_FILE).read_text(encoding="utf-8") == str(os.getpid()), "a dead run's lock is taken over"
    assert not (tmp_path / LOCK_FILE).exists()


def test_an_unknown_model_and_a_missing_checkpoint_are_named(sambench, tmp_path):
    out = tmp_path / "artifact"
    assert_mistake(sambench("export", "sam", "--model", "sam9", "--out", out), "sam9", "litemedsam")
    assert_mistake(sambench("export", "unet", "--checkpoint", tmp_path / "no.pt", "--out", out), "no.pt")
    assert not out.exists()


def test_a_report_of_nothing_says_where_results_come_from(sambench, tmp_path):
    assert_mistake(sambench("report", tmp_path), "results.json", "sambench run")


def test_an_interruption_says_how_to_go_on(sambench, spec, make_task, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    make_task()
    monkeypatch.setattr(cli, "_execute", interrupted)
    code, _, err = sambench("run", spec())
    assert code == 130
    assert "run the same command again" in err


def test_the_real_command_ends_with_code_2_and_no_traceback(tmp_path):
    """In a process of its own, because an in-process call could hide what the console script does."""
    command = [sys.executable, "-m", "sambench", "run", str(tmp_path / "none.yaml")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert "none.yaml" in ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout


def test_help_imports_nothing_heavy():
    """`sambench --help` stays under 0.3 s only as long as these packages are not imported for it."""
    code = (
        "import sys, json\nfrom benchmark import cli\nsys.argv = ['sambench', '--help']\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(ended.stderr)}
    assert not loaded & {
        "torch",
        "onnx",
        "onnxruntime",
        "monai",
        "numpy",
        "scipy",
        "pydantic",
        "altair",
        "nibabel",
        "yaml",
    }
    for command in ("demo", "run", "report", "export"):
        assert re.search(rf"\b{command}\b", ended.stdout)


def test_the_version_is_printed(sambench):
    assert sambench("--version")[:2] == (0, f"sambench {__version__}\n")


@pytest.mark.parametrize(("text", "seconds"), [("120s", 120), ("2m", 120), ("90", 90), ("1.5h", 5400)])
def test_a_budget_is_a_time_and_sets_the_specifications(sambench, spec, make_task, monkeypatch, text, seconds):
    """Also in the command that repeats the run."""
    told = []

    def execute(spec, out, command, progress, skip_unavailable):
        told.append((spec.measure.budget_s, command))
        raise InputError("seen enough")

    make_task()
    monkeypatch.setattr(cli, "_execute", execute)
    assert_mistake(sambench("run", spec(), "--budget", text, "--set", "measure.budget_s=7"), "seen enough")
    ((budget, command),) = told
    assert budget == seconds, "the option is the more particular one"
    assert f"measure.budget_s={seconds}" in command


def test_a_budget_that_is_no_time_is_refused(sambench, spec):
    assert_mistake(sambench("run", spec(), "--budget", "soon"), "--budget", "soon", "2m")
