"""Results as pandas tables: a row a cell or a comparison, or any table of the report."""

from __future__ import annotations

import csv
import io
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from benchmark.errors import InputError
from benchmark.results import Cell, Comparison, Results
from reports.export_data import records, sample_records, tables_of
from reports.summary import summarize

if TYPE_CHECKING:
    import pandas as pd

OF_RESULTS: dict[str, tuple[type[BaseModel], str]] = {
    "cells": (Cell, "cells"), "comparisons": (Comparison, "comparisons")
}  # fmt: skip
SAMPLES = "samples"
ENDS = ("low", "high")
"""Of an interval."""


def frame_names(results: Results) -> tuple[str, ...]:
    """What `frame` can give of these results."""
    shown = (table.key for table in tables_of(summarize(results)) if table.rows)
    return tuple(dict.fromkeys((*OF_RESULTS, SAMPLES, *shown)))


def frame(results: Results, table: str = "cells") -> pd.DataFrame:
    """One table.

    Args:
        results: of a run.
        table: `cells` and `comparisons` have a row each of those in results.json, and its keys as columns, joined by
            dots: `latency_ms.p50`; lists and what stands under changing names are left out. Further `samples` and every
            table of the report by the name of its CSV file, with the same rows.

    Raises:
        InputError: pandas is not installed, or there is no such table.
    """
    try:
        import pandas as pd
    except ImportError:
        raise InputError('pandas is not installed; install it with: pip install "sambench[pandas]"') from None
    if table in OF_RESULTS:
        model, name = OF_RESULTS[table]
        columns = list(_columns(model))
        rows = [[_value(part, column.path) for column in columns] for part in getattr(results, name)]
        made = pd.DataFrame(rows, columns=[column.name for column in columns])
        return made.astype({column.name: "float64" for column in columns if column.is_number})
    if table == SAMPLES:
        return _read(list(sample_records(results)), pd)
    for shown in tables_of(summarize(results)):
        if shown.key == table and shown.rows:
            return _read(list(records(shown)), pd)
    raise InputError(f"no table {table!r} in these results; choose from {', '.join(frame_names(results))}")


def _read(rows: Sequence[Sequence[str]], pd: Any) -> pd.DataFrame:
    """What pandas makes of the CSV; only what is empty is missing, and a label may be called NA."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    text.seek(0)
    return pd.read_csv(text, keep_default_na=False, na_values=[""])


@dataclass(frozen=True)
class _Column:
    path: tuple[str, ...]
    is_number: bool

    @property
    def name(self) -> str:
        return ".".join(self.path)


def _columns(model: type[BaseModel], before: tuple[str, ...] = ()) -> Iterator[_Column]:
    """A model's single values. Of the schema, so that a column is there where all its values are absent."""
    for name, field in model.model_fields.items():
        kinds, path = _kinds(field.annotation), (*before, name)
        part = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if part is not None:
            yield from _columns(part, path)
        elif tuple[float, float] in kinds:
            yield from (_Column((*path, end), True) for end in ENDS)
        elif not any(typing.get_origin(kind) in {list, dict, tuple} for kind in kinds):
            yield _Column(path, float in kinds or int in kinds)


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation alone."""
    union = typing.get_origin(annotation) in {typing.Union, types.UnionType}
    return typing.get_args(annotation) if union else (annotation,)


def _value(part: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if part is None:
            return None
        part = part[ENDS.index(name)] if isinstance(part, tuple) else getattr(part, name)
    return part
