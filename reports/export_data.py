"""The report as data: a CSV file for each table and one for the raw samples, or one JSON file.

Both hold what every other format shows, from the same summary: what is absent is empty or null, and its reason stands
beside it.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from benchmark.errors import InputError
from benchmark.files import write_text_atomically
from benchmark.results import Results
from reports.raw_samples import series
from reports.summary import Summary, summarize
from reports.table import PLAIN, Column, Table, Value
from reports.text import ABSENT

CSV_FOLDER = "report-csv"
JSON_FILE = "report.json"
NOTES = "notes"
AS_SHOWN = "as shown"
SAMPLE_COLUMNS = ("stage", "task", "model", "prompt", "backend", "device", "precision", "kind", "index", "value_ms")
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


def tables_of(summary: Summary) -> list[Table]:
    """Every table of a summary, in its order; of one that it also holds in short, the whole."""
    found: dict[str, Table] = {}
    for one in fields(summary):
        value = getattr(summary, one.name)
        for table in value if isinstance(value, tuple) else (value,):
            if isinstance(table, Table):
                found.setdefault(table.key, table)
    return list(found.values())


def write_csv(results: Results, run_dir: Path, summary: Summary | None = None) -> Path:
    """Writes the folder report-csv, whole or not at all, and returns its path.

    Raises:
        InputError: there is such a folder and it holds something else.
    """
    folder = run_dir / CSV_FOLDER
    strange = next((path.name for path in folder.glob("*") if path.suffix != ".csv"), None)
    if strange is not None:
        raise InputError(f"{folder}: holds {strange}, which no report wrote; move it away, the folder is replaced")
    new = folder.with_name(f".{os.getpid()}.{CSV_FOLDER}")
    old = new.with_suffix(".old")
    try:
        new.mkdir(parents=True)
        for table in tables_of(summary or summarize(results)):
            if table.rows:
                _write_rows(new / f"{table.key}.csv", records(table))
        _write_rows(new / "samples.csv", sample_records(results))
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        # Where the new folder could not take its place, the old one gets it back.
        if old.exists() and not folder.exists():
            old.rename(folder)
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)
    return folder


def write_json(results: Results, run_dir: Path, summary: Summary | None = None) -> Path:
    """Writes report.json and returns its path."""
    path = run_dir / JSON_FILE
    write_text_atomically(path, json.dumps(as_json(summary or summarize(results)), ensure_ascii=False, allow_nan=False))
    return path


def as_json(summary: Summary) -> dict[str, Any]:
    """The summary as plain data: every table with its columns, and each value as text, number, and reason."""
    verdict = summary.verdict
    return {
        "name": summary.name,
        "facts": list(summary.facts),
        "verdict": {
            "headline": verdict.headline,
            "tone": verdict.tone,
            "more": list(verdict.more),
            "caveats": list(verdict.caveats),
        },
        "tables": [_table(table) for table in tables_of(summary)],
        "harness": summary.harness,
        "rules": list(summary.rules),
        "notes": list(summary.notes),
        "specification": summary.spec,
        "command": summary.command,
    }


def _table(table: Table) -> dict[str, Any]:
    return {
        "key": table.key,
        "title": table.title,
        "about": table.about,
        "columns": [{"title": column.title, "kind": column.kind} for column in table.columns],
        "rows": [[_value(value) for value in row] for row in table.rows],
        "footnotes": list(table.footnotes),
    }


def _value(value: Value) -> dict[str, Any]:
    lacking = value.text == ABSENT
    shown = {"text": None if lacking else value.text, "number": None if lacking else value.number}
    return shown | ({"note": value.note} if value.note else {})


def records(table: Table) -> Iterator[list[str]]:
    """A table's head and rows for CSV.

    A column whose text says more than its number is followed by one with the text, and what footnotes say stands in
    the last.
    """
    worded = [table.worded(index) for index in range(len(table.columns))]
    head = []
    for column, both in zip(table.columns, worded, strict=True):
        head += [column.title, f"{column.title} ({AS_SHOWN})"] if both else [column.title]
    yield [guarded(title) for title in head] + ([NOTES] if table.footnotes else [])
    for row in table.rows:
        line = []
        for column, value, both in zip(table.columns, row, worded, strict=True):
            line.append(_exact(column, value))
            if both:
                line.append("" if value.text == ABSENT else guarded(value.text))
        if table.footnotes:
            told = zip(table.columns, row, strict=True)
            line.append(guarded("; ".join(f"{column.title}: {value.note}" for column, value in told if value.note)))
        yield line


def _exact(column: Column, value: Value) -> str:
    if value.text == ABSENT:
        return ""
    if value.number is not None:
        return repr(value.number)
    if column.kind == "number" and PLAIN.fullmatch(value.text) and value.text[-1].isdigit():
        return value.text.replace(",", "").replace("−", "-")
    return guarded(value.text)


def guarded(text: str) -> str:
    """Text that no spreadsheet takes for a formula: what begins like one and is no number gets a leading apostrophe."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) and not NUMBER.fullmatch(text) else text


def sample_records(results: Results) -> Iterator[list[str]]:
    """Every raw sample of valid cells in a row of its own, in the order measured, counted from 0."""
    yield list(SAMPLE_COLUMNS)
    for cell in results.cells:
        names = (cell.stage, cell.task, cell.model, cell.prompt or "", cell.backend, cell.device, cell.precision)
        where = [guarded(name) for name in names]
        for kind, samples in series(cell).items():
            yield from ([*where, kind, str(index), repr(value)] for index, value in enumerate(samples))


def _write_rows(path: Path, rows: Iterable[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
