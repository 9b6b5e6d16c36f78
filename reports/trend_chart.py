"""Charts of a history: one line a lane, broken where runs are not comparable, upgrades marked with their versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import altair as alt

from benchmark.history.trend import Condition, Point, Trend
from reports import text
from reports.looks import BACKEND_COLOURS, GREY, Chart, Figure, Rows, Width, colours, data, finish
from reports.trend import condition_name, lane_title, run_title, upgrade

HEIGHT = 190


@dataclass(frozen=True)
class _Metric:
    """A quantity that a history follows."""

    field: Literal["speedup", "p50_ms", "dice", "memory_mib"]
    section: Literal["verdict", "latency", "dice"]
    title: str
    axis: str
    zero: bool


def _metrics(unit: str) -> tuple[_Metric, ...]:
    return (
        _Metric("speedup", "verdict", "Speedup with its 95 % interval", "speedup, ×", False),
        _Metric("p50_ms", "latency", "Median latency", f"p50, ms per {unit}", True),
        _Metric("dice", "dice", "Dice", "Dice", False),
        _Metric("memory_mib", "latency", "Memory", "peak memory, MiB", True),
    )


def trend_figures(trend: Trend, condition: Condition, width: Width) -> tuple[Figure, ...]:
    """A chart for every quantity that the condition's runs have."""
    points = trend.conditions[condition]
    number = list(trend.conditions).index(condition)
    found = []
    for metric in _metrics(points[-1].unit):
        rows = _rows(trend, points, metric)
        if rows:
            names = [lane_title(lane) for lane in trend.lanes(condition)]
            chart = finish(_layers(trend, rows, metric, names), width, HEIGHT)
            words = f"{metric.title} of {condition_name(condition)}, one line a lane, run by run; as in the table"
            found.append(Figure(f"trend-{number}-{metric.field}", metric.section, metric.title, words, chart))
    return tuple(found)


def _rows(trend: Trend, points: Sequence[Point], metric: _Metric) -> Rows:
    rows: Rows = []
    for point in points:
        value = getattr(point, metric.field)
        if value is not None:
            interval = point.ci95 if metric.field == "speedup" else None
            rows.append(
                {
                    "run": run_title(trend.steps[point.run]),
                    "lane": lane_title(point.lane),
                    # A lane's line ends where the runs of before and after are not comparable.
                    "line": f"{point.lane} {point.line}",
                    "value": value,
                    "low": interval[0] if interval else None,
                    "high": interval[1] if interval else None,
                    "shown": _shown(metric, value),
                }
            )
    return rows


def _shown(metric: _Metric, value: float) -> str:
    if metric.field == "speedup":
        return text.speedup(value)
    return text.dice(value) if metric.field == "dice" else text.significant(value)


def _layers(trend: Trend, rows: Rows, metric: _Metric, names: list[str]) -> Chart:
    order = [run_title(step) for step in trend.steps]
    x = alt.X(
        "run:N",
        sort=order,
        scale=alt.Scale(domain=order),
        axis=alt.Axis(labelExpr="split(datum.label, '\\n')", title=None, labelAngle=0, labelOverlap=True),
    )
    scale = alt.Scale(zero=metric.zero, nice=True)
    y = alt.Y("value:Q", scale=scale, axis=alt.Axis(title=metric.axis, tickCount=5))
    # The reference has its colour in every chart, and no place in the legend of one where it has no point.
    legend = alt.Legend(values=[name for name in names if any(row["lane"] == name for row in rows)])
    colour = alt.Color("lane:N", scale=colours(names, BACKEND_COLOURS), legend=legend)
    shape = alt.Shape("lane:N", scale=alt.Scale(domain=names), legend=legend)
    tooltip = [alt.Tooltip("run:N"), alt.Tooltip("lane:N"), alt.Tooltip("shown:N", title=metric.axis)]
    base = alt.Chart(data(rows)).encode(x=x, tooltip=tooltip)
    layers: list[alt.Chart] = [*_breaks(trend, x), *_upgrades(trend, x)]
    if any(row["low"] is not None for row in rows):
        layers.append(base.mark_rule(strokeWidth=2, opacity=0.6).encode(y=alt.Y("low:Q"), y2="high:Q", color=colour))
    layers.append(base.mark_line(strokeWidth=2).encode(y=y, color=colour, detail="line:N"))
    layers.append(base.mark_point(filled=True, size=70, opacity=1).encode(y=y, color=colour, shape=shape))
    return alt.layer(*layers)


def _breaks(trend: Trend, x: alt.X) -> list[alt.Chart]:
    """A line where a new machine, driver, data or specification begins."""
    rows: Rows = [
        {"run": run_title(step), "why": "; ".join(one.words for one in step.breaks), "mark": "not comparable"}
        for step in trend.steps
        if step.breaks
    ]
    if not rows:
        return []
    base = alt.Chart(data(rows)).encode(x=x, tooltip=[alt.Tooltip("why:N", title="not comparable with before")])
    return [
        base.mark_rule(strokeWidth=2, strokeDash=[2, 3], color=GREY, xOffset=-12),
        base.mark_text(align="left", baseline="top", dx=-8, fontSize=11, color=GREY).encode(
            y=alt.value(0), text="mark:N"
        ),
    ]


def _upgrades(trend: Trend, x: alt.X) -> list[alt.Chart]:
    """The versions that a run brought, above its points."""
    rows: Rows = []
    for step in trend.steps:
        if step.upgrades:
            told = [upgrade(one) for one in step.upgrades]
            more = f" and {len(told) - 1} more" if len(told) > 1 else ""
            rows.append({"run": run_title(step), "what": "; ".join(told), "mark": f"▲ {told[0]}{more}"})
    if not rows:
        return []
    base = alt.Chart(data(rows)).encode(x=x, tooltip=[alt.Tooltip("what:N", title="upgraded")])
    return [
        base.mark_text(baseline="bottom", fontSize=11, color=GREY, dy=-5).encode(y=alt.value(HEIGHT), text="mark:N")
    ]
