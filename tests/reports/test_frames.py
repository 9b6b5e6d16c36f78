"""What `to_pandas` gives: results.json's numbers under its keys, and the report's rows as the CSV files have them."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmark.errors import InputError
from benchmark.results import Results
from reports.export_data import write_csv
from reports.frames import frame, frame_names


def test_a_row_of_cells_holds_that_cells_numbers(results: Results) -> None:
    cells = frame(results)
    assert len(cells) == len(results.cells)
    for row, cell in zip(cells.to_dict("records"), results.cells, strict=True):
        assert (row["stage"], row["task"], row["backend"], row["status"]) == (
            cell.stage, cell.task, cell.backend, cell.status
        )  # fmt: skip
        for column, value in (
            ("dice", cell.dice),
            ("latency_ms.p50", cell.latency_ms and cell.latency_ms.p50),
            ("throughput.value", cell.throughput and cell.throughput.value),
            ("parity.mask_dice", cell.parity and cell.parity.mask_dice),
        ):
            assert row[column] == value if value is not None else pd.isna(row[column]), column
    assert any(cell.latency_ms is None for cell in results.cells), "absent values are among those compared"


def test_a_row_of_comparisons_has_both_ends_of_the_interval(results: Results) -> None:
    found = frame(results, "comparisons")
    ends = [comparison.ci95 or (None, None) for comparison in results.comparisons]
    for column, values in (
        ("speedup", [comparison.speedup for comparison in results.comparisons]),
        ("ci95.low", [low for low, _ in ends]),
        ("ci95.high", [high for _, high in ends]),
    ):
        pd.testing.assert_series_equal(found[column], pd.Series(values, name=column, dtype="float64"))
    assert list(found["verdict"]) == [comparison.verdict for comparison in results.comparisons]


def test_columns_do_not_depend_on_what_was_measured(results: Results) -> None:
    """A notebook that asks for a latency works on a run without one, and numbers stay numbers."""
    bare = results.model_copy(
        update={
            "cells": [cell.model_copy(update={"latency_ms": None, "dice": None}) for cell in results.cells],
            "comparisons": [],
        }
    )
    for table in ("cells", "comparisons"):
        whole, less = frame(results, table), frame(bare, table)
        assert list(whole.columns) == list(less.columns)
        numbers = [list(one.select_dtypes("float64").columns) for one in (whole, less)]
        assert numbers[0] == numbers[1] and {"cells": "dice", "comparisons": "speedup"}[table] in numbers[0]
    assert frame(bare)["latency_ms.p50"].isna().all() and frame(bare)["latency_ms.p50"].dtype == "float64"


def test_every_table_of_the_report_is_there_with_the_rows_of_its_csv(results: Results, run_dir: Path) -> None:
    written = {path.stem: path for path in write_csv(results, run_dir).iterdir()}
    assert set(frame_names(results)) == {*written, "cells", "comparisons"}
    for name, path in written.items():
        with path.open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
        found = frame(results, name)
        assert len(found) == len(rows) and len(found.columns) == len(head)
        for column, index in ((found.iloc[:, index], index) for index in range(len(head))):
            missing = [row[index] == "" for row in rows]
            assert list(column.isna()) == missing, f"{name}: only what is empty is missing"


def test_an_unknown_table_is_told_with_the_known_ones(results: Results) -> None:
    with pytest.raises(InputError, match=r"^no table 'speeds' in these results; choose from cells, comparisons, sampl"):
        frame(results, "speeds")


def test_without_pandas_the_extra_is_named(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r'is not installed; install it with: pip install "sambench\[pandas\]"$'):
        frame(results)
