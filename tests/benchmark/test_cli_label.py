"""`sambench label` from the keyboard: every mistake is one sentence with exit code 2, and tables say what happened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from benchmark import devices
from tests.benchmark.conftest import MakeTask, Sambench
from tests.benchmark.fake_sam import FakeSam
from tests.benchmark.labelling.conftest import boxes, greys


@pytest.fixture
def task(make_task: MakeTask) -> Path:
    return make_task(image=greys(), label=boxes(), cases=("case_1", "case_2"))


# Mistakes.

OPTIONS: list[tuple[list[Any], str]] = [
    (["--model", "sam9"], "--model: 'sam9' is no model; choose from"),
    (["--prompt", "circle"], "--prompt: prompt strategy 'circle': there is no such one; known are"),
    (["--backend", "caffe"], "--backend: 'caffe' is no backend; choose from"),
    (["--backend", "pytorch", "--precision", "fp16"], "--precision: 'fp16' is no precision of this backend; choose"),
    (["--backend", "tensorrt"], "--backend: backend tensorrt: not applicable to device cpu"),
    (["--device", "gpu"], "--device: 'gpu' is not a device; use cpu, cuda or cuda:N, or cuda:all"),
    (["--on-out-of-memory", "swap"], "--on-out-of-memory: must be 'fail' or 'halve', not 'swap'"),
    (["--per", "voxel"], "--per: must be 'object' or 'component', not 'voxel'"),
    (["--masks", "all"], "--masks: must be 'one' or 'three', not 'all'"),
    (["--min-pixels", 0], "--min-pixels: must be 1 or more, not 0"),
    (["--threads", 0], "--threads: must be 1 or more, not 0"),
    (["--threads", 10**6], "--threads: 1000000 is more than this machine's"),
    (["--channel", 3], "Task77_Test: channel 3 does not exist; choose one of: 0 CT"),
    (["--label", "liver"], "Task77_Test: label `liver` does not exist; choose among: organ, tumour"),
    (["--window", -160, 0], "Task77_Test: a window needs a finite level and a width above 0"),
]


@pytest.mark.parametrize(("options", "told"), OPTIONS, ids=[" ".join(map(str, options)) for options, _ in OPTIONS])
def test_a_bad_option_is_one_sentence(
    task: Path, fake_sam: FakeSam, sambench: Sambench, tmp_path: Path, options: list[Any], told: str
) -> None:
    code, out, err = sambench("label", "--data", task, "--out", tmp_path / "out", *options)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {told}") and len(err.splitlines()) == 1, err
    assert not (tmp_path / "out").exists(), "nothing is made before all is known to be right"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--min-pixels", "few"], "'--min-pixels'"),
        (["--window", 40], "'--window' requires 2 arguments"),
        (["--colour", "red"], "--colour"),
    ],
)
def test_what_typer_refuses_is_named_with_exit_code_2(
    task: Path, sambench: Sambench, tmp_path: Path, options: list[Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    code, _, err = sambench("label", "--data", task, "--out", tmp_path / "out", *options)
    assert code == 2 and told in err and "Traceback" not in err


def test_data_and_out_must_be_given(task: Path, sambench: Sambench, tmp_path: Path) -> None:
    for words, missing in ((["--out", tmp_path / "out"], "--data"), (["--data", task], "--out")):
        code, _, err = sambench("label", *words)
        assert code == 2 and f"Missing option '{missing}'" in err


def test_a_gpu_that_is_not_there_is_told_before_anything_is_read(
    sambench: Sambench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "cuda_absence", lambda index: "no NVIDIA driver on this machine")
    code, _, err = sambench("label", "--data", tmp_path, "--out", tmp_path / "out", "--device", "cuda")
    assert code == 2 and "--device: cuda cannot be used: no NVIDIA driver on this machine; take cpu" in err


def test_weights_that_are_not_here_are_told_in_labels_own_options(
    task: Path, sambench: Sambench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMBENCH_CACHE", str(tmp_path / "empty"))
    code, _, err = sambench("label", "--data", task, "--out", tmp_path / "out", "--model", "vit_b")
    assert code == 2 and "run `sambench fetch sam vit_b`, or name a file of them with --checkpoint" in err
    assert "--random-weights" not in err


def test_what_is_no_task_is_told(task: Path, sambench: Sambench, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for data, told in (
        (tmp_path / "absent", "there is no such task folder"),
        (tmp_path / "empty", "is not a task folder: it has no dataset.json"),
        (task.parent, "one level below; name the task folder itself: Task77_Test"),
        (task / "dataset.json", "is a file; name the task folder that it lies in"),
    ):
        code, _, err = sambench("label", "--data", data, "--out", tmp_path / "out")
        assert code == 2 and told in err and len(err.splitlines()) == 1


def test_out_cannot_be_a_file_or_the_task(task: Path, sambench: Sambench, tmp_path: Path) -> None:
    """Told before any model is loaded: none is replaced here."""
    for out, told in ((task / "dataset.json", "name a folder beside it"), (task, "is the task itself")):
        code, _, err = sambench("label", "--data", task, "--out", out, "--model", "vit_h")
        assert code == 2 and told in err
    (tmp_path / "file").touch()
    code, _, err = sambench("label", "--data", task, "--out", tmp_path / "file", "--model", "vit_h")
    assert code == 2 and err == f"error: --out {tmp_path / 'file'}: is a file; name a folder\n"


def test_a_checkpoint_that_is_none_is_told(task: Path, sambench: Sambench, tmp_path: Path) -> None:
    (tmp_path / "notes.pth").write_bytes(b"not weights")
    for checkpoint, told in (
        ("absent.pth", "no such checkpoint file"), (".", "no such checkpoint file"), ("notes.pth", "checkpoint"),
    ):  # fmt: skip
        code, _, err = sambench(
            "label", "--data", task, "--out", tmp_path / "out", "--checkpoint", tmp_path / checkpoint
        )
        assert code == 2 and told in err and checkpoint.strip(".") in err and len(err.splitlines()) == 1
        assert not (tmp_path / "out").exists()


# What it shows.


def test_it_shows_dice_effort_and_where_the_labels_are(
    task: Path, fake_sam: FakeSam, sambench: Sambench, tmp_path: Path
) -> None:
    words = ("label", "--data", task, "--out", tmp_path / "out", "--threads", 1)
    code, out, err = sambench(*words)
    assert code == 0
    assert "Pseudo labels of Task77_Test against the reference" in out
    for row in (("case_1", "1.000", "4", "0", "6", "organ", "1.000"), ("tumour", "1.000", "2", "case_1", "1.000")):
        assert any(line.split() == list(row) for line in out.splitlines()), out
    assert "2 cases labelled, " in out and "slices/s" in out
    assert str(tmp_path / "out/dice.csv") in out.replace("\n", "")
    assert "label Task77_Test (box, onnxruntime)" in err
    code, out, _ = sambench(*words)
    assert code == 0 and "2 cases labelled (2 by an earlier call)\n" in out


def test_a_case_without_an_object_is_named(
    make_task: MakeTask, fake_sam: FakeSam, sambench: Sambench, tmp_path: Path
) -> None:
    data = make_task(image=greys(), label=0 * boxes())
    code, out, _ = sambench("label", "--data", data, "--out", tmp_path / "out", "--threads", 1)
    assert code == 0
    assert "without an object to prompt for, so with an empty label: case_1" in out


def test_a_label_in_brackets_is_no_markup(
    make_task: MakeTask, fake_sam: FakeSam, sambench: Sambench, tmp_path: Path
) -> None:
    names = {"0": "background", "1": "[core]", "2": "tumour"}
    data = make_task(image=greys(), label=boxes(), json_fields={"labels": names})
    code, out, _ = sambench("label", "--data", data, "--out", tmp_path / "out", "--threads", 1, "--label", "[core]")
    assert code == 0 and "[core]" in out


def test_a_window_may_lie_below_0(task: Path, fake_sam: FakeSam, sambench: Sambench, tmp_path: Path) -> None:
    words = ("label", "--data", task, "--out", tmp_path / "out", "--threads", 1, "--window", -160, 1500)
    assert sambench(*words)[0] == 0


def test_the_default_is_all_cores_and_no_more_than_there_are(
    task: Path, fake_sam: FakeSam, sambench: Sambench, tmp_path: Path
) -> None:
    assert sambench("label", "--data", task, "--out", tmp_path / "out")[0] == 0
    told = (tmp_path / "out/dataset.json").read_text(encoding="utf-8")
    assert any(f'"threads": {count},' in told for count in range(1, (os.cpu_count() or 1) + 1))
