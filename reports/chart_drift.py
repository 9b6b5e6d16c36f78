"""Drift over the run: whether the machine became slower or faster while it measured, and for all backends alike."""

from __future__ import annotations

import altair as alt
import numpy as np

from benchmark.results import Cell
from reports import text
from reports.choice import most_telling, timed
from reports.drift import Course, course
from reports.looks import BACKEND_COLOURS, GREY, Chart, Figure, Named, Rows, Width, dashed, data, finish
from reports.view import Place, View

FIGURES = 2
POINTS = 150
HEIGHT = 220
SEEN = (2, 98)
"""Percentiles of the samples that the axis reaches to; a single outlier would flatten all else."""


def drift(view: View, width: Width) -> tuple[Figure, ...]:
    """A chart for each of the conditions whose times moved most, all their backends in one panel."""
    places = list(_courses(view).values())
    choice = most_telling(places, lambda lanes: max(one.spread for _, one in lanes), most=FIGURES)
    note = choice.note("those that moved most")
    return tuple(_figure(view, number, lanes, note, width) for number, lanes in enumerate(choice.shown, 1))


def _courses(view: View) -> dict[Place, list[tuple[Cell, Course]]]:
    """The courses of each condition's backends."""
    found: dict[Place, list[tuple[Cell, Course]]] = {}
    for place, cells in view.places(timed(view.results.cells)).items():
        for cell in cells:
            one = course(cell.latency_ms.samples) if cell.latency_ms else None
            if one is not None:
                found.setdefault(place, []).append((cell, one))
    return found


def _figure(view: View, number: int, lanes: list[tuple[Cell, Course]], note: str, width: Width) -> Figure:
    named = Named(
        tuple(f"{view.variant(cell)}: {text.percent(one.spread, 2)}" for cell, one in lanes),
        tuple(view.variants.index(view.variant(cell)) for cell, _ in lanes),
    )
    lines, points = [], []
    for name, (_, one) in zip(named.names, lanes, strict=True):
        length = len(one.ratios)
        lines += [_at(name, place, length, ratio) for place, ratio in zip(one.places, one.rolling, strict=True)]
        kept = np.unique(np.linspace(0, length - 1, min(POINTS, length)).round().astype(int))
        points += [_at(name, place, length, one.ratios[place]) for place in kept]
    where = view.label(lanes[0][0], stage=True).replace("\n", ", ")
    return Figure(
        f"drift-{number}",
        "drift",
        f"Drift over the run, {where}: rolling median, its spread in the legend{note}",
        f"Samples of {where} in the order measured, each over the median of its backend, with their rolling median,"
        f" whose highest is above its lowest by: {', '.join(named.names)}. Slices differ too, for all backends alike",
        _chart(lines, points, named, _ends([one for _, one in lanes]), width),
    )


def _at(name: str, place: int, length: int, ratio: float) -> dict[str, object]:
    return {"backend": name, "share": round((int(place) + 0.5) / length, 4), "ratio": round(float(ratio), 4)}


def _ends(courses: list[Course]) -> list[float]:
    """The axis: all of the rolling medians and nearly all samples."""
    seen = np.concatenate([np.append(np.percentile(one.ratios, SEEN), one.rolling) for one in courses])
    return [float(seen.min()) - 0.01, float(seen.max()) + 0.01]


def _chart(lines: Rows, points: Rows, named: Named, ends: list[float], width: Width) -> Chart:
    colour, dash = dashed("backend", named, BACKEND_COLOURS, 2)
    axis = alt.Axis(title="share of the samples, in the order measured", format=".0%", tickCount=5, grid=False)
    x = alt.X("share:Q", scale=alt.Scale(domain=[0, 1]), axis=axis)
    scale = alt.Scale(domain=ends, nice=False)
    y = alt.Y("ratio:Q", scale=scale, axis=alt.Axis(title="time over the backend's median", tickCount=5, format=".2f"))
    tooltip = [alt.Tooltip("backend:N"), alt.Tooltip("ratio:Q", title="over the median", format=".3f")]
    chart = alt.layer(
        alt.Chart(data([{"one": 1}])).mark_rule(color=GREY, strokeDash=[5, 4]).encode(y=alt.Y("one:Q", scale=scale)),
        alt.Chart(data(points))
        .mark_point(filled=True, size=14, opacity=0.35, clip=True)
        .encode(x=x, y=y, color=colour, tooltip=tooltip),
        alt.Chart(data(lines))
        .mark_line(strokeWidth=2.5, clip=True)
        .encode(x=x, y=y, color=colour, strokeDash=dash, tooltip=tooltip),
    )
    return finish(chart, width, HEIGHT)
