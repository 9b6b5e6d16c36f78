"""A history in sentences and tables, the same for terminal, HTML and Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text

from benchmark.compare.schema import Difference
from benchmark.history.trend import Condition, Point, Step, Trend
from benchmark.results import LaneKey
from reports import text
from reports.table import Column, Table, Tone, Value, keys, known
from reports.terminal import STYLES, draw_table

CHANGES_TOLD = 4


@dataclass(frozen=True)
class TrendSummary:
    """What every format shows of a history.

    Attributes:
        headline: how many runs, and since when.
        tone: `doubt` where a run was accepted against objections.
        lines: what to know besides.
        runs: one row a run, newest last.
        conditions: condition in words → a row for each run and lane, newest last.
    """

    headline: str
    tone: Tone
    lines: tuple[str, ...]
    runs: Table
    conditions: dict[str, Table]


def summarize_trend(trend: Trend, last: int | None = None) -> TrendSummary:
    """Computes what is shown; pure.

    Args:
        trend: at least one run.
        last: shows so many of the newest runs; None shows all.
    """
    first = 0 if last is None else max(0, len(trend.steps) - last)
    steps = trend.steps[first:]
    forced = sum(step.reason is not None for step in trend.steps)
    breaks = sum(bool(step.breaks) for step in trend.steps)
    lines = []
    if first:
        lines.append(f"{text.count(first, 'older run')} of {len(trend.steps)} left out here")
    if breaks:
        lines.append(
            f"Machine, driver, data or specification changed {text.count(breaks, 'time')}: a new line begins there"
        )
    if forced:
        lines.append(f"{text.count(forced, 'run')} accepted against objections, with a reason")
    return TrendSummary(
        headline=f"{text.count(len(trend.steps), 'accepted run')}, {text.moment(trend.steps[0].created)} to "
        f"{text.moment(trend.steps[-1].created)}",
        tone="doubt" if forced else "good",
        lines=tuple(text.sentence(line) for line in lines),
        runs=_runs(steps),
        conditions={
            condition_name(condition): _points(condition, [p for p in points if p.run >= first], trend.steps)
            for condition, points in trend.conditions.items()
            if any(point.run >= first for point in points)
        },
    )


def condition_name(condition: Condition) -> str:
    """`pseudolabel, Task09_Spleen, litemedsam, box, cpu`."""
    parts = [condition.stage, condition.task, condition.model]
    if condition.prompt is not None:
        parts.append(text.condition(condition.stage, condition.prompt))
    return ", ".join([*parts, condition.device])


def lane_title(lane: str) -> str:
    """A lane's key as people know it."""
    key = LaneKey.parse(lane)
    return text.lane_name(key.backend, key.precision)


def run_title(step: Step) -> str:
    """A run on an axis: day, time, name."""
    return f"{step.created[:10]} {step.created[11:16]}\n{step.name}"


def changes(step: Step) -> str:
    """What changed since the run before, in words; empty for nothing."""
    broken = [f"not comparable: {one.words}" for one in step.breaks]
    return "; ".join(_first([*broken, *map(upgrade, step.upgrades)]))


def upgrade(one: Difference) -> str:
    """`onnxruntime 1.22.0 → 1.23.2`."""
    return f"{one.what} {one.base} → {one.new}"


def _first(words: Sequence[str]) -> list[str]:
    left = len(words) - CHANGES_TOLD
    return [*words[:CHANGES_TOLD], f"{left} more"] if left > 0 else list(words)


def _runs(steps: Sequence[Step]) -> Table:
    rows = []
    for step in steps:
        told = "first run" if not step.breaks and not step.upgrades and step is steps[0] else changes(step)
        sound = f"{step.sound} of {step.cells}"
        rows.append(
            (
                Value(text.moment(step.created)),
                Value(step.name),
                Value(told or "nothing", tone="doubt" if step.breaks else "plain"),
                Value(sound, tone="plain" if step.sound == step.cells else "bad"),
                _acceptance(step),
            )
        )
    columns = (*keys("date", "run"), Column("changed since the run before", "text"), Column("cells that worked"))
    return Table("runs", "Accepted runs", (*columns, Column("accepted", "text")), tuple(rows), "Newest last")


def _acceptance(step: Step) -> Value:
    if step.reason is None:
        return Value("by the rules")
    return Value(f"! {step.reason}", f"spoke against it: {'; '.join(_first(step.objections))}", "doubt")


def _points(condition: Condition, points: Sequence[Point], steps: Sequence[Step]) -> Table:
    unit = points[-1].unit
    columns = (
        *keys("date", "lane"),
        Column("speedup"),
        Column("95 % interval", width=90),
        Column(f"p50, ms per {unit}"),
        Column("Dice"),
        Column("memory, MiB", width=80),
        Column("line", "text"),
    )
    rows = []
    for point in points:
        why = point.reason
        broken = bool(steps[point.run].breaks)
        rows.append(
            (
                Value(text.moment(steps[point.run].created)),
                Value(lane_title(point.lane)),
                known(text.speedup(point.speedup), why),
                known(text.interval(point.ci95), why),
                known(text.milliseconds(point.p50_ms), why),
                known(text.dice(point.dice), why if point.p50_ms is None else "no Dice in this run"),
                known(text.significant(point.memory_mib), why if point.p50_ms is None else "not measured"),
                Value("┆ new", tone="doubt") if broken else Value(""),
            )
        )
    name = condition_name(condition)
    return Table(f"trend-{_key(name)}", name, columns, tuple(rows), "Newest last").trimmed()


def _key(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())


def print_trend(summary: TrendSummary, console: Console) -> None:
    """Prints the runs and the trend of every condition."""
    lines = [Text(summary.headline, style="bold"), *map(Text, summary.lines)]
    console.print(Panel(Group(*lines), border_style=STYLES[summary.tone], padding=(0, 1)))
    for table in (summary.runs, *summary.conditions.values()):
        console.print(draw_table(table, console))
