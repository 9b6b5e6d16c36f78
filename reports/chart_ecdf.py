"""The distribution of latencies: how large a share of the samples took no longer than so many milliseconds."""

from __future__ import annotations

import json
from collections.abc import Sequence

import altair as alt
import numpy as np

from benchmark.results import Cell
from reports import text
from reports.choice import Choice, most_telling, time_ratio, timed
from reports.looks import BACKEND_COLOURS, GREY, Chart, Figure, Named, Rows, Width, dashed, data, finish, times_scale
from reports.placement import Align
from reports.view import View

SHAPE_SAMPLES = 200
"""Order statistics of a line at most: they keep the shape and both ends of thousands of samples."""
POINTS = 3000
"""Points of a chart at most, so that many lines do not make the page heavy."""
STEP = 0.84
"""A condition's share of its row; the rest keeps rows apart."""
ROW = 92
SCREEN = 980
"""Pixels that all rows together do not exceed."""


def latency(view: View, stage: str, width: Width) -> Figure | None:
    """A row for each condition with a curve for each backend, from 0 to 100 % of its samples."""
    cells = timed(view.cells(stage))
    if not cells:
        return None
    choice = most_telling(list(view.places(cells).values()), time_ratio, size=_room)
    unit = cells[0].latency_unit
    return Figure(
        f"latency-{stage}",
        "latency",
        f"Latency of {stage}: the share of samples that took no longer, a row from 0 to 100 %, a symbol at the median"
        f"{choice.note('backends furthest apart; all are in the table')}",
        f"Empirical distribution of the milliseconds per {unit} of each backend in {stage}; the table has percentiles",
        _chart(view, choice, unit, width),
    )


def _room(cells: Sequence[Cell]) -> int:
    """The lines of a row; one with few of them is as high as others."""
    return max(len(cells), 3)


def order_statistics(samples: Sequence[float], most: int) -> list[tuple[float, float]]:
    """The empirical distribution's steps, at most so many, the fastest and the slowest sample among them.

    Returns:
        Pairs of a sample and the share of samples that are no longer, by rising time.
    """
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    places = np.unique(np.linspace(0, len(ordered) - 1, min(most, len(ordered))).round().astype(int))
    return [(float(ordered[place]), float((place + 1) / len(ordered))) for place in places]


def _rows(view: View, choice: Choice[list[Cell]]) -> tuple[Rows, Rows]:
    """The curves' steps and the medians."""
    most = max(2, min(SHAPE_SAMPLES, POINTS // sum(map(len, choice.shown))))
    curves, medians = [], []
    for number, cells in enumerate(choice.shown):
        found: Rows = []
        for cell in cells:
            assert cell.latency_ms is not None  # noqa: S101 - `timed` cells have it
            samples = cell.latency_ms.samples
            named = {"backend": view.variant(cell), "line": f"{number} {view.variant(cell)}"}
            steps = order_statistics(samples, most)
            curves += [
                named | {"ms": float(f"{ms:.5g}"), "y": round(STEP * share - number, 4)}
                for ms, share in [(steps[0][0], 0.0), *steps]
            ]
            middle = float(np.median(samples))
            shown = {"ms": middle, "y": STEP / 2 - number, "shown": text.milliseconds(middle), "n": len(samples)}
            found.append(named | shown | {"what": view.label(cell).replace("\n", ", ")})
        found.sort(key=lambda row: row["ms"])
        for row in found:
            row["side"] = "left" if row is found[0] else "right" if row is found[-1] else "none"
        medians += found
    return curves, medians


def _chart(view: View, choice: Choice[list[Cell]], unit: str, width: Width) -> Chart:
    curves, medians = _rows(view, choice)
    count = len(choice.shown)
    colour, dash = dashed("backend", Named.of((row["backend"] for row in medians), view.variants), BACKEND_COLOURS, 2)
    scale, said = times_scale(
        min(row["ms"] for row in curves), max(row["ms"] for row in curves), from_zero=False, factor=6
    )
    x = alt.X("ms:Q", scale=scale, axis=alt.Axis(title=f"ms per {unit}{said}", tickCount=6))
    names = json.dumps([view.label(cells[0]) for cells in choice.shown])
    middle = STEP / 2
    axis = alt.Axis(
        title=None,
        values=[middle - number for number in range(count)],
        labelExpr=f"split({names}[round({middle} - datum.value)], '\\n')",
        grid=False,
        ticks=False,
        domain=False,
    )
    y = alt.Y("y:Q", scale=alt.Scale(domain=[STEP - count, STEP + 0.06], nice=False), axis=axis)
    guides = [{"y": share * STEP - n, "edge": share != 0.5} for n in range(count) for share in (0, 0.5, 1)]
    tooltip = [alt.Tooltip("what:N", title="of"), alt.Tooltip("backend:N"), alt.Tooltip("n:Q", title="samples")]
    tooltip.append(alt.Tooltip("shown:N", title="median ms"))
    points = alt.Chart(data(medians)).encode(x=x, y=y, color=colour, tooltip=tooltip)
    sides: tuple[tuple[str, Align, int], ...] = (("left", "right", -9), ("right", "left", 9))
    chart = alt.layer(
        alt.Chart(data(guides)).mark_rule(color=GREY, opacity=0.22).encode(y=y),
        alt.Chart(data(curves))
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(x=x, y=y, color=colour, strokeDash=dash, detail=alt.Detail("line:N"), order=alt.Order("y:Q")),
        points.mark_point(filled=True, size=70, opacity=1),
        *(
            alt.Chart(data([row for row in medians if row["side"] == side]))
            .mark_text(align=align, dx=dx, fontSize=11)
            .encode(x=x, y=y, color=colour, text=alt.Text("shown:N"))
            for side, align, dx in sides
        ),
    )
    return finish(chart, width, min(ROW, SCREEN / count) * count)
