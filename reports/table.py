"""A table as every format shows it: columns, values, and a footnote for each thing that could not be had."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from reports.text import ABSENT

Tone = Literal["plain", "good", "bad", "doubt"]
Kind = Literal["key", "text", "number"]
# A number and nothing else that a reader needs: 1,230 and −0.0002, 2.31× and 41.3 %, whose column tells the unit.
PLAIN = re.compile(r"[+−-]?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?(×| %)?")


@dataclass(frozen=True)
class Value:
    """What stands in one place of a table.

    `note` becomes a footnote. `tone` may colour the text, which says the same in words. `number` is what the text
    rounds, in the text's unit, a duration in seconds: tables are sorted by it and exported with it.
    """

    text: str
    note: str | None = None
    tone: Tone = "plain"
    number: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Column:
    """A column; `key` columns say what a row is about.

    `width` is the least width of a terminal that has room for it; below, the column is left out.
    """

    title: str
    kind: Kind = "number"
    width: int = 0


@dataclass(frozen=True)
class Table:
    """Rows of values under a title; `about` says how to read them."""

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    about: str = ""
    footnotes: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        notes = (value.note for row in self.rows for value in row if value.note)
        object.__setattr__(self, "footnotes", tuple(dict.fromkeys(notes)))

    def fitting(self, width: int) -> Table:
        """The same table with the columns that a terminal of this width has room for."""
        return self.only([index for index, column in enumerate(self.columns) if column.width <= width])

    def trimmed(self) -> Table:
        """The same table without columns that are empty in every row."""
        return self.only([index for index in range(len(self.columns)) if any(row[index].text for row in self.rows)])

    def only(self, shown: list[int]) -> Table:
        """The same table with these columns alone."""
        columns = tuple(self.columns[index] for index in shown)
        return replace(self, columns=columns, rows=tuple(tuple(row[index] for index in shown) for row in self.rows))

    def by(self, title: str) -> dict[str, Table]:
        """A table for each value of a column, which they leave out."""
        index = next((index for index, column in enumerate(self.columns) if column.title == title), None)
        if index is None:
            return {"": self}
        columns = self.columns[:index] + self.columns[index + 1 :]
        parts: dict[str, list[tuple[Value, ...]]] = {}
        for row in self.rows:
            parts.setdefault(row[index].text, []).append(row[:index] + row[index + 1 :])
        return {name: replace(self, columns=columns, rows=tuple(rows)) for name, rows in parts.items()}

    def worded(self, index: int) -> bool:
        """Whether a column has numbers and its texts say more than they: a unit, a range, a mark."""
        values = [row[index] for row in self.rows if row[index].text != ABSENT]
        return any(v.number is not None for v in values) and not all(PLAIN.fullmatch(v.text) for v in values)

    def mark(self, value: Value) -> int | None:
        """The number of a value's footnote, counted from 1."""
        return self._numbers[value.note] if value.note else None

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        return {note: number for number, note in enumerate(self.footnotes, 1)}


def keys(*titles: str) -> tuple[Column, ...]:
    """Columns that say what a row is about."""
    return tuple(Column(title, "key") for title in titles)


def absent(reason: str | None) -> Value:
    """A value that could not be had, with the reason."""
    return Value(ABSENT, reason or "not measured")


def known(text: str, reason: str | None, number: float | None = None) -> Value:
    """A formatted value, with the number that it shows; where it is absent, with the reason."""
    return absent(reason) if text == ABSENT else Value(text, number=number)
