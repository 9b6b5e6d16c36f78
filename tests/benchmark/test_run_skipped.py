"""A run with `--skip-unavailable` where one of two devices is not there: its cells, its reports, its comparison."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from benchmark import availability
from benchmark import run as running
from benchmark.data.phantom import PHANTOM_TASK, PhantomSpec, write_phantom
from benchmark.measured import Peak
from benchmark.results import Cell, Results, load_results, save_results
from benchmark.run import Run
from benchmark.spec import parse_spec
from reports.export_data import write_csv, write_json
from reports.html import write_html
from reports.markdown import write_markdown
from reports.terminal import print_report
from tests.benchmark.fake_sam import FakeSam
from tests.benchmark.measure.local import SentWorker

PHANTOM = PhantomSpec(cases=2, size=64, slices=4, spacing_mm=(6.0, 6.0, 36.0))
IDENTITY = {"stage", "task", "model", "prompt", "backend", "device", "precision"}
REASON = "device cuda: no NVIDIA driver on this machine"


class Silent:
    def start(self, title: str, total: float) -> Callable[[float, str], None]:
        return lambda amount, note: None

    def say(self, text: str) -> None: ...


@pytest.fixture(scope="module")
def skipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Results, Path, dict[str, str]]]:
    """The absent device stands first, so that whatever takes the first one's labels would find none."""
    root, out = tmp_path_factory.mktemp("phantom"), tmp_path_factory.mktemp("runs") / "skipped"
    write_phantom(root, PHANTOM)
    taught: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.measure.bench.Worker", SentWorker)
        patch.setattr("benchmark.measure.memory.gc", SimpleNamespace(collect=lambda: 0))
        patch.setattr("benchmark.run.business", lambda: None)
        patch.setattr("benchmark.measure.peak.measure_peak", lambda device, threads: Peak(fp32_gflops=100.0))
        patch.setattr(availability, "cuda_absence", lambda index=0: REASON.partition(": ")[2])
        patch.setattr(running, "load_sam", lambda name, checkpoint, seed, masks: FakeSam(factor=1.0))
        patch.setattr(
            Run,
            "_segment_all",
            lambda run, tasks, stores: taught.update({k: v.group.device for k, v in stores.items()}),
        )
        content = {
            "name": "skipped",
            "data": {"root": str(root), "tasks": [PHANTOM_TASK]},
            "sam": {"prompts": ["box", "point"]},
            "devices": ["cuda", "cpu"],
            "measure": {"samples": 8, "budget_s": 1, "warmup": 0, "pause_ms": 0, "threads": 1},
        }
        spec = parse_spec(content, "test", root)
        yield Run(spec, out, Silent(), "sambench run test", skip_unavailable=True).execute(), out, taught


def test_every_lane_of_the_absent_device_is_a_skipped_cell_with_the_reason_and_the_rest_is_measured(skipped) -> None:
    results, out, _ = skipped
    found = {(cell.device, cell.prompt, cell.backend): cell for cell in results.cells}
    lanes = [(prompt, backend) for prompt in ("box", "point") for backend in ("pytorch", "onnxruntime")]
    assert set(found) == {(device, *lane) for device in ("cuda", "cpu") for lane in lanes}
    for lane in lanes:
        cell = found[("cuda", *lane)]
        assert (cell.status, cell.reason) == ("skipped", REASON)
        assert (cell.latency_ms, cell.dice, cell.parity, cell.attestation) == (None, None, None, {})
    for backend in ("pytorch", "onnxruntime"):
        assert found["cpu", "box", backend].status == "ok"
    assert {comparison.device for comparison in results.comparisons} == {"cpu"}, "nothing was compared on the other"
    assert set(results.peak) == {"cpu"}
    assert load_results(out) == results


def test_labels_to_learn_from_come_from_the_first_device_that_ran(skipped) -> None:
    assert skipped[2] == {PHANTOM_TASK: "cpu"}


def test_every_report_says_what_was_skipped_and_why(skipped, tmp_path: Path) -> None:
    results, out, _ = skipped
    for write in (write_html, write_markdown, write_csv, write_json):
        written = write(results, out)
        files = sorted(written.iterdir()) if written.is_dir() else [written]
        text = "".join(file.read_text(encoding="utf-8") for file in files)
        assert "skipped" in text and REASON in text, write
    console = Console(width=100, record=True, file=(tmp_path / "told").open("w"))
    print_report(results, console)
    told = " ".join(console.export_text().split())
    assert "4 skipped" in told and "no NVIDIA driver" in told


def test_two_runs_that_skipped_the_same_are_compared_and_nothing_is_a_regression(skipped, sambench, tmp_path) -> None:
    _, out, _ = skipped
    code, _, err = sambench("compare", out, out, "--json", tmp_path / "c.json")
    assert code == 0, err
    changes = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))["cells"]
    fates = {(change["device"], change["fate"]) for change in changes}
    assert fates == {("cpu", "compared"), ("cuda", "still failing")}


def test_a_cell_that_was_measured_and_is_skipped_now_is_a_regression(skipped, sambench, tmp_path) -> None:
    """Whoever judges a change must not take a lost GPU for a pass; `--allow failed` accepts it."""
    results, out, _ = skipped
    new = results.model_copy(
        update={
            "cells": [
                Cell(**{**cell.model_dump(include=IDENTITY), "status": "skipped", "reason": REASON})
                for cell in results.cells
            ],
            "comparisons": [],
        }
    )
    (tmp_path / "new").mkdir()
    save_results(new, tmp_path / "new")
    code, told, err = sambench("compare", out, tmp_path / "new")
    assert code == 1, err
    assert "newly failing" in " ".join(told.split())
    assert sambench("compare", out, tmp_path / "new", "--allow", "failed")[0] == 0
