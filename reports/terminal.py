"""The report in a terminal: verdict, verdict table, latency, Dice, and what failed."""

from __future__ import annotations

from rich import box
from rich.console import Console, Group, JustifyMethod
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text

from benchmark.results import Results
from reports.summary import Summary, summarize
from reports.table import Table, Tone, Value

STYLES: dict[Tone, str] = {"plain": "", "good": "green", "bad": "red", "doubt": "yellow"}
# An interval or a verdict up to this length stays in one line; the keys wrap instead.
LEAST_WIDTH = 16


def print_report(results: Results, console: Console) -> None:
    """Prints what a person wants to know right after a run."""
    summary = summarize(results)
    console.print(_verdict(summary))
    if summary.problems:
        console.print(_table(summary.problems, console.width))
    for table in (summary.verdicts, summary.latency, summary.dice, summary.supervision):
        for task, part in (table.by("task") if table else {}).items():
            console.print(_table(part, console.width, task))


def _verdict(summary: Summary) -> Panel:
    verdict = summary.verdict
    lines = [Text(verdict.headline, style="bold"), *(Text(line) for line in verdict.more)]
    lines += [Text(f"! {caveat}", style="yellow") for caveat in verdict.caveats]
    title = Text(summary.name)
    return Panel(Group(*lines), title=title, border_style=STYLES[verdict.tone], padding=(0, 1))


def _table(table: Table, width: int, task: str = "") -> Group:
    """A table that fits: columns of low rank give way, and the keys share the first column."""
    table = table.fitting(width)
    names = [column.title for column in table.columns if column.kind == "key"]
    title = Text.assemble((table.title, "bold"), f" – {task}" if task else "")
    drawn = RichTable(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    drawn.add_column(", ".join(names), overflow="fold", min_width=16)
    for index, column in enumerate(table.columns[len(names) :], len(names)):
        longest = max((len(_value(table, row[index])) for row in table.rows), default=0)
        justify: JustifyMethod = "right" if column.kind == "number" else "left"
        drawn.add_column(column.title, justify=justify, overflow="fold", min_width=min(longest, LEAST_WIDTH))
    for row in table.rows:
        drawn.add_row(_keys(row[: len(names)]), *(_value(table, value) for value in row[len(names) :]))
    notes = (Text(f"{mark}) {note}", style="dim") for mark, note in enumerate(table.footnotes, 1))
    return Group(Text(), drawn, *(Padding(note, (0, 0, 0, 1)) for note in notes))


def _keys(values: tuple[Value, ...]) -> Text:
    return Text(", ".join(value.text for value in values))


def _value(table: Table, value: Value) -> Text:
    mark = table.mark(value)
    text = Text(value.text, style=STYLES[value.tone])
    return text.append(f" {mark})", style="dim") if mark else text
