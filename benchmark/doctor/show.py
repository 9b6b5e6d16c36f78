"""A diagnosis on the terminal: facts, a table a device, notes, what to mend, the verdict. Readable at 60 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.doctor.schema import Check, Diagnosis, Remedy

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

NARROW = 72
"""Columns of a terminal below which who told a fact stands behind it and not beside it."""

WHOLE = 60
"""Columns from which on a table's short cells are never broken; below, anything may fold, and nothing is cut."""

WORDS = {
    "works": ("✓ works", "green"),
    "slow": ("✓ slow", "yellow"),
    "wrong": ("✗ wrong", "red"),
    "unavailable": ("– not here", "yellow"),
    "failed": ("✗ failed", "red"),
}


def show(found: Diagnosis, console: Console) -> None:
    """Prints a diagnosis."""
    notes = notes_of(found.checks)
    console.print(_facts(found, console.width))
    for device in dict.fromkeys(check.device for check in found.checks):
        some = [check for check in found.checks if check.device == device]
        console.print(_checks(some, notes, f"on {device}", console.width))
    _remarks(found, notes, console)
    console.print(_packages(found, len(notes), console.width))
    if found.remedies:
        console.print("To mend:", style="bold")
        for number, remedy in enumerate(found.remedies, len(notes) + 1):
            _mend(number, remedy, console)
        console.print()
    console.print(found.verdict, style="bold" if found.ok else "bold red", highlight=False, markup=False)


def notes_of(checks: Sequence[Check]) -> list[str]:
    """The reasons with which there is nothing to mend, each once: what a table refers to by number, from 1.

    Args:
        checks: with what to do about each.
    """
    reasons = [check.reason for check in checks if check.remedy is None and check.state != "works" and check.reason]
    return list(dict.fromkeys(reasons))


def _table(width: int, *columns: str, whole: Sequence[int] = ()) -> Table:
    """A table of which nothing is cut: columns fold, and those of `whole` only where the terminal leaves no choice."""
    from rich import box
    from rich.table import Table

    table = Table(*columns, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title_justify="left")
    for place, column in enumerate(table.columns):
        column.overflow = "fold"
        column.no_wrap = place in whole and width >= WHOLE
    return table


def _facts(found: Diagnosis, width: int) -> Table:
    from rich.text import Text

    if width < NARROW:
        table = _table(width, "what is here", "and who told it", whole=[0])
        for fact in found.told:
            table.add_row(Text(fact.name), Text.assemble(fact.value, (f" [{fact.source}]", "dim")))
        return table
    table = _table(width, "what is here", "", "told by", whole=[0, 2])
    for fact in found.told:
        table.add_row(Text(fact.name), Text(fact.value), Text(fact.source, style="dim"))
    return table


def _checks(checks: Sequence[Check], notes: Sequence[str], title: str, width: int) -> Table:
    """What was tried on one device: no column for its name, so that the others fit."""
    from rich.text import Text

    table = _table(width, "backend", "precision", "state", "error", "note", whole=[0, 2, 3, 4])
    table.title, table.title_style = title, "bold"
    for some in _rows(checks):
        one = some[0]
        word, colour = WORDS[one.state]
        needed = "*" if one.needed else ""
        error = "–" if one.largest_error is None else f"{one.largest_error:.1e}"
        precisions = ", ".join(check.precision for check in some)
        table.add_row(
            Text(one.backend), Text(precisions + needed), Text(word, style=colour), Text(error), Text(_see(one, notes))
        )
    return table


def _remarks(found: Diagnosis, notes: Sequence[str], console: Console) -> None:
    """What the tables refer to and is not to be mended."""
    from rich.padding import Padding
    from rich.text import Text

    for number, note in enumerate(notes, 1):
        _numbered(number, note, console)
    if any(check.needed for check in found.checks):
        console.print(Padding(Text(f"* needed by {found.spec}"), (0, 0, 0, 1)))


def _rows(checks: Sequence[Check]) -> list[list[Check]]:
    """Precisions of which the same is to be told, without a number of their own, share a row."""
    rows: list[list[Check]] = []
    for check in checks:
        before = rows[-1][0] if rows else None
        if before is not None and before.largest_error is None and _same(before, check):
            rows[-1].append(check)
        else:
            rows.append([check])
    return rows


def _same(one: Check, other: Check) -> bool:
    fields = {"backend", "device", "state", "reason", "needed", "remedy", "largest_error"}
    return one.model_dump(include=fields) == other.model_dump(include=fields)


def _see(check: Check, notes: Sequence[str]) -> str:
    """The number under which the rest is told: the notes come first, then what to mend."""
    if check.remedy is not None:
        return f"see {len(notes) + check.remedy + 1}"
    return f"see {notes.index(check.reason) + 1}" if check.reason in notes and check.state != "works" else ""


def _packages(found: Diagnosis, notes: int, width: int) -> Table:
    from rich.text import Text

    table = _table(width, "package", "version", "brings", "what to do", whole=[0, 1])
    for one in found.packages:
        see = "needed only for those" if one.remedy is None else f"see {notes + one.remedy + 1}"
        todo = "" if one.version else see
        mark = "*" if one.needed else ""
        table.add_row(Text(one.package + mark), Text(one.version or "not here"), Text(one.brings), Text(todo))
    return table


def _numbered(number: int, words: str, console: Console) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    hanging = Table.grid(padding=(0, 1, 0, 0))
    hanging.add_row(Text(f"{number}."), Text(words, overflow="fold"))
    console.print(Padding(hanging, (0, 0, 0, 1)))


def _mend(number: int, remedy: Remedy, console: Console) -> None:
    from rich.padding import Padding
    from rich.text import Text

    _numbered(number, remedy.problem, console)
    for step in remedy.steps:
        console.print(Padding(Text(step), (0, 0, 0, 4)))
    for command in remedy.commands:
        # Unbroken, so that it can be copied.
        console.print(Text(f"      {command}", style="cyan"), soft_wrap=True)
