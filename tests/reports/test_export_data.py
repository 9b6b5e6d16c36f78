"""Exported data is what the reports show: whole, exact, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from benchmark.cli import app
from benchmark.errors import InputError
from benchmark.results import Results, save_results
from reports.export_data import CSV_FOLDER, as_json, guarded, records, tables_of, write_csv, write_json
from reports.summary import summarize
from reports.table import Column, Table, Value, absent, keys
from reports.text import ABSENT
from tests.reports.report_factory import HOSTILE

TABLE = Table(
    "times",
    "Times",
    (*keys("who"), Column("p50 ms"), Column("rate"), Column("pairs"), Column("speedup")),
    (
        (Value("a"), Value("1,230", number=1234.5678), Value("1.30 slices/s", number=1.2987), Value("1,000"), Value("2.31×", number=2.3123)),
        (Value("=b"), absent("no pair"), absent("not asked for"), Value("−3"), Value("0.980×", "narrow", number=0.98)),
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(results: Results, run_dir: Path) -> Path:
    return write_csv(results, run_dir)


def _read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_numbers_are_exact_units_stay_beside_them_and_reasons_stand_in_the_last_column() -> None:
    assert list(records(TABLE)) == [
        ["who", "p50 ms", "rate", "rate (as shown)", "pairs", "speedup", "notes"],
        ["a", "1234.5678", "1.2987", "1.30 slices/s", "1000", "2.3123", ""],
        ["'=b", "", "", "", "-3", "0.98", "p50 ms: no pair; rate: not asked for; speedup: narrow"],
    ]


@given(st.text(max_size=12))
def test_no_text_is_taken_for_a_formula_and_none_is_lost(text: str) -> None:
    safe = guarded(text)
    assert safe.removeprefix("'") == text.removeprefix("'") or safe == f"'{text}"
    if safe[:1] in set("=+-@\t\r"):
        assert math.isfinite(float(safe))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=1, max_size=4))
def test_any_text_survives_a_csv_file(texts: list[str]) -> None:
    table = Table("t", "T", keys(*"abcd"[: len(texts)]), (tuple(Value(text) for text in texts),))
    file = io.StringIO(newline="")
    csv.writer(file).writerows(records(table))
    back = list(csv.reader(io.StringIO(file.getvalue(), newline="")))[1]
    assert back == ["" if text == ABSENT else guarded(text) for text in texts]


def test_every_table_of_the_summary_is_a_file_and_the_short_ones_are_not(results: Results, folder: Path) -> None:
    summary = summarize(results)
    tables = {table.key: table for table in tables_of(summary)}
    assert {path.stem for path in folder.glob("*.csv")} == {
        *(key for key, table in tables.items() if table.rows),
        "samples",
    }
    assert tables["dice"] == summary.dice and tables["surfaces"] == summary.surfaces
    for key, table in tables.items():
        if table.rows:
            rows = _read(folder / f"{key}.csv")
            assert len(rows) == 1 + len(table.rows) and {len(row) for row in rows} == {len(rows[0])}


def test_a_time_in_the_file_is_the_one_in_the_results(results: Results, folder: Path) -> None:
    rows = _read(folder / "latency.csv")
    at = rows[0].index("p50 ms")
    for row, cell in zip(rows[1:], results.cells, strict=True):
        if cell.status == "ok" and cell.latency_ms:
            assert float(row[at]) == cell.latency_ms.p50
        else:
            assert row[at] == "" and "p50 ms: " in row[-1]


def test_every_raw_sample_of_a_valid_cell_has_a_row(results: Results, folder: Path) -> None:
    rows = _read(folder / "samples.csv")
    assert rows[0][-3:] == ["kind", "index", "value_ms"]
    first = results.cells[0]
    assert first.latency_ms
    mine = [
        row
        for row in rows[1:]
        if row[:5] == [first.stage, first.task, first.model, first.prompt, first.backend] and row[7] == "latency_ms"
    ]
    assert [float(row[-1]) for row in mine] == first.latency_ms.samples
    assert [int(row[-2]) for row in mine] == list(range(len(first.latency_ms.samples)))
    fields = ("latency_ms", "device_latency_ms", "volume_latency_ms", "window_latency_ms")
    series = (getattr(cell, name) for cell in results.cells if cell.status == "ok" for name in fields)
    assert len(rows) - 1 == sum(len(one.samples) for one in series if one)


def test_the_folder_is_replaced_whole_and_never_a_strangers(results: Results, tmp_path: Path) -> None:
    (tmp_path / CSV_FOLDER).mkdir()
    old = tmp_path / CSV_FOLDER / "of-an-older-run.csv"
    old.write_text("x")
    write_csv(results, tmp_path)
    assert not old.exists() and (tmp_path / CSV_FOLDER / "latency.csv").exists()
    mine = tmp_path / CSV_FOLDER / "thesis.docx"
    mine.write_text("x")
    with pytest.raises(InputError, match=r"thesis\.docx"):
        write_csv(results, tmp_path)
    assert mine.exists() and [path.name for path in tmp_path.iterdir()] == [CSV_FOLDER]


def test_a_failure_halfway_leaves_the_old_folder(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_csv(results, tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / CSV_FOLDER).iterdir()}

    def full(_: Results) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reports.export_data.sample_records", full)
    with pytest.raises(OSError, match="No space"):
        write_csv(results.model_copy(update={"cells": results.cells[:2]}), tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / CSV_FOLDER).iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == [CSV_FOLDER]


def test_json_holds_every_value_as_text_number_and_reason(results: Results, tmp_path: Path) -> None:
    read = json.loads(write_json(results, tmp_path).read_text(encoding="utf-8"))
    summary = summarize(results)
    assert read["verdict"]["headline"] == summary.verdict.headline and read["command"] == results.command
    tables = {table["key"]: table for table in read["tables"]}
    for table in tables_of(summary):
        found = tables[table.key]
        assert [column["title"] for column in found["columns"]] == [column.title for column in table.columns]
        for row, values in zip(found["rows"], table.rows, strict=True):
            for one, value in zip(row, values, strict=True):
                assert one["text"] == (None if value.text == ABSENT else value.text)
                assert one.get("note") == value.note and (one["text"] is None) <= (one["number"] is None)
    speedups = [row[4]["number"] for row in tables["verdict"]["rows"]]
    assert 2.31 in speedups and None in speedups


def test_a_number_that_is_none_is_null_and_never_nan(results: Results) -> None:
    training = results.trainings[0].model_copy(update={"loss": [math.nan, math.inf]})
    text = json.dumps(as_json(summarize(results.model_copy(update={"trainings": [training]}))), allow_nan=False)
    assert "first loss" in text


def test_the_command_writes_what_it_is_asked_for(results: Results, run_dir: Path, tmp_path: Path) -> None:
    save_results(results.model_copy(update={"pictures": []}), tmp_path)
    done = CliRunner().invoke(app, ["report", str(tmp_path), "--format", "csv", "--format", "json"])
    assert done.exit_code == 0, done.output
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "report-csv", "report.json"}
    assert HOSTILE in (tmp_path / "report.json").read_text(encoding="utf-8")
