"""A comparison of two runs in sentences and tables, the same for terminal and Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text

from benchmark.compare.rules import METRICS
from benchmark.compare.schema import CellChange, Change, ChangeVerdict, Fate, RunComparison
from reports.table import Column, Table, Tone, Value, absent, keys
from reports.terminal import STYLES, draw_table
from reports.text import ABSENT, backend_name, condition, count, difference, milliseconds, moment, sentence, significant

VERDICTS: dict[ChangeVerdict, tuple[str, Tone]] = {
    "regression": ("✗ regression", "bad"),
    "inconclusive": ("? inconclusive", "doubt"),
    "improvement": ("▲ improvement", "good"),
    "no change": ("= no change", "plain"),
}
FATES: dict[Fate, tuple[str, Tone]] = {
    "missing": ("✗ missing", "bad"),
    "newly failing": ("✗ newly failing", "bad"),
    "still failing": ("✗ still failing", "doubt"),
    "recovered": ("▲ recovered", "good"),
    "new": ("+ new", "plain"),
}
ORDER = ("✗ newly failing", "✗ missing", "✗ regression", "? inconclusive", "✗ still failing", "▲ improvement")
MANY_ROWS = 12


@dataclass(frozen=True)
class ComparisonSummary:
    """What every format shows of a comparison."""

    headline: str
    tone: Tone
    lines: tuple[str, ...]
    offences: Table | None
    cells: Table
    differences: Table | None


def summarize_comparison(compared: RunComparison) -> ComparisonSummary:
    """Computes what is shown; pure."""
    return ComparisonSummary(
        headline=_headline(compared),
        tone="bad" if compared.regressed else "good",
        lines=(
            f"{_run(compared.base.name, compared.base.created)} → {_run(compared.new.name, compared.new.created)}",
            *map(sentence, compared.drift),
            sentence(f"A regression is {', '.join(compared.rules)}; {compared.floors.words}"),
        ),
        offences=_offences(compared),
        cells=_cells(compared.cells, compared.metrics),
        differences=_differences(compared),
    )


def _run(name: str, created: str) -> str:
    return f"“{name}” of {moment(created)}"


def _headline(compared: RunComparison) -> str:
    judged = [cell for cell in compared.cells if cell.fate != "new"]
    if compared.regressed:
        cells = {_identity(one.cell) for one in compared.offences}
        rules = list(dict.fromkeys(one.rule for one in compared.offences))
        return sentence(f"Regression: {len(cells)} of {count(len(judged), 'cell')} break {', '.join(rules)}")
    verdicts = [one.verdict for cell in judged for one in cell.changes if one.metric in compared.metrics]
    better, unsure = verdicts.count("improvement"), verdicts.count("inconclusive")
    told = [f"{count(better, 'improvement')}"] * bool(better) + [f"{unsure} inconclusive"] * bool(unsure)
    for fate in ("missing", "newly failing", "still failing"):
        if number := sum(cell.fate == fate for cell in judged):
            told.append(f"{number} {fate}")
    return sentence(f"No regression in {count(len(judged), 'cell')}{': ' if told else ''}{', '.join(told)}")


def _identity(cell: CellChange) -> tuple[str | None, ...]:
    return (cell.stage, cell.task, cell.model, cell.prompt, cell.backend, cell.device, cell.precision)


def _place(cell: CellChange) -> tuple[Value, ...]:
    lane = " ".join([backend_name(cell.backend), *[cell.device] * (cell.device != "cpu")])
    return (
        Value(cell.stage),
        Value(cell.task),
        Value(cell.model),
        Value(condition(cell.stage, cell.prompt)),
        Value(lane if cell.precision == "fp32" else f"{lane} {cell.precision}"),
    )


def _offences(compared: RunComparison) -> Table | None:
    if not compared.offences:
        return None
    return Table(
        key="offences",
        title="What regressed",
        columns=(
            *keys("stage", "task", "model", "prompt or labels", "backend"),
            Column("rule", "text"),
            Column("what it did", "text"),
        ),
        rows=tuple((*_place(one.cell), Value(one.rule), Value(one.words, tone="bad")) for one in compared.offences),
    )


def _cells(cells: Sequence[CellChange], metrics: Sequence[str]) -> Table:
    rows = [(_word(cell, metrics), _row(cell, metrics)) for cell in cells]
    rank = {word: index for index, word in enumerate(ORDER)}
    ordered = sorted(rows, key=lambda row: rank.get(row[0], len(rank)))
    return Table(
        key="changes",
        title="Every cell",
        columns=(
            *keys("stage", "task", "model", "prompt or labels", "backend"),
            Column("verdict", "text"),
            Column("p50 ms", width=100),
            Column("latency"),
            Column("95 % interval"),
            Column("Dice"),
            Column("throughput", width=120),
            Column("memory", width=110),
        ),
        rows=tuple(row for _, row in ordered),
        about=(
            "Changes from the base to the new run. A latency is held against the reference that was measured in turns"
            " with it, where there is one, so that a slower machine is no regression; the interval includes the floor."
        ),
    )


def _word(cell: CellChange, metrics: Sequence[str]) -> str:
    if cell.fate != "compared":
        return FATES[cell.fate][0]
    verdicts = {one.verdict for one in cell.changes if one.metric in metrics}
    return next((VERDICTS[verdict][0] for verdict in VERDICTS if verdict in verdicts), VERDICTS["no change"][0])


def _row(cell: CellChange, metrics: Sequence[str]) -> tuple[Value, ...]:
    if cell.fate != "compared":
        word, tone = FATES[cell.fate]
        return (*_place(cell), Value(word, cell.reason, tone), *[Value(ABSENT)] * 6)
    word = _word(cell, metrics)
    tone = next(tone for text, tone in VERDICTS.values() if text == word)
    latency = cell.change("latency")
    unsure = (one.reason for one in cell.changes if one.metric in metrics and one.verdict == "inconclusive")
    why = next(unsure, None)
    return (
        *_place(cell),
        Value(word, why if word == VERDICTS["inconclusive"][0] else None, tone),
        _pair(latency),
        _size(latency),
        _interval(latency),
        _size(cell.change("dice")),
        _size(cell.change("throughput")),
        _size(cell.change("memory")),
    )


def _pair(change: Change | None) -> Value:
    if change is None or change.base is None or change.new is None:
        return absent(change.reason if change else "not measured in both runs")
    return Value(f"{milliseconds(change.base)} → {milliseconds(change.new)}")


def _size(change: Change | None) -> Value:
    if change is None or change.change is None:
        return absent(change.reason if change else "not measured in both runs")
    tone = VERDICTS[change.verdict][1]
    if METRICS[change.metric].relative:
        return Value(percentage(change.change), tone=tone)
    return Value(difference(change.change), tone=tone)


def _interval(change: Change | None) -> Value:
    if change is None or change.ci95 is None:
        return absent(change.reason if change else "not measured in both runs")
    return Value(f"[{', '.join(map(percentage, change.ci95))}]")


def percentage(share: float) -> str:
    """A signed change, as in +10.3 %."""
    size = significant(abs(100 * share), 3 if abs(share) >= 0.1 else 2)
    return f"{'−' if share < 0 else '+'}{size} %" if size != "0" else "0 %"


def _differences(compared: RunComparison) -> Table | None:
    if not compared.differences:
        return None
    return Table(
        key="differences",
        title="What else differs between the runs",
        columns=(*keys("kind", "what"), Column("base", "text"), Column("new", "text")),
        rows=tuple((Value(d.kind), Value(d.what), Value(d.base), Value(d.new)) for d in compared.differences),
    )


def print_comparison(summary: ComparisonSummary, console: Console) -> None:
    """Prints the verdict, then what regressed, every cell, and what else differs."""
    lines = [Text(summary.headline, style="bold"), *map(Text, summary.lines)]
    console.print(Panel(Group(*lines), border_style=STYLES[summary.tone], padding=(0, 1)))
    for table in (summary.offences, summary.cells, summary.differences):
        if table is not None:
            console.print(draw_table(table, console))
