"""How charts look: colours that hold on white and on near-black, axes, sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import altair as alt

Rows = list[dict[str, Any]]
Width = int | Literal["container"]
Chart: TypeAlias = "alt.Chart | alt.LayerChart | alt.FacetChart"
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
# Two axis lines, as View.label writes them.
TWO_LINES = alt.Axis(labelExpr="split(datum.label, '\\n')", ticks=False, domain=False, title=None)
GROUPED = alt.Scale(paddingInner=0.25, paddingOuter=0.1)


@dataclass(frozen=True)
class Figure:
    """A chart with the place it belongs to, and what it shows in words; a wide one has a line of its own."""

    key: str
    section: Literal["verdict", "latency", "phases", "dice", "trainings"]
    title: str
    alt: str
    chart: Chart
    wide: bool = False


def data(rows: Rows) -> alt.InlineData:
    """Rows as a chart's own data."""
    return alt.InlineData(values=rows)


def finish(chart: Chart, width: Width, height: float) -> Chart:
    """A chart in the common look, without a background of its own."""
    look: Chart = (
        chart.properties(width=width, height=height, background="transparent")
        .configure(font="system-ui, sans-serif")
        .configure_view(stroke=None)
        .configure_axis(
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
        .configure_axisY(labelLimit=190)
        .configure_legend(
            orient="top", labelColor=GREY, titleColor=GREY, labelFontSize=12, title=None, columns=3, symbolOpacity=1
        )
    )
    return look


def colours(names: Sequence[str], palette: Sequence[str]) -> alt.Scale:
    """A colour for each name, the same for the same names."""
    return alt.Scale(domain=list(names), range=[palette[index % len(palette)] for index in range(len(names))])
