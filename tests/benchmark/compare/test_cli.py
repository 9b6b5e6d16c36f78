"""What a CI sees of `sambench compare`: the exit code, the offending cells, and files that are whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.compare.schema import RunComparison
from benchmark.results import save_results
from tests.benchmark.compare.conftest import Measured
from tests.benchmark.conftest import Sambench
from tests.benchmark.test_cli import assert_mistake


@pytest.fixture
def runs(tmp_path: Path, measured: Measured, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Folders of three runs, and no calibration of this machine."""
    monkeypatch.setenv("SAMBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "160")
    kinds = {"base": measured(1), "again": measured(2), "slow": measured(3, slower=0.1)}
    for name, results in kinds.items():
        (tmp_path / name).mkdir()
        save_results(results, tmp_path / name)
    return {name: tmp_path / name for name in kinds}


def test_the_same_twice_exits_with_0(sambench: Sambench, runs: dict[str, Path]) -> None:
    code, out, _ = sambench("compare", runs["base"], runs["again"])
    assert code == 0
    assert "No regression in 8 cells" in out


def test_a_regression_exits_with_1_and_names_each_cell_with_its_numbers(
    sambench: Sambench, runs: dict[str, Path], tmp_path: Path
) -> None:
    comment, data = tmp_path / "ci" / "comment.md", tmp_path / "ci" / "compare.json"
    code, out, _ = sambench("compare", runs["base"], runs["slow"], "--markdown", comment, "--json", data)
    assert code == 1
    assert "Regression: 4 of 8 cells break latency>5%" in out
    assert out.index("What regressed") < out.index("Every cell")
    text = comment.read_text(encoding="utf-8")
    assert text.startswith("❌ **Regression: 4 of 8 cells break latency&gt;5%.**")
    assert "| ONNX Runtime | latency&gt;5% | latency +" in text
    found = RunComparison.model_validate_json(data.read_text(encoding="utf-8"))
    assert found.regressed and len(found.offences) == 4
    assert sorted(path.name for path in (tmp_path / "ci").iterdir()) == ["comment.md", "compare.json"]


def test_another_limit_accepts_it(sambench: Sambench, runs: dict[str, Path]) -> None:
    assert sambench("compare", runs["base"], runs["slow"], "--fail-on", "latency>20%")[0] == 0
    code, _, err = sambench("compare", runs["base"], runs["again"], "--fail-on", "latency>1%")
    assert code in (0, 1)
    assert "warning: latency>1%: the limit is finer than the noise floor of ±5.00%" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--fail-on", "latency<5%"], ["--fail-on", "latency>5%"]),
        (["--fail-on", "speed>5%"], ["'speed' is no metric"]),
        (["--allow", "everything"], ["--allow everything", "hardware"]),
        (["--calibration", "absent.json"], ["absent.json", "sambench calibrate"]),
    ],
)
def test_a_mistake_is_told_before_anything_is_compared(
    words: list[str], told: list[str], sambench: Sambench, runs: dict[str, Path]
) -> None:
    assert_mistake(sambench("compare", runs["base"], runs["again"], *words), *told)


def test_what_is_no_run_is_named(sambench: Sambench, runs: dict[str, Path], tmp_path: Path) -> None:
    assert_mistake(sambench("compare", tmp_path / "nothing", runs["base"]), "nothing", "no results there")
    path = runs["again"] / "results.json"
    path.write_text(path.read_text(encoding="utf-8")[:-40], encoding="utf-8")
    assert_mistake(sambench("compare", runs["base"], path), "results.json", "damaged")


def test_runs_that_are_not_comparable_exit_with_2_and_write_nothing(
    sambench: Sambench, runs: dict[str, Path], tmp_path: Path
) -> None:
    path = runs["again"] / "results.json"
    other = json.loads(path.read_text(encoding="utf-8"))
    other["environment"]["cpu"] = "Other CPU"
    path.write_text(json.dumps(other), encoding="utf-8")
    comment = tmp_path / "comment.md"
    result = sambench("compare", runs["base"], path, "--markdown", comment)
    assert_mistake(result, "is not comparable with", "Other CPU", "--allow hardware")
    assert not comment.exists()
    assert sambench("compare", runs["base"], path, "--allow", "hardware")[0] == 0


def test_a_history_stands_for_its_newest_accepted_run(
    sambench: Sambench, runs: dict[str, Path], tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    assert sambench("history", kept, "--add", runs["base"])[0] == 0
    assert sambench("compare", kept, runs["again"])[0] == 0
    assert sambench("compare", kept, runs["slow"])[0] == 1


@pytest.mark.parametrize("option", ["--markdown", "--json"])
def test_no_output_overwrites_a_run_or_the_other_output(
    option: str, sambench: Sambench, runs: dict[str, Path], tmp_path: Path
) -> None:
    before = (runs["base"] / "results.json").read_bytes()
    result = sambench("compare", runs["base"], runs["again"], option, runs["base"] / "results.json")
    assert_mistake(result, option, "results.json is the name of a run's results")
    assert (runs["base"] / "results.json").read_bytes() == before
    assert_mistake(sambench("compare", runs["base"], runs["again"], option, tmp_path), option, "is a folder")
    both = ["--markdown", tmp_path / "x", "--json", tmp_path / "x"]
    assert_mistake(sambench("compare", runs["base"], runs["again"], *both), "--json", "is written by --markdown")
    assert not (tmp_path / "x").exists()


def test_a_place_that_cannot_be_written_is_a_mistake_and_no_regression(
    sambench: Sambench, runs: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    result = sambench("compare", runs["base"], runs["again"], "--json", tmp_path / "file" / "x.json")
    assert_mistake(result, "name a place that can be read and written")


@pytest.mark.parametrize(("field", "value"), [("samples", 1e308), ("samples", -5.0), ("dice", 7.0)])
def test_impossible_values_are_a_damaged_file(
    field: str, value: float, sambench: Sambench, runs: dict[str, Path]
) -> None:
    path = runs["again"] / "results.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    cell = content["cells"][0]
    if field == "samples":
        cell["latency_ms"]["samples"][0] = value
    else:
        cell["dice_per_case"][0]["dice"] = value
    path.write_text(json.dumps(content), encoding="utf-8")
    assert_mistake(sambench("compare", runs["base"], path), "results.json", "cells.0")


def test_a_cell_twice_and_no_cell_at_all_are_refused(sambench: Sambench, runs: dict[str, Path]) -> None:
    path = runs["again"] / "results.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "cells": [*content["cells"], content["cells"][0]]}), encoding="utf-8")
    assert_mistake(sambench("compare", runs["base"], path), "stands twice")
    path.write_text(json.dumps({**content, "cells": [], "comparisons": []}), encoding="utf-8")
    assert_mistake(sambench("compare", runs["base"], path), "holds no cells")
