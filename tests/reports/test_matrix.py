"""The matrix sums up many comparisons, and must not sum away what is bad."""

from __future__ import annotations

from pathlib import Path

from benchmark.results import Results
from reports.matrix import matrix_table
from reports.table import Table
from reports.view import View
from tests.reports.report_factory import SPLEEN, cell, comparison


def of(results: Results, cells: list, comparisons: list) -> Table:
    table = matrix_table(View(results.model_copy(update={"cells": cells, "comparisons": comparisons})))
    assert table is not None
    return table


def lines(table: Table, row: int, column: str) -> list[str]:
    index = [one.title for one in table.columns].index(column)
    return table.rows[row][index].text.splitlines()


def test_several_comparisons_show_the_range_and_the_outer_bounds(results: Results) -> None:
    cells = [cell("pseudolabel", SPLEEN, p, b) for p in ("box", "point") for b in ("pytorch", "onnxruntime")]
    compared = [comparison("pseudolabel", SPLEEN, "box", 2.5), comparison("pseudolabel", SPLEEN, "point", 1.2)]
    found = lines(of(results, cells, compared), 0, "ONNX Runtime")
    assert found[:3] == ["▲ faster", "1.20–2.50× [1.14, 2.57]", "gate ✓, Dice 0.0000"]
    assert found[3].startswith("encoder ") and found[3].endswith("% of peak")
    assert found[4].endswith(" MiB")
    assert lines(of(results, cells, compared), 0, "PyTorch")[0] == "baseline"


def test_the_gravest_outcome_is_named_and_counted(results: Results) -> None:
    table = matrix_table(View(results))
    assert table is not None
    assert lines(table, 0, "ONNX Runtime")[0] == "✗ not measured in 1 of 4"
    assert lines(table, 1, "ONNX Runtime")[:3] == [
        "✗ gate failed in 1 of 4",
        "1.37–1.42× [1.31, 1.49]",
        "gate ✗ in 1 of 4, Dice −0.0213",
    ]
    assert any("out of memory" in note for note in table.footnotes)


def test_a_lane_that_a_stage_lacks_is_absent_with_a_reason(results: Results) -> None:
    cells = [
        cell("pseudolabel", SPLEEN, "box", "pytorch"),
        cell("pseudolabel", SPLEEN, "box", "onnxruntime"),
        cell("segment", SPLEEN, "box", "pytorch"),
    ]
    table = of(results, cells, [comparison("pseudolabel", SPLEEN, "box")])
    assert lines(table, 1, "ONNX Runtime") == ["–"]
    assert table.footnotes == ("not part of this run",)


def test_a_run_without_comparisons_has_no_matrix(results: Results, tmp_path: Path) -> None:
    assert matrix_table(View(results.model_copy(update={"comparisons": []}))) is None
