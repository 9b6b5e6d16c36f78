"""The chart of Dice against annotation effort."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import altair as alt
import numpy as np

from reports import text
from reports.accuracy import MEAN
from reports.choice import most_telling
from reports.lineup import KINDS, Lineup, Strategy, main_lineups, whereabouts
from reports.looks import GREY, Chart, Figure, Rows, Width, data, finish
from reports.placement import Box, place_names
from reports.view import View

HEIGHT = 380
FIGURES = 4
# What a page of variable width gives a chart at least; names are placed for that.
LEAST_WIDTH = 470
# Strategies closer than this share of the axis stand side by side, so that one sees whose labels are whose.
APART = 0.022
KEY = "small: its labels; dashed: the best for an effort or less"
LOOKS = {
    "box": ("#3d8fd1", "square"),
    "point": ("#e07a3f", "circle"),
    "box+point": ("#8f72d8", "diamond"),
    "iterative": ("#3fa36b", "triangle-up"),
}


def effort(view: View, width: Width) -> tuple[Figure, ...]:
    """A chart for each task and model with strategies to compare."""
    choice = most_telling(main_lineups(view), lambda lineup: len(lineup.measured), most=FIGURES)
    found, note = choice.shown, choice.note("the most strategies; all are in the tables")
    return tuple(
        Figure(
            "effort" if number == 1 else f"effort-{number}",
            "dice",
            f"Dice against effort{f' – {where}' if where else ''} ({KEY}){note}",
            "Dice of each prompt strategy against its clicks per object and slice, as in the table by prompt strategy;"
            f" {KEY}",
            finish(_layers(lineup, LEAST_WIDTH if isinstance(width, str) else width), width, HEIGHT),
            wide=True,
        )
        for number, (lineup, where) in enumerate(zip(found, whereabouts(found), strict=True), 1)
    )


def side_by_side(efforts: list[float], step: float) -> list[float]:
    """Sorted efforts, those within a step of one another spread around their middle by that step."""
    places: list[float] = []
    while len(places) < len(efforts):
        first = len(places)
        end = first + 1
        while end < len(efforts) and efforts[end] - efforts[end - 1] < step:
            end += 1
        group = efforts[first:end]
        middle = (group[0] + group[-1]) / 2
        places += [middle + step * (index - (len(group) - 1) / 2) for index in range(len(group))]
    return places


def _rows(lineup: Lineup, places: list[float]) -> tuple[Rows, Rows]:
    """A row for each strategy, and one for each of its labels."""
    means, labels = [], []
    for strategy, place in zip(lineup.measured, places, strict=True):
        means.append(_row(strategy, MEAN, strategy.dice, place))
        found = [(label, strategy.label_dice(label)) for label in lineup.labels]
        labels += [_row(strategy, label, value, place) for label, value in found if value is not None]
    return means, labels if len(lineup.labels) > 1 else []


def _row(strategy: Strategy, label: str, value: float | None, place: float) -> dict[str, object]:
    return {
        "strategy": strategy.name,
        "kind": strategy.kind,
        "label": label,
        "dice": value,
        "place": round(place, 4),
        "shown": text.dice(value),
        "effort": text.significant(strategy.effort, 2),
        "clicks": text.significant(strategy.clicks, 2),
        "boxes": text.significant(strategy.boxes, 2),
    }


def _layers(lineup: Lineup, width: int) -> Chart:
    efforts = [strategy.effort or 0.0 for strategy in lineup.measured]
    most = max(efforts) * 1.08
    places = side_by_side(efforts, APART * most)
    means, labels = _rows(lineup, places)
    floor = max(0.0, float(np.floor(min(row["dice"] for row in means + labels) * 10 - 0.5)) / 10)
    _name_places(means, Frame(most, floor, width))
    beside = "; equal efforts stand side by side" if places != efforts else ""
    title = f"clicks per object and slice, a box counting as two{beside}"
    axis = alt.Axis(title=title, tickMinStep=1, grid=False)
    x = alt.X("place:Q", scale=alt.Scale(domain=[0, most], nice=False), axis=axis)
    y = alt.Y("dice:Q", scale=alt.Scale(domain=[floor, 1], nice=False), axis=alt.Axis(title="Dice", tickCount=6))
    return alt.layer(_frontier(means, most).encode(x=x, y=y), *_marks(means, labels, x, y))


@dataclass(frozen=True)
class Frame:
    """The domain of the axes on the pixels of the chart."""

    most: float
    floor: float
    width: int

    def at(self, row: dict[str, Any]) -> tuple[float, float]:
        """A row's pixels from the upper left corner."""
        return row["place"] / self.most * self.width, (1 - row["dice"]) / (1 - self.floor) * HEIGHT


def _name_places(means: Rows, frame: Frame) -> None:
    """Writes into each row where its name goes: off the points, the other names and the steps of the best Dice."""
    steps = [frame.at(row) for row in _steps(means, frame.most)]
    lines = [Box(x, y - 2, after, y + 2) for (x, y), (after, _) in pairwise(steps)]
    lines += [Box(x - 2, min(y, end), x + 2, max(y, end)) for (_, y), (x, end) in pairwise(steps)]
    spots = place_names([frame.at(r) for r in means], [r["strategy"] for r in means], (frame.width, HEIGHT), lines)
    for row, spot in zip(means, spots, strict=True):
        row.update(dx=spot.dx, dy=spot.dy, align=spot.align)


def _steps(means: Rows, most: float) -> Rows:
    """The best Dice for an effort or less, up to the end of the axis."""
    best = list(accumulate((row["dice"] for row in means), max))
    steps = [{"place": row["place"], "dice": value} for row, value in zip(means, best, strict=True)]
    return [*steps, {"place": most, "dice": best[-1]}]


def _frontier(means: Rows, most: float) -> alt.Chart:
    line: alt.Chart = alt.Chart(data(_steps(means, most))).mark_line(
        interpolate="step-after", strokeDash=[4, 4], strokeWidth=1.5, color=GREY, opacity=0.7
    )
    return line


def _marks(means: Rows, labels: Rows, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """Faint points of the labels, then the strategies and their names."""
    kinds = [kind for kind in KINDS if any(row["kind"] == kind for row in means)]
    hues, forms = zip(*(LOOKS[kind] for kind in kinds), strict=True)
    legend = alt.Legend(columns=len(KINDS))
    colour = alt.Color("kind:N", scale=alt.Scale(domain=kinds, range=list(hues)), legend=legend)
    shape = alt.Shape("kind:N", scale=alt.Scale(domain=kinds, range=list(forms)), legend=legend)
    titles = {"strategy": "strategy", "label": "label", "shown": "Dice"}
    titles |= {"effort": "effort", "clicks": "clicks", "boxes": "boxes"}
    tooltip = [alt.Tooltip(f"{name}:N", title=title) for name, title in titles.items()]

    def points(rows: Rows, size: int, opacity: float) -> alt.Chart:
        marks = alt.Chart(data(rows)).mark_point(filled=True, size=size, opacity=opacity)
        chart: alt.Chart = marks.encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip)
        return chart

    dx, dy, align = (alt.ExprRef(expr=f"datum.{name}") for name in ("dx", "dy", "align"))
    names = alt.Chart(data(means)).mark_text(fontSize=11, color=GREY, baseline="middle", dx=dx, dy=dy, align=align)
    # A name that stands apart has a line to its point.
    apart = alt.Chart(data([row for row in means if row["dy"] and row["align"] != "center"]))
    leaders = apart.mark_rule(color=GREY, strokeWidth=1, x2Offset=dx, y2Offset=dy).encode(
        x=x, x2=alt.X2("place:Q"), y=y, y2=alt.Y2("dice:Q")
    )
    return [
        points(labels, 26, 0.32),
        leaders,
        points(means, 130, 1),
        names.encode(x=x, y=y, text=alt.Text("strategy:N")),
    ]
