"""The report as Markdown that GitHub renders, with its charts as pictures beside it."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmark.files import atomic_path, write_text_atomically
from benchmark.results import Results
from reports.charts import figures, png, principal
from reports.looks import Figure
from reports.summary import Summary, summarize
from reports.table import Column, Table, Value
from reports.view import View

REPORT_FILE = "report.md"
CHART_FOLDER = "report-charts"
CHART_WIDTH = 640
MANY_CELLS = 200
TELLING = ("glance", "verdict", "pareto")
"""The sections whose charts a run of many cells has in Markdown; the page has all."""

MOST_ROWS = 200
"""GitHub renders no Markdown above half a megabyte; whoever needs more rows has the page and the CSV files."""


def write_markdown(results: Results, run_dir: Path, summary: Summary | None = None) -> Path:
    """Writes report.md and its charts and returns its path; `summary` spares computing it once more."""
    drawn = figures(View(results), CHART_WIDTH)
    if len(results.cells) > MANY_CELLS:
        # A picture takes half a second.
        drawn = tuple(figure for figure in principal(drawn) if figure.section in TELLING)
    with ThreadPoolExecutor(2) as workers:
        for figure, picture in zip(drawn, workers.map(png, drawn), strict=True):
            with atomic_path(run_dir / CHART_FOLDER / f"{figure.key}.png") as temporary:
                temporary.write_bytes(picture)
    path = run_dir / REPORT_FILE
    write_text_atomically(path, render(summary or summarize(results), drawn))
    return path


def render(summary: Summary, drawn: tuple[Figure, ...]) -> str:
    """The page as text."""

    def charts(*sections: str) -> list[str]:
        return [f"![{escape(f.alt)}]({CHART_FOLDER}/{f.key}.png)" for f in drawn if f.section in sections]

    verdict = summary.verdict
    blocks = [f"**{escape(verdict.headline)}**", *charts("glance")]
    blocks += [escape(line) for line in (verdict.no_picture, verdict.sure) if line]
    if verdict.caveats:
        blocks.append("\n".join(["> **Keep in mind:**", *(f"> - {escape(caveat)}" for caveat in verdict.caveats)]))
    blocks += map(escape, verdict.found)
    blocks.append(escape(" · ".join(summary.facts)))
    blocks += _section("What failed", summary.problems)
    blocks += _section("Verdict", summary.matrix, summary.verdicts, charts=charts("verdict", "pareto"))
    times = (summary.latency, summary.start, summary.segmentation, summary.server)
    blocks += _section("Latency", *times, charts=charts("latency", "drift"))
    blocks += _section("Where the time goes", *summary.phases, summary.amortised, charts=charts("phases", "amortised"))
    blocks += _section("Memory and limit", summary.memory, summary.limit)
    dice = [] if summary.folds_dice else [summary.dice]
    surfaces = [] if summary.folds_dice else [summary.surfaces]
    effect = (summary.supervision, summary.supervision_labels)
    blocks += _section("Accuracy", *summary.prompts, *dice, *surfaces, *effect, charts=charts("dice", "supervision"))
    if summary.folds_dice:
        blocks += folded("Dice per label and backend", [table_text(summary.dice)])
        blocks += folded("Surfaces per label and backend", _tables(summary.surfaces))
    blocks += folded("Dice per case", [table_text(summary.dice_cases)])
    blocks += folded("Surfaces per case", _tables(summary.surface_cases))
    ran = (summary.attestation, summary.measuring, summary.networks, summary.tasks, summary.trainings)
    blocks += _section("What ran", *ran, charts=charts("trainings"))
    blocks += [escape(f"Where a label is absent: {rule}.") for rule in summary.rules]
    if summary.notes:
        blocks.append("\n".join(f"- {escape(note)}" for note in summary.notes))
    blocks += folded("Cases by name", [table_text(summary.cases)])
    blocks += folded("Environment", [table_text(summary.environment)])
    blocks += folded("Specification", [_fence(summary.spec, "yaml")])
    blocks += ["## Run it again", _fence(summary.command, "sh")]
    return "\n\n".join(blocks) + "\n"


def escape(text: str) -> str:
    """Text that means itself in Markdown, also in a table's cell."""
    flat = " ".join(text.split())
    plain = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|~])", r"\\\1", plain)


def _section(title: str, *tables: Table | None, charts: list[str] | None = None) -> list[str]:
    filled = [table for table in tables if table is not None and table.rows]
    if not filled and not charts:
        return []
    blocks = [f"## {title}"]
    for table in filled:
        blocks += [f"### {escape(table.title)}"] if len(filled) > 1 else []
        blocks.append(table_text(table))
    return blocks + (charts or [])


def folded(title: str, blocks: list[str]) -> list[str]:
    """Blocks that a reader opens; none where there are none."""
    if not blocks:
        return []
    return [f"<details><summary>{title}</summary>", *blocks, "</details>"]


def _tables(table: Table | None) -> list[str]:
    return [] if table is None else [table_text(table)]


def table_text(table: Table) -> str:
    """A table with its footnotes."""
    lines = [escape(table.about), ""] if table.about else []
    lines.append(_row([escape(column.title) for column in table.columns]))
    lines.append(_row([_rule(column) for column in table.columns]))
    lines += [_row([_value(table, value) for value in row]) for row in table.rows[:MOST_ROWS]]
    if len(table.rows) > MOST_ROWS:
        more = f"… and {len(table.rows) - MOST_ROWS:,} more rows, in report.html and with --format csv"
        lines.append(_row([more, *[""] * (len(table.columns) - 1)]))
    notes = [f"<sup>{number}</sup> {escape(note)}" for number, note in enumerate(table.footnotes, 1)]
    return "\n".join(lines + ([""] if notes else []) + ["  \n".join(notes)]).rstrip("\n")


def _rule(column: Column) -> str:
    return "---:" if column.kind == "number" else "---"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _value(table: Table, value: Value) -> str:
    mark = table.mark(value)
    text = "<br>".join(map(escape, value.text.splitlines()))
    return text + (f" <sup>{mark}</sup>" if mark else "")


def _fence(text: str, language: str) -> str:
    """A code block whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
