"""Charts of the encoder's cost shared by k prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from benchmark.results import Cell
from reports import text
from reports.amortised import NEVER, Cost, Gain, gain, in_prompts, prompts_per_slice, reference_of, slice_cost
from reports.choice import most_telling, time_ratio
from reports.looks import BACKEND_COLOURS, GREY, Chart, Figure, Named, Rows, Width, dashed, data, finish
from reports.view import View

MOST = 64
"""Prompts of a slice up to which the curves go."""
STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, MOST)
FIGURES = 2
HEIGHT = 240


def amortised(view: View, width: Width) -> tuple[Figure, ...]:
    """Milliseconds of a slice with k prompts, and of one of its prompts, for the tasks and models that differ most."""
    places = list(_places(view).values())
    choice = most_telling(places, time_ratio, most=FIGURES)
    found: list[Figure] = []
    for number, cells in enumerate(choice.shown, 1):
        where = ", ".join(part for part in (view.where(cells[0]), cells[0].prompt) if part)
        note = choice.note("backends furthest apart")
        slices, prompts, names = _rows(view, cells)
        # The vertical line is where the lines cross.
        crossings = [row for row in _crossings(view, cells) if 1 < row["k"] <= MOST]
        words = "; ".join(_in_words(view, cells))
        named = Named.of(names, view.variants)
        for key, title, rows, logarithmic in (
            ("slice", "Milliseconds per slice with k prompts", slices, False),
            ("prompt", "Milliseconds per prompt if k share a slice", prompts, True),
        ):
            suffix = "" if number == 1 else f"-{number}"
            said = title.split(" with ")[0].split(" if ")[0].replace("Milliseconds", "ms")
            found.append(
                Figure(
                    f"amortised-{key}{suffix}",
                    "amortised",
                    f"{title} – {where}{note}",
                    f"{title}, {where}, by backend; the symbols stand where was measured. {words}".rstrip(". "),
                    finish(_chart(rows, said, logarithmic, named, crossings), width, HEIGHT),
                )
            )
    return tuple(found)


def _places(view: View) -> dict[tuple[str, str], list[Cell]]:
    """For each task and model the cells of its first prompt strategy with a known cost; boxes, if there are."""
    found: dict[tuple[str, str], list[Cell]] = {}
    places = view.places(view.cells("pseudolabel"))
    for (_, task, model, _), cells in sorted(places.items(), key=lambda item: item[0][3] != "box"):
        if any(slice_cost(view, cell) for cell in cells):
            found.setdefault((task, model), cells)
    return found


def _costs(view: View, cells: Sequence[Cell]) -> list[tuple[Cell, Cost]]:
    return [(cell, cost) for cell in cells if (cost := slice_cost(view, cell))]


def _rows(view: View, cells: Sequence[Cell]) -> tuple[Rows, Rows, list[str]]:
    slices, prompts, names = [], [], []
    for cell, cost in _costs(view, cells):
        name = view.variant(cell)
        names.append(name)
        measured = prompts_per_slice(view, cell) or 0.0
        for k, at in [*((k, False) for k in STEPS), (round(measured, 3), True)]:
            whole = cost.once + k * cost.each
            known = {"backend": name, "k": k, "measured": at}
            slices.append(known | {"ms": round(whole, 4), "shown": text.milliseconds(whole)})
            prompts.append(known | {"ms": round(whole / k, 4), "shown": text.milliseconds(whole / k)})
    return slices, prompts, list(dict.fromkeys(names))


def _gains(view: View, cells: Sequence[Cell]) -> list[tuple[Cell, Gain]]:
    found = []
    for cell, cost in _costs(view, cells):
        reference = reference_of(cell, cells)
        other = slice_cost(view, reference) if reference and reference is not cell else None
        if other is not None:
            found.append((cell, gain(cost, other)))
    return found


def _in_words(view: View, cells: Sequence[Cell]) -> list[str]:
    said = []
    for cell, found in _gains(view, cells):
        pays = "never pays off" if found == NEVER else f"pays off {in_prompts(found)}"
        said.append(f"{view.variant(cell)} {pays}")
    return said


def _crossings(view: View, cells: Sequence[Cell]) -> Rows:
    rows: Rows = []
    for cell, found in _gains(view, cells):
        k = found.last if found.last is not None else found.first
        if k is not None:
            rows.append({"k": k, "shown": f"{view.variant(cell)}: {in_prompts(found)}"})
    return rows


def _chart(rows: Rows, title: str, logarithmic: bool, named: Named, crossings: Rows) -> Chart:
    colour, dash = dashed("backend", named, BACKEND_COLOURS, 2)
    kind: dict[str, Any] = {"type": "log", "base": 2} if logarithmic else {}
    domain = alt.Scale(**kind, nice=False, domain=[1 if logarithmic else 0, MOST])
    ticks = [1, 2, 4, 8, 16, 32, 64] if logarithmic else [1, 16, 32, 48, 64]
    axis = alt.Axis(title="prompts of a slice, k", values=ticks, grid=False)
    x = alt.X("k:Q", scale=domain, axis=axis)
    scale = alt.Scale(type="log", nice=True) if logarithmic else alt.Scale(zero=True)
    said = title + (", logarithmic" if logarithmic else "")
    y = alt.Y("ms:Q", scale=scale, axis=alt.Axis(title=said, tickCount=5, grid=not logarithmic))
    tooltip = [alt.Tooltip("backend:N"), alt.Tooltip("k:Q", title="prompts"), alt.Tooltip("shown:N", title="ms")]
    lines = alt.Chart(data([row for row in rows if not row["measured"]])).mark_line(strokeWidth=2.5)
    points = alt.Chart(data([row for row in rows if row["measured"]])).mark_point(filled=True, size=90, opacity=1)
    rules = alt.Chart(data(crossings)).mark_rule(color=GREY, strokeDash=[3, 3])
    return alt.layer(
        rules.encode(x=x, tooltip=alt.Tooltip("shown:N", title="pays off")),
        lines.encode(x=x, y=y, color=colour, strokeDash=dash, tooltip=tooltip),
        points.encode(x=x, y=y, color=colour, tooltip=tooltip),
    )
