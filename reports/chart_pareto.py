"""Dice against latency: what a backend, a model or a prompt strategy buys with its time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import altair as alt

from benchmark.results import Cell
from reports import text
from reports.choice import Choice, most_telling
from reports.looks import GREY, Chart, Figure, Named, Rows, Width, data, finish, marked, times_scale
from reports.pareto import pareto_front
from reports.placement import Box, place_names
from reports.view import View

HEIGHT = 300
LEAST_WIDTH = 400
"""What a page of variable width gives a chart at least; names are placed for that."""
FIGURES = 4
POINTS = 160
NAMES = 10
NAME = 26
"""Characters of a name at most; all of it is in the tooltip."""
REACH = 190
"""Pixels that such a name takes beside its point."""


def pareto(view: View, width: Width) -> tuple[Figure, ...]:
    """A chart for each stage and task with two valid cells or more."""
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in view.results.cells:
        if cell.status == "ok" and text.is_number(cell.dice) and cell.latency_ms and cell.latency_ms.p50:
            groups.setdefault((cell.stage, cell.task), []).append(cell)
    several = [(place, cells) for place, cells in groups.items() if len(cells) > 1]
    choice = most_telling(several, lambda one: len(one[1]), most=FIGURES)
    return tuple(_figure(view, number, cells, choice, width) for number, (_, cells) in enumerate(choice.shown, 1))


def _figure(
    view: View, number: int, cells: list[Cell], charts: Choice[tuple[tuple[str, str], list[Cell]]], width: Width
) -> Figure:
    rows = _rows(view, cells)
    backends = Named.of((view.variant(cell) for cell in cells), view.variants)
    front = [row for row in rows if row["front"]]
    others = most_telling([row for row in rows if not row["front"]], lambda row: row["dice"], most=POINTS)
    task = f", {cells[0].task}" if view.many_tasks else ""
    notes = others.note("the highest Dice, and the front") + charts.note("the most cells")
    best = "; ".join(f"{row['name']} on {row['backend']}: {row['shown']} ms, {row['value']}" for row in front[:NAMES])
    return Figure(
        f"pareto-{number}",
        "pareto",
        f"Dice against latency of {cells[0].stage}{task}{notes}",
        f"Median milliseconds per {cells[0].latency_unit} and Dice of each cell of {cells[0].stage}{task}; filled and"
        f" joined are those that none beats in both, by Dice to three decimals: {best}",
        _chart([*others.shown, *front], front, backends, cells[0].latency_unit, width),
    )


def _rows(view: View, cells: Sequence[Cell]) -> Rows:
    rows: Rows = []
    several = len({cell.model for cell in cells}) > 1
    for cell in cells:
        assert cell.latency_ms is not None and cell.latency_ms.p50 and cell.dice is not None  # noqa: S101
        parts = [text.condition(cell.stage, cell.prompt), *[cell.model] * several]
        rows.append(
            {
                "backend": view.variant(cell),
                "name": ", ".join(parts),
                "ms": cell.latency_ms.p50,
                "dice": cell.dice,
                "shown": text.milliseconds(cell.latency_ms.p50),
                "value": text.dice(cell.dice),
                "front": False,
            }
        )
    # What a table shows as equal is: a slower backend does not reach the front by a fifth decimal.
    for index in pareto_front([(row["ms"], float(row["value"])) for row in rows]):
        rows[index]["front"] = True
    return sorted(rows, key=lambda row: (row["ms"], -row["dice"]))


def _chart(rows: Rows, front: Rows, backends: Named, unit: str, width: Width) -> Chart:
    colour, shape = marked("backend", backends)
    times = [row["ms"] for row in rows]
    scale, said = times_scale(min(times), max(times), from_zero=False, factor=6)
    x = alt.X("ms:Q", scale=scale, axis=alt.Axis(title=f"median ms per {unit}{said}", tickCount=5, grid=False))
    values = [row["dice"] for row in rows]
    room = max(0.08 * (max(values) - min(values)), 0.004)
    domain = alt.Scale(domain=[max(0.0, min(values) - room), min(1.0, max(values) + 1.6 * room)], nice=False)
    y = alt.Y("dice:Q", scale=domain, axis=alt.Axis(title="Dice", tickCount=6))
    tooltip = [
        alt.Tooltip("name:N", title="of"),
        alt.Tooltip("backend:N"),
        alt.Tooltip("shown:N", title="median ms"),
        alt.Tooltip("value:N", title="Dice"),
    ]
    line = alt.Chart(data(front)).mark_line(interpolate="step-after", strokeDash=[4, 4], color=GREY, strokeWidth=1.5)

    def points(some: Rows, filled: bool) -> alt.Chart:
        marks = alt.Chart(data(some)).mark_point(filled=filled, size=110 if filled else 60, strokeWidth=1.8, opacity=1)
        chart: alt.Chart = marks.encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip)
        return chart

    others = [row for row in rows if not row["front"]]
    named = _named(front, others, Frame.of(scale, domain, width))
    dx, dy, align = (alt.ExprRef(expr=f"datum.{name}") for name in ("dx", "dy", "align"))
    names = alt.Chart(data(named)).mark_text(fontSize=11, color=GREY, baseline="middle", dx=dx, dy=dy, align=align)
    return finish(
        alt.layer(
            line.encode(x=x, y=y),
            points(others, False),
            points(front, True),
            names.encode(x=x, y=y, text=alt.Text("short:N")),
        ),
        width,
        HEIGHT,
    )


@dataclass(frozen=True)
class Frame:
    """The domains of the axes on the pixels of the chart.

    Attributes:
        times: both ends of the horizontal axis.
        dices: both ends of the vertical one.
        logarithmic: whether the horizontal axis is.
        width: of the chart.
    """

    times: tuple[float, float]
    dices: tuple[float, float]
    logarithmic: bool
    width: int

    @classmethod
    def of(cls, x: alt.Scale, y: alt.Scale, width: Width) -> Frame:
        """The frame of two scales with known ends."""
        (low, high), (bottom, top) = x["domain"], y["domain"]
        logarithmic = x.to_dict(validate=False).get("type") == "log"
        return cls((low, high), (bottom, top), logarithmic, LEAST_WIDTH if isinstance(width, str) else width)

    def at(self, row: dict[str, Any]) -> tuple[float, float]:
        """A row's pixels from the upper left corner."""
        ends = [*self.times, float(row["ms"])]
        low, high, at = map(math.log, ends) if self.logarithmic else ends
        bottom, top = self.dices
        return (at - low) / (high - low) * self.width, (top - row["dice"]) / (top - bottom) * HEIGHT


def _named(front: Rows, others: Rows, frame: Frame) -> Rows:
    """The points of the front that bear a name, the ends among them, with where it goes."""
    step = max(1.0, (len(front) - 1) / (NAMES - 1))
    chosen = [front[round(step * index)] for index in range(min(NAMES, len(front)))]
    rows = [row | {"short": _short(row["name"])} for row in chosen]
    places = [frame.at(row) for row in rows]
    hidden = [frame.at(row) for row in [*others, *(row for row in front if row not in chosen)]]
    # Marks further away than a name is long are in nobody's way.
    close = [(x, y) for x, y in hidden if any(abs(x - a) < REACH and abs(y - b) < 40 for a, b in places)]
    marks = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in close]
    steps = [frame.at(row) for row in front]
    marks += [Box(x, y - 2, after, y + 2) for (x, y), (after, _) in pairwise(steps)]
    marks += [Box(x - 2, top, x + 2, y) for (_, y), (x, top) in pairwise(steps)]
    spots = place_names(places, [row["short"] for row in rows], (frame.width, HEIGHT), marks)
    return [row | {"dx": spot.dx, "dy": spot.dy, "align": spot.align} for row, spot in zip(rows, spots, strict=True)]


def _short(name: str) -> str:
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"
