"""The report in a terminal: verdict, verdict table, latency, Dice, and what failed."""

from __future__ import annotations

from dataclasses import replace

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
# A value up to this length stays in one line, and the keys have so much room; the later ones for narrow terminals.
LEAST_WIDTHS = (24, 16, 12, 8, 5)

# From this width on there is room for what is nice to know: how it started, and what memory it took.
ROOMY = 140

# Of more rows nobody reads the first; the page sorts and filters.
MOST_ROWS = 60

# A space of padding and one of division.
ROOM_OF_A_COLUMN = 2


def print_report(results: Results, console: Console, summary: Summary | None = None) -> None:
    """Prints what a person wants to know right after a run; `summary` spares computing it once more."""
    summary = summary or summarize(results)
    console.print(_verdict(summary))
    if summary.problems:
        console.print(draw_table(summary.problems, console))
    roomy = console.width >= ROOMY
    if summary.matrix and _sums_up(summary.matrix):
        _print_by_task(summary.matrix, console)
    for table in (summary.verdicts, summary.latency, *((summary.start, summary.memory) if roomy else ())):
        _print_by_task(table, console)
    for table in summary.prompts:
        for part in _in_parts(table.fitting(console.width), console.width):
            console.print(draw_table(part, console))
        console.print(Padding(Text(table.about, style="dim"), (0, 0, 0, 1)))
    _print_by_task(summary.segmentation, console)
    _print_by_task(summary.server, console)
    _print_by_task(summary.dice_in_short, console)
    _print_by_task(summary.surfaces_in_short, console)
    _print_by_task(summary.supervision, console)
    if summary.harness:
        console.print(Padding(Text(summary.harness, style="dim"), (1, 0, 0, 1)))


def _sums_up(matrix: Table) -> bool:
    """Whether a matrix says more than the table of verdicts below it: one model with two backends needs none."""
    stages = {row[0].text for row in matrix.rows}
    return len(matrix.rows) > len(stages) or len(matrix.columns) - _key_count(matrix) > 2


def _print_by_task(table: Table | None, console: Console) -> None:
    room = MOST_ROWS
    for task, part in (table.by("task") if table else {}).items():
        if room > 0:
            console.print(draw_table(replace(part, rows=part.rows[:room]), console, task))
        room -= len(part.rows)
    if room < 0:
        more = f"… and {-room:,} more rows, in report.html"
        console.print(Padding(Text(more, style="dim"), (0, 0, 0, 1)))


def _in_parts(table: Table, width: int) -> list[Table]:
    """A table with more labels than there is room for as several of much the same width, each with the keys."""
    keys = _key_count(table)
    widths = [needed + ROOM_OF_A_COLUMN for needed in _widths(table, LEAST_WIDTHS[0])]
    # A long key wraps rather than leave a table for each label.
    most = width - min(_longest_key(table), width // 3) - ROOM_OF_A_COLUMN - 1
    fewest = len(_split(widths, most))
    # The narrowest room that needs no more parts leaves no label alone on the last one.
    narrow = next((room for room in range(1, most) if len(_split(widths, room)) == fewest), most)
    parts = [table.only([*range(keys), *(keys + index for index in part)]) for part in _split(widths, narrow)]
    return [parts[0], *(replace(part, title=f"{part.title}, continued") for part in parts[1:])]


def _split(widths: list[int], room: int) -> list[list[int]]:
    """The indices of columns in order, as many together as the room allows, and one at least."""
    parts: list[list[int]] = [[]]
    left = room
    for index, width in enumerate(widths):
        if width > left and parts[-1]:
            parts.append([])
            left = room
        left -= width
        parts[-1].append(index)
    return parts


def _verdict(summary: Summary) -> Panel:
    verdict = summary.verdict
    lines = [Text(verdict.headline, style="bold"), *(Text(line) for line in verdict.more)]
    lines += [Text(f"! {caveat}", style="yellow") for caveat in verdict.caveats]
    title = Text(summary.name)
    return Panel(Group(*lines), title=title, border_style=STYLES[verdict.tone], padding=(0, 1))


def draw_table(table: Table, console: Console, task: str = "") -> Group:
    """A table that fits: columns of low rank give way, then long values wrap; nothing is cut off."""
    ranks = sorted({column.width for column in table.columns if column.width <= console.width}, reverse=True)
    for rank, least in [(rank, LEAST_WIDTHS[0]) for rank in ranks] + [(0, least) for least in LEAST_WIDTHS]:
        shown = table.fitting(rank)
        widths = _widths(shown, least)
        # The first division stands before the first column.
        left = console.width - sum(widths) - ROOM_OF_A_COLUMN * (len(widths) + 1) - 1
        if left >= least:
            break
    notes = (Text(f"{mark}) {note}", style="dim") for mark, note in enumerate(shown.footnotes, 1))
    drawn = _draw(shown, task, [max(min(left, _longest_key(shown)), least), *widths])
    return Group(Text(), drawn, *(Padding(note, (0, 0, 0, 1)) for note in notes))


def _widths(table: Table, most: int) -> list[int]:
    """The widths of all columns but the keys: values up to `most` stay in a line, titles break between words alone."""
    keys = _key_count(table)
    widths = []
    for index, column in enumerate(table.columns[keys:], keys):
        longest = max((_longest_line(_value(table, row[index])) for row in table.rows), default=0)
        widths.append(max(min(longest, most), *(len(word) for word in column.title.split())))
    return widths


def _longest_line(text: Text) -> int:
    return max(map(len, text.plain.splitlines()), default=0)


def _longest_key(table: Table) -> int:
    keys = _key_count(table)
    title = ", ".join(column.title for column in table.columns[:keys])
    return max(len(title), *(len(_keys(row[:keys])) for row in table.rows)) if table.rows else len(title)


def _draw(table: Table, task: str, widths: list[int]) -> RichTable:
    """The keys share the first column."""
    keys = _key_count(table)
    title = Text.assemble((table.title, "bold"), f" – {task}" if task else "")
    drawn = RichTable(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    drawn.add_column(", ".join(column.title for column in table.columns[:keys]), overflow="fold", width=widths[0])
    for column, width in zip(table.columns[keys:], widths[1:], strict=True):
        justify: JustifyMethod = "right" if column.kind == "number" else "left"
        drawn.add_column(column.title, justify=justify, overflow="fold", width=width)
    for row in table.rows:
        drawn.add_row(_keys(row[:keys]), *(_value(table, value) for value in row[keys:]))
    return drawn


def _key_count(table: Table) -> int:
    return sum(column.kind == "key" for column in table.columns)


def _keys(values: tuple[Value, ...]) -> Text:
    return Text(", ".join(value.text for value in values))


def _value(table: Table, value: Value) -> Text:
    mark = table.mark(value)
    text = Text(value.text, style=STYLES[value.tone])
    return text.append(f" {mark})", style="dim") if mark else text
