"""Charts of Dice per label and of the training loss."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import altair as alt
import numpy as np

from benchmark.results import Cell
from reports import text
from reports.accuracy import labels_of, numbers
from reports.choice import most_telling
from reports.looks import (
    BACKEND_COLOURS,
    GROUPED,
    OTHER_COLOURS,
    TWO_LINES,
    Chart,
    Figure,
    Named,
    Rows,
    Width,
    colours,
    dashed,
    data,
    finish,
)
from reports.view import View

# With more lines than this a chart outgrows the screen, and there are more prompts than colours.
MANY_LINES = 36
MANY_ROWS = 60
# A line of so many points needs none of them marked.
MANY_POINTS = 200


def _disagreement(cells: Sequence[Cell]) -> float:
    """How far the backends of a condition are apart in Dice."""
    values = [cell.dice for cell in cells if cell.dice is not None]
    return max(values) - min(values) if values else -1.0


def dice(view: View, stage: str, width: Width) -> Figure | None:
    """Dice per label, one line per prompt: the mean over cases and its range; of many, the mean of all labels."""
    choice = most_telling(list(view.places(view.cells(stage)).values()), _disagreement, most=MANY_ROWS, size=len)
    cells = [cell for cells in choice.shown for cell in cells]
    rows: Rows = [row for cell in cells for row in _label_rows(view, cell)]
    if not rows:
        return None
    note = choice.note("backends that disagree most; all are in the table")
    by = "prompt" if stage == "pseudolabel" else "training labels"
    lines = {(row["what"], row["condition"]) for row in rows}
    if len(lines) > MANY_LINES:
        means = [row for cell in cells if (row := _mean_row(view, cell))]
        shown = f"Mean Dice of all labels in {stage} by {by} and backend, with the range of the labels, as in the table"
        chart = _means(means, width)
    else:
        shown = f"Dice of each label in {stage} by {by} and backend, as in the table"
        chart = _per_label(rows, width)
    return Figure(f"dice-{stage}", "dice", f"Dice of {stage}{note}", shown, chart)


def _per_label(rows: Rows, width: Width) -> Chart:
    conditions = list(dict.fromkeys(row["condition"] for row in rows))
    places = len({row["what"] for row in rows})
    colour = alt.Color("condition:N", scale=colours(conditions, OTHER_COLOURS))
    base = alt.Chart(data(rows)).encode(
        y=alt.Y("what:N", sort=None, axis=TWO_LINES, scale=GROUPED),
        yOffset=alt.YOffset("condition:N", sort=conditions),
        color=colour,
        tooltip=_tooltip("range", "cases"),
    )
    # Backends mostly agree, so that one symbol must be seen through the other.
    chart = _marks(base, rows, "Dice, mean and range over cases", filled=False)
    return finish(chart, width, places * (24 * len(conditions) + 18))


def _means(rows: Rows, width: Width) -> Chart:
    backends = list(dict.fromkeys(row["backend"] for row in rows))
    lines = len({row["what"] for row in rows})
    base = alt.Chart(data(rows)).encode(
        y=alt.Y("what:N", sort=None, axis=TWO_LINES, scale=GROUPED),
        yOffset=alt.YOffset("backend:N", sort=backends),
        color=alt.Color("backend:N", scale=colours(backends, BACKEND_COLOURS), legend=alt.Legend(orient="bottom")),
        tooltip=_tooltip("range", "labels"),
    )
    chart = _marks(base, rows, "Dice, mean of all labels and range of the labels", filled=True)
    return finish(chart, width, lines * (14 * len(backends) + 12))


def _tooltip(*more: str) -> list[alt.Tooltip]:
    return [alt.Tooltip(f"{name}:N") for name in ("backend", "condition", "mean", *more)]


def _marks(base: alt.Chart, rows: Rows, title: str, *, filled: bool) -> Chart:
    """A point for each row and a line over its range; the shape tells the backend."""
    backends = list(dict.fromkeys(row["backend"] for row in rows))
    shapes = [("circle", "cross", "diamond", "square", "triangle-up")[index % 5] for index in range(len(backends))]
    floor = min(row["low"] for row in rows)
    domain = alt.Scale(domain=[max(0.0, float(np.floor(floor * 10 - 0.5)) / 10), 1.0], nice=False)
    marks = base.mark_point(size=60 if filled else 110, strokeWidth=2, opacity=1, filled=filled).encode(
        x=alt.X("dice:Q", scale=domain, axis=alt.Axis(title=title, tickCount=5)),
        shape=alt.Shape(
            "backend:N", scale=alt.Scale(domain=backends, range=shapes), legend=alt.Legend(orient="bottom")
        ),
    )
    ranges = base.mark_rule(strokeWidth=2, opacity=0.6).encode(x=alt.X("low:Q", scale=domain), x2=alt.X2("high:Q"))
    return alt.layer(ranges, marks)


def _label_rows(view: View, cell: Cell) -> Rows:
    rows: Rows = []
    where = view.where(cell)
    for label in labels_of([cell]):
        if values := numbers(cell.dice_per_case, label):
            named = {"what": f"{label}\n{where}" if where else label, "cases": len(values)}
            rows.append(_row(view, cell, fmean(values), values) | named)
    return rows


def _mean_row(view: View, cell: Cell) -> dict[str, Any] | None:
    means = [fmean(values) for label in labels_of([cell]) if (values := numbers(cell.dice_per_case, label))]
    if cell.dice is None or not means:
        return None
    return _row(view, cell, cell.dice, means) | {"what": view.label(cell), "labels": len(means)}


def _row(view: View, cell: Cell, mean: float, values: list[float]) -> dict[str, Any]:
    return {
        "condition": text.condition(cell.stage, cell.prompt),
        "backend": view.variant(cell) + ("" if cell.status == "ok" else f" ({cell.status})"),
        "dice": mean,
        "low": min(values),
        "high": max(values),
        "mean": text.dice(mean),
        "range": f"{text.dice(min(values))} to {text.dice(max(values))}",
    }


def loss(view: View, width: Width) -> Figure | None:
    """The training loss over epochs."""
    rows: Rows = []
    choice = most_telling(
        view.results.trainings, lambda one: one.loss[-1] if one.loss else 0.0, most=len(OTHER_COLOURS)
    )
    for training in choice.shown:
        named = ", ".join([training.task, text.condition("segment", training.labels)])
        rows += [{"training": named, "epoch": n, "loss": loss} for n, loss in enumerate(training.loss, 1)]
    if not rows:
        return None
    names = list(dict.fromkeys(row["training"] for row in rows))
    colour, dash = dashed("training", Named.of(names, names), OTHER_COLOURS, 1)
    base = alt.Chart(data(rows)).encode(
        x=alt.X("epoch:Q", axis=alt.Axis(title="epoch", tickMinStep=1, grid=False)),
        y=alt.Y("loss:Q", axis=alt.Axis(title="mean training loss", tickCount=5)),
        color=colour,
        tooltip=[alt.Tooltip("training:N"), alt.Tooltip("epoch:Q"), alt.Tooltip("loss:Q", format=".4~g")],
    )
    points = [base.mark_point(filled=True, size=22, opacity=1)] if len(rows) <= MANY_POINTS else []
    return Figure(
        "loss",
        "trainings",
        f"Training loss{choice.note('the highest at the end')}",
        "Mean training loss over epochs, a line per training",
        finish(alt.layer(base.mark_line(strokeWidth=2).encode(strokeDash=dash), *points), width, 220),
    )
