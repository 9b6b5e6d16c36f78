"""A diagnosis on the terminal: facts, the table, what to mend, the verdict. Readable at 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.doctor.schema import Check, Diagnosis, Remedy

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WORDS = {
    "works": ("✓ works", "green"),
    "slow": ("✓ slow", "yellow"),
    "wrong": ("✗ wrong", "red"),
    "unavailable": ("– not here", "yellow"),
    "failed": ("✗ failed", "red"),
}


def show(found: Diagnosis, console: Console) -> None:
    """Prints a diagnosis."""
    console.print(_facts(found))
    console.print(_checks(found))
    console.print(_packages(found))
    if found.remedies:
        console.print("To mend:", style="bold")
        for number, remedy in enumerate(found.remedies, 1):
            _mend(number, remedy, console)
        console.print()
    console.print(found.verdict, style="bold" if found.ok else "bold red", highlight=False, markup=False)


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    return Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)


def _facts(found: Diagnosis) -> Table:
    from rich.text import Text

    table = _table("what is here", "", "told by")
    table.columns[0].no_wrap = table.columns[2].no_wrap = True
    for fact in found.told:
        table.add_row(Text(fact.name), Text(fact.value), Text(fact.source, style="dim"))
    return table


def _checks(found: Diagnosis) -> Table:
    from rich.text import Text

    marks = any(check.needed for check in found.checks)
    table = _table("backend", "device", "precision", "state", "error", "what to do")
    for column in (*table.columns[:2], *table.columns[3:5]):
        column.no_wrap = True
    for some in _rows(found.checks):
        one = some[0]
        word, colour = WORDS[one.state]
        needed = "*" if one.needed else ""
        error = "–" if one.largest_error is None else f"{one.largest_error:.1e}"
        precisions = ", ".join(check.precision for check in some)
        table.add_row(
            Text(one.backend), Text(one.device), Text(precisions + needed), Text(word, style=colour), Text(error),
            Text(_what_to_do(one)),
        )  # fmt: skip
    if marks:
        table.caption = f"* needed by {found.spec}"
        table.caption_justify = "left"
    return table


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


def _what_to_do(check: Check) -> str:
    if check.remedy is not None:
        return f"see {check.remedy + 1}"
    if check.state == "works":
        return ""
    return (check.reason or "").partition("; ")[0]


def _packages(found: Diagnosis) -> Table:
    from rich.text import Text

    table = _table("package", "version", "brings", "what to do")
    for one in found.packages:
        todo = "" if one.version else f"see {one.remedy + 1}" if one.remedy is not None else "needed only for those"
        mark = "*" if one.needed else ""
        table.add_row(Text(one.package + mark), Text(one.version or "not here"), Text(one.brings), Text(todo))
    return table


def _mend(number: int, remedy: Remedy, console: Console) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console.print(Padding(Text(f"{number}. {remedy.problem}"), (0, 0, 0, 1)))
    for step in remedy.steps:
        console.print(Padding(Text(step), (0, 0, 0, 4)))
    for command in remedy.commands:
        # Unbroken, so that it can be copied.
        console.print(Text(f"      {command}", style="cyan"), soft_wrap=True)
