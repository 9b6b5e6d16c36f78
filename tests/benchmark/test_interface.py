"""`import sambench` in a script or notebook: the commands' results and mistakes, without their output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import sambench
from benchmark import run as running
from benchmark.spec import parse_spec
from tests.benchmark.conftest import MakeTask
from tests.benchmark.fake_sam import FakeSam
from tests.benchmark.labelling.conftest import boxes, greys


@pytest.fixture
def content(tmp_path: Path, in_process: None, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A specification of a run of seconds: a phantom, and a SAM that answers a box with the box."""
    monkeypatch.setattr(running, "load_sam", lambda name, checkpoint, seed, masks: FakeSam(factor=1.0))
    task = sambench.phantom(tmp_path / "data", cases=1, size=64, slices=3)
    return {
        "name": "tried",
        "data": {"root": tmp_path / "data", "tasks": [task.name]},
        "measure": {"samples": 4, "budget_s": 1, "warmup": 0, "pause_ms": 0, "threads": 1, "offline_s": 0.1},
    }


def test_a_run_from_a_dictionary_is_that_of_the_command_and_prints_nothing(
    content: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    results = sambench.run(content, tmp_path / "run", overrides=["sam.min_pixels=2"])
    assert capfd.readouterr() == ("", "")
    assert {cell.backend: cell.status for cell in results.cells} == {"pytorch": "ok", "onnxruntime": "ok"}
    assert results.data.spec["sam"]["min_pixels"] == 2  # type: ignore[index]
    for name in ("results.json", "report.html", "report.md"):
        assert (tmp_path / "run" / name).is_file()
    again = sambench.load_results(tmp_path / "run")
    assert again == results and sambench.load_results(tmp_path / "run" / "results.json") == results
    assert list(again.to_pandas()["backend"]) == [cell.backend for cell in results.cells]
    assert list(again.to_pandas("comparisons")["candidate"]) == ["onnxruntime"]
    report = (tmp_path / "run" / "report.md").read_text("utf-8").replace("\\", "")  # Markdown escapes brackets
    assert "ONNX Runtime" in again.verdict and again.verdict in report
    assert repr(again).startswith("<RunResults 'tried': 2 ce")
    assert isinstance(again.to_pandas(again.tables[-1]), pd.DataFrame)


def test_the_command_in_the_results_repeats_a_run_from_python(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = sambench.run(content, tmp_path / "run")
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(sambench, "run", lambda *given: asked.append(given), raising=False)
    exec(results.data.command, {"sambench": sambench})  # noqa: S102 - what the report tells a reader to do
    ((spec, folder),) = asked
    assert Path(folder) == tmp_path / "run"
    assert parse_spec(spec, "again", Path()) == parse_spec({**content}, "first", Path())


def test_a_run_from_a_file_is_repeated_by_the_command(content: dict[str, Any], tmp_path: Path) -> None:
    content["data"]["root"] = "data"  # relative to the file, not to the current folder
    path = tmp_path / "my spec.yaml"
    path.write_text(json.dumps(content), encoding="utf-8")
    results = sambench.run(str(path), str(tmp_path / "run"), overrides=["measure.repeats=1"])
    assert results.data.command == f"sambench run '{path}' --out {tmp_path / 'run'} --set measure.repeats=1"
    spec = parse_spec({**content, "data": {**content["data"], "root": str(tmp_path / "data")}}, "s", Path())
    assert sambench.run(spec, tmp_path / "run").cells == results.cells, "the same content goes on in the same folder"


def test_progress_is_told_when_asked_for(
    content: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sambench.run(content, tmp_path / "run", progress=True)
    out, err = capfd.readouterr()
    assert out == "" and "export" in err


def test_labels_are_written_as_by_the_command(
    make_task: MakeTask, fake_sam: FakeSam, in_process: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = make_task(image=greys(), label=boxes())
    report = sambench.label(task, tmp_path / "labels", backend="pytorch", threads=1)
    assert capfd.readouterr() == ("", "")
    assert [record.case for record in report.records] == ["case_1"]
    assert (tmp_path / "labels" / "dataset.json").is_file() and (tmp_path / "labels" / "dice.csv").is_file()


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        pytest.param(lambda: sambench.run("none.yaml"), r"^none\.yaml: cannot be read", id="no file"),
        pytest.param(lambda: sambench.run({"name": "a"}), r"^spec: data: ", id="field missing"),
        pytest.param(lambda: sambench.run({"name": {1, 2}}), r"^spec: holds what no YAML file can hold", id="a set"),
        pytest.param(lambda: sambench.run({}, overrides=["a"]), r"^set a: write it as key=value", id="override"),
        pytest.param(lambda: sambench.load_results("nowhere"), r"^nowhere/results\.json: no results", id="no run"),
        pytest.param(lambda: sambench.label("a", "b", prompt="circle"), r"^prompt: .*'circle'", id="prompt"),
        pytest.param(lambda: sambench.label("a", "b", min_pixels=0), r"^min_pixels: must be 1 or more", id="pixels"),
        pytest.param(lambda: sambench.label("none", "b"), r"^none: there is no such task folder", id="no task"),
        pytest.param(
            lambda: sambench.export_sam("o", precision="int8-static", slices=0), r"^slices: int8-static", id="slices"
        ),
        pytest.param(
            lambda: sambench.export_unet("o", "c.pt", patch=[8, 8]),
            r"^network: missing; arguments, patch, ",
            id="network",
        ),
    ],
)
def test_a_mistake_is_the_commands_sentence_in_pythons_names(
    mistake: Any, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(sambench.InputError, match=told):
        mistake()
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_does_not_exist_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(sambench.ExportError, match=r"^model 'sam9' is not known; choose from"):
        sambench.export_sam(tmp_path / "out", model="sam9")
    with pytest.raises(sambench.ExportError, match=r"masks 'two' is not known; choose from"):
        sambench.export_sam(tmp_path / "out", random_weights=0, masks="two", slices=0)  # type: ignore[arg-type]
    with pytest.raises(sambench.ExportError, match=r"fp12"):
        sambench.export_sam(tmp_path / "out", random_weights=0, precision="fp12", slices=0)
    assert not (tmp_path / "out").exists()


def test_a_unet_is_exported_from_python(tmp_path: Path, traced_once: None) -> None:
    import torch
    from monai.networks.nets import BasicUNet

    arguments = {"features": [4, 4, 4, 4, 4, 4]}
    torch.save(BasicUNet(2, 1, 2, **arguments).state_dict(), tmp_path / "net.pt")
    manifest = sambench.export_unet(
        tmp_path / "out", tmp_path / "net.pt", network="BasicUNet", arguments=arguments, patch=(32, 32),
        labels=["liver"], windows=0,
    )  # fmt: skip
    assert (tmp_path / "out" / "unet.onnx").is_file() and manifest.model == "basicunet-2d"
