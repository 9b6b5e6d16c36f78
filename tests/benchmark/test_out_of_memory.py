"""Device memory runs out in a run and in a labelling: what the user is told, and where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmark.results import Cell
from benchmark.run import Run
from benchmark.spec import parse_spec
from runners.base import OutOfDeviceMemoryError
from runners.onnxruntime import OnnxRuntimeRunner
from tests.benchmark.conftest import MakeTask, Sambench
from tests.benchmark.fake_sam import FakeSam
from tests.benchmark.labelling.conftest import Silent, boxes, content, greys

LOWERED = "batch lowered from 4 to 1 prompts because device memory ran out"


@pytest.fixture
def task(make_task: MakeTask) -> Path:
    return make_task(image=greys(), label=boxes(), cases=("case_1", "case_2"))


@pytest.fixture
def holds_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime's device holds one prompt at once."""
    run = OnnxRuntimeRunner._run

    def limited(self: OnnxRuntimeRunner, inputs: Mapping[str, Any]) -> Any:
        if "point_labels" in inputs and inputs["point_labels"].shape[0] > 1:
            raise OutOfDeviceMemoryError("CUDA failure 2: out of memory")
        return run(self, inputs)

    monkeypatch.setattr(OnnxRuntimeRunner, "_run", limited)


def cells(task: Path, out: Path, **measure: object) -> dict[str, Cell]:
    fields = {
        "name": "memory",
        "data": {"root": str(task.parent), "tasks": [task.name]},
        "sam": {"prompts": ["box"], "prompts_per_call": 4},
        "measure": {"samples": 1, "budget_s": 0, "warmup": 0, "scenarios": ["single-stream"], "threads": 1, **measure},
    }
    results = Run(parse_spec(fields, "test", task.parent), out, Silent(), "sambench run test").execute()
    return {cell.backend: cell for cell in results.cells}


@pytest.mark.usefixtures("in_process", "holds_one")
def test_a_cell_says_that_its_batch_was_lowered_or_fails_with_what_to_do(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.run.load_sam", lambda *_: FakeSam())
    halved = cells(task, tmp_path / "halved", on_out_of_memory="halve")
    assert halved["onnxruntime"].status == "ok" and halved["onnxruntime"].dice == 1.0
    assert halved["onnxruntime"].notes.count(LOWERED) == 1, "once, though two cases say it"
    assert LOWERED not in halved["pytorch"].notes
    failed = cells(task, tmp_path / "failed")
    assert failed["pytorch"].status == "ok"
    reason = failed["onnxruntime"].reason or ""
    assert failed["onnxruntime"].status == "failed" and "CUDA failure 2: out of memory" in reason
    assert "set measure.on_out_of_memory: halve, or sam.prompts_per_call below 2" in reason


@pytest.mark.usefixtures("holds_one")
def test_a_labelling_fails_with_what_to_do_and_doing_it_goes_on_and_is_told(
    task: Path, fake_sam: FakeSam, sambench: Sambench, tmp_path: Path
) -> None:
    whole = ("label", "--data", task, "--out", tmp_path / "whole", "--backend", "pytorch", "--threads", 1)
    assert sambench(*whole)[0] == 0
    out = tmp_path / "out"
    words = ("label", "--data", task, "--out", out, "--threads", 1, "--prompts-per-call", 4)
    code, _, err = sambench(*words)
    assert code == 2 and "Traceback" not in err
    assert "case case_1, slice 2: 2 prompts at once do not fit into the device's memory" in err
    assert "take --on-out-of-memory halve, or --prompts-per-call below 2 (CUDA failure 2: out of memory)" in err
    code, printed, _ = sambench(*words, "--on-out-of-memory", "halve")
    said = f"{LOWERED} (cases case_1, case_2)"
    assert code == 0 and said in printed
    assert json.loads((out / "dataset.json").read_text(encoding="utf-8"))["provenance"]["notes"] == [said]
    labels = {name: data for name, data in content(out).items() if "labelsTr" in name}
    assert labels == {name: data for name, data in content(tmp_path / "whole").items() if "labelsTr" in name}
    assert "notes" not in json.loads((tmp_path / "whole/dataset.json").read_text(encoding="utf-8"))["provenance"]
    code, printed, _ = sambench(*words)
    assert code == 0 and said in printed, "finished cases keep what they had to say"
