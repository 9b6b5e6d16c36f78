"""How charts look: colours that hold on white and on near-black, axes, sizes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import altair as alt
from altair.utils.schemapi import debug_mode

Rows = list[dict[str, Any]]
Width = int | Literal["container"]
Chart: TypeAlias = "alt.Chart | alt.LayerChart | alt.FacetChart"
Section = Literal[
    "glance", "verdict", "pareto", "latency", "drift", "phases", "amortised", "dice", "supervision", "trainings",
]  # fmt: skip
GREY = "#858c96"
BACKEND_COLOURS = ("#e07a3f", "#3d8fd1", "#8f72d8", "#3fa36b", "#c0963a", "#d1608f")
# Apart from the backends' colours, so that no phase or prompt is taken for a backend.
OTHER_COLOURS = ("#8f72d8", "#3fa36b", "#c0963a", "#d1608f", "#5aa9b8", "#9aa1ab")
VERDICT_LOOKS = {
    "faster": ("#3fa36b", "triangle-up"),
    "slower": ("#d9534f", "triangle-down"),
    "equivalent": (GREY, "square"),
    "inconclusive": ("#c0963a", "diamond"),
}
SHAPES = ("circle", "cross", "diamond", "square", "triangle-up")
# Not as many as colours, so that the two together tell thirty apart.
DASHES = ([1, 0], [6, 3], [2, 2], [9, 3, 2, 3], [12, 4])
# Times further apart than this factor are drawn on a logarithmic axis.
LOGARITHMIC = 30
# What an axis leaves at its ends for the numbers beside the outermost points, as a share of what it shows.
ROOM = 0.14
# Two axis lines, as View.label writes them.
TWO_LINES = alt.Axis(labelExpr="split(datum.label, '\\n')", ticks=False, domain=False, title=None, labelPadding=6)
GROUPED = alt.Scale(paddingInner=0.25, paddingOuter=0.1)


@dataclass(frozen=True)
class Figure:
    """A chart with the place it belongs to, and what it shows in words; a wide one has a line of its own.

    `about` says under its title how to read it.
    """

    key: str
    section: Section
    title: str
    alt: str
    chart: Chart
    wide: bool = False
    about: str = ""


class Records:
    """Rows that Altair hands on without a look.

    Given as a list it copies every row for every layer and setting, and checks it against its schema: with a thousand
    cells that takes longer than all else in a report.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self._digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def __str__(self) -> str:
        """What the data set is named after; equal rows are one data set."""
        return self._digest


def data(rows: Rows) -> alt.InlineData:
    """Rows as a chart's own data."""
    with debug_mode(False):
        return alt.InlineData(values=Records(rows))  # type: ignore[arg-type]


def finish(chart: Chart, width: Width, height: float) -> Chart:
    """Gives a chart the common look, without a background of its own, and returns it."""
    # Set and not with `properties`, which copies all layers, three times each.
    for name, value in (("width", width), ("height", height), ("background", "transparent"), ("config", _look())):
        chart[name] = value
    return chart


def _look() -> alt.Config:
    axis = alt.AxisConfig(
        labelColor=GREY,
        titleColor=GREY,
        gridColor=GREY,
        gridOpacity=0.22,
        tickColor=GREY,
        domainColor=GREY,
        labelFontSize=12,
        titleFontSize=12,
        titleFontWeight="normal",
    )
    legend = alt.LegendConfig(
        orient="top",
        labelColor=GREY,
        titleColor=GREY,
        labelFontSize=12,
        labelLimit=260,
        title=None,
        columns=3,
        symbolOpacity=1,
        symbolBaseStrokeColor=GREY,
    )
    return alt.Config(
        font="system-ui, sans-serif",
        view=alt.ViewConfig(stroke=None),
        axis=axis,
        axisY=alt.AxisConfig(labelLimit=190),
        legend=legend,
    )


def colours(names: Sequence[str], palette: Sequence[str]) -> alt.Scale:
    """A colour for each name, the same for the same names."""
    return alt.Scale(domain=list(names), range=[palette[index % len(palette)] for index in range(len(names))])


@dataclass(frozen=True)
class Named:
    """What a chart tells apart by colour and by shape or dash.

    Attributes:
        names: as the legend says them.
        places: for each its place among all names of the run, so that a backend looks the same in every chart.
    """

    names: tuple[str, ...]
    places: tuple[int, ...]

    @classmethod
    def of(cls, names: Iterable[str], among: Sequence[str]) -> Named:
        """Names in the order in which they stand among others."""
        chosen = set(names)
        found = [(name, place) for place, name in enumerate(among) if name in chosen]
        return cls(tuple(name for name, _ in found), tuple(place for _, place in found))

    def looks(self, choices: Sequence[Any]) -> alt.Scale:
        """A look for each name."""
        return alt.Scale(domain=list(self.names), range=[choices[place % len(choices)] for place in self.places])


def marked(field: str, named: Named) -> tuple[alt.Color, alt.Shape]:
    """A colour and a shape for each backend, in one legend."""
    colour = alt.Color(f"{field}:N", scale=named.looks(BACKEND_COLOURS))
    return colour, alt.Shape(f"{field}:N", scale=named.looks(SHAPES))


def dashed(field: str, named: Named, palette: Sequence[str], columns: int) -> tuple[alt.Color, alt.StrokeDash]:
    """A colour and a dash for each name, in one legend with so many columns."""
    legend = alt.Legend(columns=columns, symbolType="stroke", symbolSize=420, symbolStrokeWidth=2.5, labelLimit=320)
    colour = alt.Color(f"{field}:N", scale=named.looks(palette), legend=legend)
    return colour, alt.StrokeDash(f"{field}:N", scale=named.looks(DASHES), legend=legend)


def times_scale(
    low: float, high: float, *, from_zero: bool = True, factor: float = LOGARITHMIC
) -> tuple[alt.Scale, str]:
    """A scale for times and what its axis's title has to add.

    An axis from 0 is the honest one for lengths, until it hides all but the slowest.

    Args:
        low: the shortest time.
        high: the longest.
        from_zero: whether lengths are compared; places may begin anywhere.
        factor: from how far apart on the axis is logarithmic.
    """
    if low > 0 and high > factor * low:
        room = (high / low) ** ROOM
        return alt.Scale(type="log", nice=False, domain=[low / room, high * room]), ", logarithmic"
    room = ROOM * (high if from_zero else high - low or high)
    start = 0.0 if from_zero else max(0.0, low - room)
    return alt.Scale(domain=[start, high + room], nice=False), ""
