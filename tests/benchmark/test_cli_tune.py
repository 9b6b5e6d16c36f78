"""`sambench tune` from the keyboard: every mistake is one sentence; and a small UNet is tuned in real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.data.phantom import PhantomSpec, write_phantom
from benchmark.run import Run
from benchmark.spec import load_spec
from benchmark.tuning import machine
from benchmark.tuning.schema import load_tune
from exporters.unet import build_unet, unet_checkpoint
from exporters.unet_config import SlidingWindow, monai_unet
from tests.benchmark.conftest import MakeTask, Sambench
from tests.benchmark.labelling.conftest import Silent, boxes, greys
from tests.benchmark.tuning.conftest import spent, tuned_sam

__all__ = ["spent", "tuned_sam"]


@pytest.fixture
def task(make_task: MakeTask) -> Path:
    return make_task(image=greys(), label=boxes())


OPTIONS: list[tuple[list[Any], str]] = [
    (["--budget", "soon"], "--budget soon: is no time; give one as 90, 120s, 2m or 1h"),
    (["--budget", "0"], "--budget 0: is no time; give one as 10m"),
    (["--backends", "caffe"], "--backends: 'caffe' is no backend here; choose from"),
    (
        ["--backends", "tensorrt"],
        "--backends: nothing that was asked for can run here: tensorrt, tensorrt fp16: backend tensorrt: not",
    ),
    (
        ["--backends", "pytorch", "--precisions", "fp16"],
        "--backends, --precisions: nothing that was asked for can run here: pytorch fp16: precision fp16 of pytorch is",
    ),
    (["--backends", "pytorch,,openvino"], "--backends 'pytorch,,openvino': is no list; write it as a,b"),
    (["--backends", "pytorch,pytorch"], "--backends: pytorch, pytorch: each may stand once"),
    (["--precisions", "fp8"], "--precisions: 'fp8' is no precision here; choose from"),
    (["--backends", "pytorch", "--precisions", "int8"], "--precisions: 'int8' is no precision here; choose from"),
    (["--threads", "two"], "--threads 'two': are no numbers; write them as 1,2"),
    (["--threads", "0"], "--threads 0: give numbers of 1 or more, as 1,2"),
    (["--threads", "100000"], "--threads: 100000 is more than this machine's"),
    (["--prompts", "circle"], "--prompts: prompt strategy 'circle': there is no such one; known are"),
    (["--model", "sam9"], "--model: 'sam9' is not known; choose from"),
    (["--checkpoint", "no.pth"], "--checkpoint no.pth: is no file; name the checkpoint"),
    (["--device", "gpu"], "--device: 'gpu' is not a device; use"),
    (["--seed", "1"], "--seed: belongs to --random-weights; give both or neither"),
    (["--checkpoint", "w.pth", "--random-weights"], "--random-weights: excludes --checkpoint; give one of them"),
    (["--unet", "u.pt", "--model", "vit_b"], "--unet: is tuned without a SAM; leave out --model"),
    (["--unet", "no.pt"], "no.pt"),
]


@pytest.mark.parametrize(("options", "told"), OPTIONS, ids=[" ".join(options) for options, _ in OPTIONS])
def test_a_bad_option_is_one_sentence_and_nothing_is_written(
    task: Path, sambench: Sambench, tmp_path: Path, options: list[str], told: str
) -> None:
    code, out, err = sambench("tune", "--data", task, "--out", tmp_path / "out", *options)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {told}") and len(err.splitlines()) == 1, err
    assert not (tmp_path / "out").exists()


def test_a_task_that_is_not_there_or_has_no_label_is_named(
    sambench: Sambench, make_task: MakeTask, tmp_path: Path
) -> None:
    code, _, err = sambench("tune", "--data", tmp_path / "absent", "--out", tmp_path / "out")
    assert code == 2 and err.startswith(f"error: --data {tmp_path / 'absent'}: is no folder")
    empty = make_task(image=greys(), label=boxes() * 0)
    code, _, err = sambench("tune", "--data", empty, "--out", tmp_path / "out")
    assert code == 2 and "no slice of 1 case holds a label" in err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_else_is_left_alone(
    task: Path, tuned_sam: Any, sambench: Sambench, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    code, _, err = sambench("tune", "--data", task, "--out", tmp_path / "out", "--budget", "1s")
    assert code == 2 and "not empty and no tuning; name a new folder" in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["letter.txt"]


def test_a_dry_run_lists_the_candidates_and_what_cannot_run_and_writes_nothing(
    task: Path, tuned_sam: Any, sambench: Sambench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "bf16_missing", lambda device: "no instructions for it")
    words = ["--threads", "1", "--backends", "pytorch,onnxruntime", "--precisions", "fp32,bf16,int8", "--dry-run"]
    code, out, err = sambench("tune", "--data", task, "--out", tmp_path / "out", *words)
    names = out.splitlines()
    assert code == 0 and names[:3] == ["pytorch", "onnxruntime", "onnxruntime int8"]
    assert "onnxruntime int8, graph basic" in names and "pytorch, channels_last true" in names
    assert f"{len(names)} candidates" in err and "pytorch bf16: unavailable: no instructions for it" in err
    assert "onnxruntime bf16: unavailable: " in err and "pytorch int8: unavailable: " in err
    assert not (tmp_path / "out").exists()


def test_what_was_asked_for_and_cannot_run_is_listed_beside_what_can(
    task: Path, tuned_sam: Any, sambench: Sambench, tmp_path: Path
) -> None:
    words = ["--threads", "1", "--backends", "pytorch,tensorrt", "--precisions", "fp32", "--dry-run"]
    code, out, err = sambench("tune", "--data", task, "--out", tmp_path / "out", *words)
    assert code == 0 and "tensorrt: unavailable: backend tensorrt: not applicable to device cpu" in err
    assert "tensorrt" not in out


def test_the_dummy_is_offered_to_nobody(task: Path, sambench: Sambench, tmp_path: Path) -> None:
    _, _, err = sambench("tune", "--data", task, "--out", tmp_path / "out", "--backends", "foo")
    assert "'foo' is no backend here; choose from onnxruntime, openvino, pytorch" in err and "dummy" not in err


def test_what_is_misspelt_is_refused_before_pytorch_is_imported(task: Path, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from benchmark.cli_tune import tune\n"
        "from benchmark.errors import InputError\n"
        "for given in ({'threads': '0'}, {'backends': 'foo'}, {'precisions': 'fp12'}, {'device': 'gpu'}):\n"
        "    try:\n"
        "        tune(sys.argv[1], sys.argv[2], **given)\n"
        "    except InputError as error:\n"
        "        print(str(error).split(' ')[0].rstrip(':'))\n"
        "print(sorted({'torch', 'onnxruntime', 'scipy', 'nibabel'} & set(sys.modules)))\n"
    ).replace("sys.argv[1], sys.argv[2]", "Path(sys.argv[1]), Path(sys.argv[2])")
    done = subprocess.run(
        [sys.executable, "-c", f"from pathlib import Path\n{program}", str(task), str(tmp_path / "out")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split("\n") == ["--threads", "--backends", "--precisions", "--device", "[]", ""]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of calls, of starts and of exports that the busiest machine keeps, and memory for all who race."""
    monkeypatch.setattr("benchmark.tuning.job.LEAST_LIMIT_S", 1800.0)
    monkeypatch.setattr("benchmark.tuning.heats.LEAST_LIMIT_S", 1800.0)
    monkeypatch.setattr("benchmark.tuning.job.REDUCED_EXPORT", 1800.0)
    monkeypatch.setattr("benchmark.tuning.stable.IMPORTS_S", 1800.0)
    monkeypatch.setattr("benchmark.tuning.stable.free_mib", lambda: 1e6)
    monkeypatch.setattr("benchmark.tuning.job.business", lambda: None)


@pytest.mark.slow
@pytest.mark.usefixtures("patient", "spent")
def test_a_small_unet_is_tuned_and_a_run_takes_the_winner_as_it_is(
    sambench: Sambench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMBENCH_CACHE", str(tmp_path / "cache"))
    data = write_phantom(tmp_path, PhantomSpec(cases=1, size=64, slices=6, spacing_mm=(6.0, 6.0, 36.0)))
    config = monai_unet({1: "liver", 2: "spleen"}, SlidingWindow(patch=(32, 32)), (4, 8), (2,), 1)
    torch.manual_seed(1)
    torch.save(unet_checkpoint(config, build_unet(config)), tmp_path / "tiny.pt")
    words = ["--unet", tmp_path / "tiny.pt", "--budget", "2s", "--backends", "pytorch,onnxruntime"]
    words += ["--precisions", "fp32", "--threads", "1", "--slices", "3"]
    code, out, err = sambench("tune", "--data", data, "--out", tmp_path / "tuned", *words)
    assert code == 0, err
    result = load_tune(tmp_path / "tuned" / "tune.json")
    assert out.splitlines()[0].startswith("Deploy ")
    assert result.model and result.variants == ["tiny"] and result.units == 1
    assert result.of("pytorch").dice["tiny"] is not None
    assert result.of("onnxruntime").fate not in ("gate", "failed", "invalid", "not tried")
    assert (tmp_path / "tuned" / "tune.md").read_text().startswith("**Deploy ")
    spec = load_spec(tmp_path / "tuned" / "winner.yaml", ["measure.samples=2", "measure.budget_s=1"])
    cells = Run(spec, tmp_path / "run", Silent(), "sambench run winner.yaml").execute().cells
    assert {cell.backend for cell in cells} == {"pytorch", result.of(result.winner).backend}
    assert all(cell.status == "ok" for cell in cells), [cell.reason for cell in cells]
