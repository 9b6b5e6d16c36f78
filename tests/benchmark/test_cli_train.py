"""`sambench train` from the keyboard: what it writes, how it goes on, and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from benchmark import devices
from benchmark.data.msd import open_task
from benchmark.data.volume import load_volume
from benchmark.training import evaluate, loop
from exporters.unet import load_unet
from tests.benchmark.conftest import Sambench
from tests.benchmark.training.conftest import CASES, organ_task, write_pseudo_labels

__all__ = ["organ_task"]

TINY = [
    word
    for setting in ("patch=[16, 16]", "channels=[4, 8]", "strides=[2]", "res_units=0", "epochs=4", "validate_every=2")
    for word in ("--set", setting)
]


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_training_writes_its_network_split_record_and_scores(
    organ_task: Path, sambench: Sambench, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, printed, err = sambench("train", "--data", organ_task, "--out", out, *TINY)
    assert code == 0, err
    visible = sorted(path.name for path in out.iterdir())
    assert visible == [".sambench", "split.json", "test.csv", "training.json", "unet.pt"]
    assert sorted(path.name for path in (out / ".sambench").iterdir()) == ["record.json", "train.json"]
    split, record = read(out / "split.json"), read(out / "training.json")
    assert sorted(split["train"] + split["validation"] + split["test"]) == sorted(CASES)
    assert (len(split["train"]), len(split["validation"]), len(split["test"])) == (3, 1, 2)
    assert (record["cases"], record["validation_cases"], record["test_cases"]) == (
        split["train"],
        split["validation"],
        split["test"],
    )
    assert (record["labels"], record["settings"]["epochs"], record["device"]) == ("reference", 4, "cpu")
    assert len(record["loss"]) == 4 and [found["epoch"] for found in record["validation"]] == [2, 4]
    rows = list(csv.DictReader((out / "test.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["case"], row["label"]) for row in rows] == [(c, n) for c in split["test"] for n in ("organ", "tumour")]
    for row, score in zip(rows, record["test"], strict=True):
        assert float(row["dice"]) == pytest.approx(score["dice"], abs=1e-6)
        assert f"{score['dice']:.3f}" in printed
    assert "unet-2d on reference labels: epoch" in printed and "validation Dice" in printed
    assert "train Task77_Test UNet on reference labels" in err


def test_the_scores_are_those_of_the_network_that_was_written(
    organ_task: Path, sambench: Sambench, tmp_path: Path
) -> None:
    """Dice by its definition, on slices that PyTorch alone ran through the checkpoint."""
    assert sambench("train", "--data", organ_task, "--out", tmp_path / "out", *TINY, "--set", "patch=[32, 32]")[0] == 0
    task = open_task(organ_task)
    module = load_unet(tmp_path / "out" / "unet.pt").unet.module
    for score in read(tmp_path / "out" / "training.json")["test"]:
        volume = load_volume(task, next(files for files in task.cases if files.case == score["case"]))
        padded = np.pad(volume.image.T, ((0, 0), (6, 6), (4, 4))) / 255  # slices of 20 × 24 within 32 × 32
        with torch.inference_mode():
            channels = module(torch.from_numpy(padded[:, None].astype(np.float32))).argmax(1).numpy()
        value = {"organ": 1, "tumour": 2}[score["label"]]
        predicted, true = channels[:, 6:26, 4:28] == value, value == volume.label.T
        assert score["dice"] == pytest.approx(2 * (predicted & true).sum() / (predicted.sum() + true.sum()), abs=1e-6)


def test_pseudo_labels_teach_and_the_reference_labels_test(
    organ_task: Path, sambench: Sambench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pseudo = write_pseudo_labels(organ_task, tmp_path / "pseudo", value=1)
    monkeypatch.setattr(evaluate, "_segment", lambda volume, *rest: np.ascontiguousarray(volume.label.T))
    out = tmp_path / "out"
    code, printed, err = sambench("train", "--data", organ_task, "--labels", pseudo, "--out", out, *TINY)
    assert code == 0, err
    record = read(out / "training.json")
    assert record["labels"] == "pseudo"
    assert set(record["label_sha256"]) == set(record["cases"]) | set(record["validation_cases"])
    # What equals the reference labels scores 1, although the pseudo labels look nothing like them.
    assert [score["dice"] for score in record["test"]] == [1.0] * 4
    assert "note: the best epoch was chosen by Dice against the pseudo labels" in printed


def test_the_test_cases_need_no_pseudo_labels(organ_task: Path, sambench: Sambench, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert sambench("train", "--data", organ_task, "--out", tmp_path / "first", *TINY)[0] == 0
    split = read(tmp_path / "first" / "split.json")
    pseudo = write_pseudo_labels(organ_task, tmp_path / "pseudo", 1, cases=(*split["train"], *split["validation"]))
    assert sambench("train", "--data", organ_task, "--labels", pseudo, "--out", out, *TINY)[0] == 0
    (pseudo / f"{split['validation'][0]}.nii.gz").unlink()
    code, _, err = sambench("train", "--data", organ_task, "--labels", pseudo, "--out", tmp_path / "new", *TINY)
    assert code == 2
    assert f"has no labels for 1 of the 4 cases to train and validate on ({split['validation'][0]})" in err
    assert not (tmp_path / "new").exists()


def test_an_interrupted_training_goes_on_and_ends_as_an_undisturbed_one(
    organ_task: Path, sambench: Sambench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", "--data", organ_task, *TINY)
    assert sambench(*words, "--out", tmp_path / "undisturbed")[0] == 0
    epochs, one_epoch = 0, loop._one_epoch

    def kill(*arguments: Any) -> float:
        nonlocal epochs
        epochs += 1
        if epochs == 4:
            raise KeyboardInterrupt
        return one_epoch(*arguments)

    out = tmp_path / "out"
    monkeypatch.setattr(loop, "_one_epoch", kill)
    code, _, err = sambench(*words, "--out", out)
    assert (code, err.splitlines()[-1][:18]) == (130, "error: interrupted")
    assert not (out / "unet.pt").exists() and not (out / "training.json").exists()
    assert sambench(*words, "--out", out)[0] == 0
    assert epochs == 5, "three finished epochs are not done again"
    one, other = (read(tmp_path / name / "training.json") for name in ("undisturbed", "out"))
    for key in ("loss", "validation", "best_epoch", "test"):
        assert one[key] == other[key]
    states = [torch.load(tmp_path / name / "unet.pt", weights_only=True) for name in ("undisturbed", "out")]
    assert all(torch.equal(states[0]["state_dict"][name], value) for name, value in states[1]["state_dict"].items())


def test_a_finished_training_is_shown_again_without_training_or_testing(
    organ_task: Path, sambench: Sambench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", "--data", organ_task, "--out", tmp_path / "out", *TINY)
    _, first, _ = sambench(*words)

    def refuse(*arguments: Any) -> None:
        raise AssertionError("this was done before")

    monkeypatch.setattr(loop, "_one_epoch", refuse)
    monkeypatch.setattr(evaluate, "_segment", refuse)
    code, again, err = sambench(*words)
    assert code == 0, err
    assert again == first


def test_one_case_is_trained_on_only_where_it_is_asked_for_and_is_no_evidence(
    organ_task: Path, sambench: Sambench, tmp_path: Path
) -> None:
    content = read(organ_task / "dataset.json")
    content["training"] = content["training"][:1]
    (organ_task / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    words = ("train", "--data", organ_task, "--out", tmp_path / "out", *TINY)
    code, _, err = sambench(*words)
    assert code == 2 and "one case cannot be split into training and test cases" in err and "same_case: true" in err
    code, printed, _ = sambench(*words, "--set", "same_case=true")
    assert code == 0
    assert "no evidence of accuracy" in printed
    assert read(tmp_path / "out" / "split.json")["same_case"] is True


# Mistakes.


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--set", "epoch=3"], "training settings: epoch: is not a field here; see docs/train.md"),
        (["--set", "epochs"], "--set epochs: write it as key=value, for example epochs=60"),
        (["--set", "epochs=0"], "training settings: epochs: Input should be greater"),
        (["--set", "patch=[20, 20]", "--set", "strides=[8]"], "patch (20, 20) is not a multiple of 8"),
        (["--device", "gpu"], "training settings: device: 'gpu' is not a device; use"),
        (["--device", "cuda"], "--device: cuda cannot be used: no driver"),
        (["--label", "liver"], "Task77_Test: label `liver` does not exist; choose among: organ, tumour"),
        (["--channel", 3], "Task77_Test: channel 3 does not exist"),
        (["--labels", "nowhere"], "--labels nowhere: is no folder"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_sentence_and_makes_no_folder(
    options: list[Any], told: str, organ_task: Path, sambench: Sambench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "cuda_absence", lambda index: "no driver")
    code, out, err = sambench("train", "--data", organ_task, "--out", tmp_path / "out", *TINY, *options)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and told in err and len(err.splitlines()) == 1, err
    assert not (tmp_path / "out").exists()


def test_settings_come_from_a_file_and_its_mistakes_name_it(
    organ_task: Path, sambench: Sambench, tmp_path: Path
) -> None:
    config = tmp_path / "unet.yaml"
    config.write_text("epochs: 2\npatch: [16, 16]\nchannels: [4, 8]\nstrides: [2]\nres_units: 0\n", encoding="utf-8")
    words = ("train", "--data", organ_task, "--config", config)
    assert sambench(*words, "--out", tmp_path / "out", "--set", "epochs=1")[0] == 0
    settings = read(tmp_path / "out" / "training.json")["settings"]
    assert (settings["epochs"], settings["patch"], settings["res_units"]) == (1, [16, 16], 0)
    for text, told in (("- 3\n", "holds no settings"), ("{", "is not YAML"), ("lr: 3\n", "lr: is not a field here")):
        config.write_text(text, encoding="utf-8")
        code, _, err = sambench(*words, "--out", tmp_path / "new")
        assert code == 2 and str(config) in err and told in err


def test_a_folder_of_somebody_else_or_of_other_settings_is_left_alone(
    organ_task: Path, sambench: Sambench, tmp_path: Path
) -> None:
    words = ("train", "--data", organ_task, *TINY)
    foreign = tmp_path / "foreign"
    (foreign / ".sambench").mkdir(parents=True)
    (foreign / ".sambench" / "settings.json").write_text("{}", encoding="utf-8")  # as `sambench label` leaves it
    code, _, err = sambench(*words, "--out", foreign)
    assert code == 2 and f"--out {foreign}: not empty and no training of sambench; name a new folder" in err
    assert [path.name for path in foreign.rglob("*")] == [".sambench", "settings.json"]
    out = tmp_path / "out"
    assert sambench(*words, "--out", out)[0] == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    image = organ_task / "imagesTr" / "case_1.nii.gz"
    for change, told in (
        (("--set", "epochs=5"), "epochs was 4 and is 5"),
        (("--seed", 3), "seed was 0 and is 3"),
        (("--label", "organ"), "data was"),
        (("--labels", organ_task / "labelsTr"), "labels was reference and is labelsTr"),
    ):
        code, _, err = sambench(*words, "--out", out, *change)
        assert code == 2 and "holds a training with other settings" in err and told in err, err
    stored = nib.load(image)
    nib.save(nib.Nifti1Image(np.asarray(stored.dataobj) + 1, stored.affine), image)
    code, _, err = sambench(*words, "--out", out)
    assert code == 2 and "data was" in err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    file = tmp_path / "file"
    file.write_text("x", encoding="utf-8")
    code, _, err = sambench(*words, "--out", file)
    assert code == 2 and "is a file; name a folder" in err
