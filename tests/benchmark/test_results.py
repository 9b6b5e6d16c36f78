from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.errors import InputError
from benchmark.results import RESULTS_FILE, SCHEMA_VERSION, LaneKey, Results, load_results, save_results
from tests.reports.report_factory import build


def test_fp32_lanes_keep_the_plain_names_of_their_backends_and_every_key_is_read_back() -> None:
    keys = [LaneKey("pytorch"), LaneKey("onnxruntime", "int8-static"), LaneKey("onnxruntime", "fp16")]
    assert [str(key) for key in keys] == ["pytorch", "onnxruntime int8-static", "onnxruntime fp16"]
    assert [LaneKey.parse(str(key)) for key in keys] == keys
    assert [key.file_name for key in keys] == ["pytorch", "onnxruntime-int8-static", "onnxruntime-fp16"]


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return build(tmp_path, size=16)


def rewrite(run_dir: Path, **changes: object) -> None:
    path = run_dir / RESULTS_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_results_are_read_back_the_same(tmp_path: Path, results: Results) -> None:
    path = save_results(results, tmp_path)
    assert path == tmp_path / "results.json"
    assert load_results(tmp_path) == results
    assert load_results(path) == results  # the file itself may be named


def test_the_file_has_the_keys_that_tools_rely_on(tmp_path: Path, results: Results) -> None:
    """The list of the design's `Contracts`; taking one away breaks other people's scripts."""
    found = json.loads(save_results(results, tmp_path).read_text(encoding="utf-8"))
    assert {"schema_version", "environment", "spec", "cells", "comparisons"} <= set(found)
    cell, comparison = found["cells"][0], found["comparisons"][0]
    assert {
        *("stage", "task", "model", "prompt", "backend", "device", "precision", "status", "reason", "dice"),
        *("dice_per_case", "latency_ms", "throughput", "parity", "memory_mib", "attestation"),
    } <= set(cell)
    assert {"p50", "p90", "p99", "mean", "samples"} <= set(cell["latency_ms"])
    assert {"value", "unit"} <= set(cell["throughput"])
    assert {"mask_dice", "dice_delta"} <= set(cell["parity"])
    assert {
        *("stage", "task", "model", "prompt", "candidate", "baseline"),
        *("speedup", "ci95", "verdict", "gate"),
    } <= set(comparison)


def test_what_could_not_be_had_is_null_in_the_file(tmp_path: Path, results: Results) -> None:
    found = json.loads(save_results(results, tmp_path).read_text(encoding="utf-8"))
    failed = next(cell for cell in found["cells"] if cell["status"] == "failed")
    assert failed["dice"] is None and failed["latency_ms"] is None and failed["throughput"] is None
    assert failed["reason"]


def test_a_missing_file_is_told_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"results\.json: no results there .*name the folder that `sambench run` wrote"
    ):
        load_results(tmp_path / "none")


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b'{"cells": 3}'])
def test_a_damaged_file_is_told_with_its_path(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / RESULTS_FILE).write_bytes(damage)
    with pytest.raises(InputError) as caught:
        load_results(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / RESULTS_FILE))
    assert "the file is damaged or" in str(caught.value)


def test_a_cut_file_is_refused(tmp_path: Path, results: Results) -> None:
    path = save_results(results, tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="damaged"):
        load_results(tmp_path)


def test_another_schema_version_is_refused_with_the_way_out(tmp_path: Path, results: Results) -> None:
    save_results(results, tmp_path)
    rewrite(tmp_path, schema_version=SCHEMA_VERSION + 1)
    with pytest.raises(InputError, match=rf"schema version {SCHEMA_VERSION + 1}, this sambench reads .*or run again"):
        load_results(tmp_path)


def test_an_unknown_field_is_refused_by_name(tmp_path: Path, results: Results) -> None:
    save_results(results, tmp_path)
    cells = json.loads((tmp_path / RESULTS_FILE).read_text())["cells"]
    cells[1]["colour"] = "red"
    rewrite(tmp_path, cells=cells)
    with pytest.raises(InputError, match=r"cells\.1\.colour: Extra inputs are not permitted"):
        load_results(tmp_path)


def test_a_status_outside_the_schema_is_refused(tmp_path: Path, results: Results) -> None:
    save_results(results, tmp_path)
    cells = json.loads((tmp_path / RESULTS_FILE).read_text())["cells"]
    cells[0]["status"] = "great"
    rewrite(tmp_path, cells=cells)
    with pytest.raises(InputError, match=r"cells\.0\.status"):
        load_results(tmp_path)
