"""Tables as HTML.

The markup is slim, because a large run has a hundred thousand values: a column's look is told once for the table, end
tags that HTML does not need are left out, and most rows of a very long table lie packed beside it until asked for.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache

from markupsafe import Markup, escape

from reports.table import Table, Value

MANY_ROWS = 300
"""A table of more rows begins with FIRST_ROWS and keeps the others packed."""
FIRST_ROWS = 60
LONG = 28
"""A column with a longer text wraps."""
NUMBER = "text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap"
LOOKS = {
    "key": "white-space:var(--words,nowrap)",
    "text": "white-space:nowrap",
    "number": NUMBER,
    "long": "min-width:var(--long);max-width:26rem;white-space:normal;overflow-wrap:anywhere",
}
"""Look of a column's values; the classes that choose it are its first letter and the column's number."""


def markup(table: Table | None, *, samples: bool = False, fits: bool = False) -> Markup:
    """A table in its box with its footnotes; nothing where there are no rows.

    Args:
        table: what to show.
        samples: whether its rows are the run's cells, in their order, so that a row leads to its cell's raw samples.
        fits: whether its names wrap, so that a laptop shows it whole.
    """
    if table is None or not table.rows:
        return Markup()
    title, about = escape(table.title), f" {escape(table.about)}" if table.about else ""
    classes = " ".join(["fits"] * fits + list(_classes(table)))
    parts = [
        f'<div class="scroll {classes}" tabindex="0" role="region" aria-label="{title}"',
        f'{" data-samples" if samples else ""}><table id="{escape(table.key)}">\n',
        f"<caption><span><b>{title}</b>{about}</span></caption>",
        "<thead><tr>",
        *_heads(table),
        "</thead>\n<tbody>",
    ]
    rows = list(_rows(table, samples, fits))
    shown = rows if len(rows) <= MANY_ROWS else rows[:FIRST_ROWS]
    parts += [*shown, "</tbody></table></div>\n"]
    if len(shown) < len(rows):
        parts.append(_packed(table, rows[len(shown) :]))
    if table.footnotes:
        notes = (f'<li id="{escape(table.key)}-{n}">{escape(note)}' for n, note in enumerate(table.footnotes, 1))
        parts.append(f'<ol class="footnotes">{"".join(notes)}</ol>\n')
    return Markup("".join(parts))  # noqa: S704


def column_style(most: int) -> str:
    """The rules for columns of tables that have up to so many."""
    return "\n".join(
        f"{','.join(f'.{kind[0]}{n} tr>:nth-child({n})' for n in range(1, most + 1))}{{{look}}}"
        for kind, look in LOOKS.items()
    )


def _classes(table: Table) -> Iterator[str]:
    for number, column in enumerate(table.columns, 1):
        yield f"{column.kind[0]}{number}"
        if any(len(row[number - 1].text) > LONG for row in table.rows) and column.kind != "number":
            yield f"l{number}"


def _heads(table: Table) -> Iterator[str]:
    for index, column in enumerate(table.columns):
        worded = " data-worded" if table.worded(index) else ""
        yield f'<th scope="col" data-kind="{column.kind}"{worded}>{escape(column.title)}'


def _rows(table: Table, samples: bool, fits: bool) -> Iterator[str]:
    key = escape(table.key)
    is_key = [column.kind == "key" for column in table.columns]
    starts_at = 1 if len(is_key) > 1 and is_key[1] else None
    above: tuple[Value, ...] | None = None
    for number, row in enumerate(table.rows):
        starts = above is not None and starts_at is not None and row[starts_at].text != above[starts_at].text
        opened = f"<tr{' class=s' if starts else ''}{f' data-cell={number}' if samples else ''}>"
        parts = [opened]
        for index, value in enumerate(row):
            repeats = above is not None and is_key[index] and above[index].text == value.text
            text = _breakable(value.text) if fits and is_key[index] else _text(value.text)
            parts.append(f"<{'th scope=row' if index == 0 else 'td'}{_attributes(value, repeats)}>{text}")
            if value.note:
                mark = table.mark(value)
                parts.append(f"<sup><a href=#{key}-{mark}>{mark}</a></sup>")
        above = row
        yield "".join(parts) + "\n"


def _attributes(value: Value, repeats: bool) -> str:
    if value.number is None and not repeats and value.tone == "plain":
        return ""
    tone = value.tone if value.tone != "plain" else ""
    classes = f' class="{tone} r"' if tone and repeats else f" class={tone or 'r'}" if tone or repeats else ""
    if value.number is None:
        return classes
    # Seven digits are more than any time or Dice has; they keep a page of a hundred thousand numbers small.
    shown = f"{value.number:.7g}"
    return classes if value.text == shown else f"{classes} data-n={shown}"


@lru_cache(maxsize=65536)
def _text(text: str) -> str:
    return str(escape(text))


@lru_cache(maxsize=4096)
def _breakable(text: str) -> str:
    """A name that may wrap where its parts meet, as in Task09_ Spleen."""
    return re.sub(r"(?<=\w)([_+-])(?=\w)", r"\1<wbr>", _text(text))


def _packed(table: Table, rows: Iterable[str]) -> str:
    text = base64.b64encode(zlib.compress("".join(rows).encode(), 6)).decode()
    first, every = f"{FIRST_ROWS:,}", f"{len(table.rows):,}"
    return (
        f'<p class="more rest" data-rest-of="{escape(table.key)}">The first {first} of {every} rows. All of them are'
        ' in <a href="results.json">results.json</a>; <code>sambench report --format csv</code> writes them as a table.'
        f'<script type="text/plain">{text}</script></p>\n'
    )
