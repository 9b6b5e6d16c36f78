"""Drift over the run: whether the machine slowed down while it was measured, and whether that hit all backends alike."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import altair as alt

from benchmark.results import Cell
from reports.choice import Choice, most_telling, timed
from reports.drift import drift, rolling_median, thinned, window_of
from reports.looks import BACKEND_COLOURS, GREY, Chart, Figure, Rows, Width, dashed, data, finish
from reports.text import percent
from reports.view import View

POINTS = 150
"""Samples of a cell that are drawn."""
STEPS = 80
"""Points of a rolling median that are drawn."""
FIGURES = 2
HEIGHT = 210


def drifts(view: View, stage: str, width: Width) -> tuple[Figure, ...]:
    """A panel with all backends for each of the conditions of a stage that drifted most."""
    places = [cells for cells in view.places(timed(view.cells(stage))).values() if _most(cells) > 0]
    choice = most_telling(places, _most, most=FIGURES)
    return tuple(_figure(view, stage, cells, choice, number, width) for number, cells in enumerate(choice.shown, 1))


def _figure(view: View, stage: str, cells: list[Cell], choice: Choice[list[Cell]], number: int, width: Width) -> Figure:
    where = view.label(cells[0]).replace("\n", ", ")
    by_cell = ", ".join(f"{view.variant(cell)} {percent(_drift(cell), 2)}" for cell in cells)
    return Figure(
        f"drift-{stage}" if number == 1 else f"drift-{stage}-{number}",
        "drift",
        f"Drift of {stage}, {where}: up to {percent(_most(cells), 2)}{choice.note('the most drift')}",
        f"Each sample of {stage}, {where} over the median of its cell, in the order measured, with a rolling median;"
        f" the rolling median's largest over its smallest value, less 1, is {by_cell}",
        _chart(view, cells, width),
    )


def _drift(cell: Cell) -> float | None:
    return drift(cell.latency_ms.samples) if cell.latency_ms else None


def _most(cells: Sequence[Cell]) -> float:
    return max((_drift(cell) or 0.0 for cell in cells), default=0.0)


def _rows(view: View, cells: Sequence[Cell]) -> tuple[Rows, Rows]:
    """Samples and rolling medians, placed by the share of the cell's samples that came before."""
    points, lines = [], []
    for cell in cells:
        samples = cell.latency_ms.samples if cell.latency_ms else []
        middle, window = median(samples), window_of(len(samples))
        if middle <= 0:
            continue
        named = {"backend": view.variant(cell)}
        points += [
            named | {"at": round(100 * (place + 0.5) / len(samples), 2), "ratio": round(samples[place] / middle, 4)}
            for place in thinned(len(samples), POINTS)
        ]
        medians = rolling_median(samples, window)
        lines += [
            named
            | {
                "at": round(100 * (place + window / 2) / len(samples), 2),
                "ratio": round(float(medians[place]) / middle, 4),
                "shown": percent(float(medians[place]) / middle),
            }
            for place in thinned(len(medians), STEPS)
        ]
    return points, lines


def _chart(view: View, cells: Sequence[Cell], width: Width) -> Chart:
    points, lines = _rows(view, cells)
    colour, dash = dashed("backend", list(dict.fromkeys(row["backend"] for row in points)), BACKEND_COLOURS, 2)
    ordered = sorted(row["ratio"] for row in points)
    inner = [row["ratio"] for row in lines] + [1.0, ordered[len(ordered) // 50], ordered[-1 - len(ordered) // 50]]
    room = 0.1 * (max(inner) - min(inner)) or 0.01
    # The slowest sample may be many times the median; an axis that reaches it would flatten all else.
    domain = alt.Scale(domain=[min(inner) - room, max(inner) + room], nice=False)
    x_axis = alt.Axis(title="share of the run's samples, in the order measured, %", tickCount=5, grid=False)
    x = alt.X("at:Q", scale=alt.Scale(domain=[0, 100], nice=False), axis=x_axis)
    y = alt.Y("ratio:Q", scale=domain, axis=alt.Axis(title="time ÷ the cell's median", tickCount=5))
    tooltip = [alt.Tooltip("backend:N"), alt.Tooltip("shown:N", title="rolling median, of the median")]
    one = alt.Chart(data([{"one": 1}])).mark_rule(strokeDash=[5, 4], color=GREY)
    chart = alt.layer(
        one.encode(y=alt.Y("one:Q", scale=domain)),
        alt.Chart(data(points)).mark_point(filled=True, size=12, opacity=0.3, clip=True).encode(x=x, y=y, color=colour),
        alt.Chart(data(lines))
        .mark_line(strokeWidth=2.5, clip=True)
        .encode(x=x, y=y, color=colour, strokeDash=dash, tooltip=tooltip),
    )
    return finish(chart, width, HEIGHT)
