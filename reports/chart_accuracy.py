"""Charts of Dice per label and of the training loss."""

from __future__ import annotations

from statistics import fmean

import altair as alt
import numpy as np

from benchmark.results import Cell
from reports import text
from reports.accuracy import labels_of, numbers
from reports.looks import (
    GROUPED,
    OTHER_COLOURS,
    TWO_LINES,
    Figure,
    Rows,
    Width,
    colours,
    data,
    finish,
)
from reports.view import View


def dice(view: View, stage: str, width: Width) -> Figure | None:
    """Dice per label: the mean over cases and its range, one row per prompt."""
    rows: Rows = [row for cell in view.cells(stage) for row in _dice_rows(view, cell)]
    if not rows:
        return None
    conditions = list(dict.fromkeys(row["condition"] for row in rows))
    variants = list(dict.fromkeys(row["backend"] for row in rows))
    # Backends mostly agree, so that one symbol must be seen through the other.
    shapes = [("circle", "cross", "diamond", "square", "triangle-up")[index % 5] for index in range(len(variants))]
    floor = min(row["low"] for row in rows)
    domain = alt.Scale(domain=[max(0.0, float(np.floor(floor * 10 - 0.5)) / 10), 1.0], nice=False)
    places = len({row["what"] for row in rows})
    tooltip = [alt.Tooltip(f"{name}:N") for name in ("backend", "condition", "mean", "range", "cases")]
    base = alt.Chart(data(rows)).encode(
        y=alt.Y("what:N", sort=None, axis=TWO_LINES, scale=GROUPED),
        yOffset=alt.YOffset("condition:N", sort=conditions),
        color=alt.Color("condition:N", scale=colours(conditions, OTHER_COLOURS)),
        tooltip=tooltip,
    )
    x = alt.X("dice:Q", scale=domain, axis=alt.Axis(title="Dice, mean and range over cases", tickCount=5))
    marks = base.mark_point(size=110, strokeWidth=2, opacity=1, filled=False).encode(
        x=x,
        shape=alt.Shape(
            "backend:N", scale=alt.Scale(domain=variants, range=shapes), legend=alt.Legend(orient="bottom")
        ),
    )
    ranges = base.mark_rule(strokeWidth=2, opacity=0.6).encode(x=alt.X("low:Q", scale=domain), x2="high:Q")
    return Figure(
        f"dice-{stage}",
        "dice",
        f"Dice of {stage}",
        f"Dice of each label in {stage} by {'prompt' if stage == 'pseudolabel' else 'training labels'} and backend,"
        " as in the table",
        finish(alt.layer(ranges, marks), width, places * (24 * len(conditions) + 18)),
    )


def _dice_rows(view: View, cell: Cell) -> Rows:
    rows: Rows = []
    for label in labels_of([cell]):
        if values := numbers(cell.dice_per_case, label):
            rows.append(
                {
                    "what": f"{label}\n{view.label(cell).partition(chr(10))[2]}",
                    "condition": text.condition(cell.stage, cell.prompt),
                    "backend": view.variant(cell) + ("" if cell.status == "ok" else f" ({cell.status})"),
                    "dice": fmean(values),
                    "low": min(values),
                    "high": max(values),
                    "mean": text.dice(fmean(values)),
                    "range": f"{text.dice(min(values))} to {text.dice(max(values))}",
                    "cases": len(values),
                }
            )
    return rows


def loss(view: View, width: Width) -> Figure | None:
    """The training loss over epochs."""
    rows: Rows = []
    for training in view.results.trainings:
        named = ", ".join([training.task, text.condition("segment", training.labels)])
        rows += [{"training": named, "epoch": n, "loss": loss} for n, loss in enumerate(training.loss, 1)]
    if not rows:
        return None
    names = list(dict.fromkeys(row["training"] for row in rows))
    legend = alt.Legend(columns=1, labelLimit=320)
    chart = (
        alt.Chart(data(rows))
        .mark_line(point=len(rows) <= 200)
        .encode(
            x=alt.X("epoch:Q", axis=alt.Axis(title="epoch", tickMinStep=1, grid=False)),
            y=alt.Y("loss:Q", axis=alt.Axis(title="mean training loss", tickCount=5)),
            color=alt.Color("training:N", scale=colours(names, OTHER_COLOURS), legend=legend),
            strokeDash=alt.StrokeDash("training:N", legend=legend),
            tooltip=["training:N", "epoch:Q", alt.Tooltip("loss:Q", format=".4~g")],
        )
    )
    return Figure(
        "loss",
        "trainings",
        "Training loss",
        "Mean training loss over epochs, a line per training",
        finish(chart, width, 220),
    )
