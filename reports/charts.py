"""The charts, as Vega-Lite: interactive in HTML, PNG files for Markdown.

Colour never carries meaning alone: shape, position or a label says the same.
"""

from __future__ import annotations

from typing import Any

import altair as alt

from reports.chart_accuracy import dice, loss
from reports.chart_effort import effort
from reports.chart_speed import latency, phases, speedup
from reports.looks import Figure, Width
from reports.view import View


def vega_lite_version() -> str:
    """The version that the specifications are written for, as vl-convert names it."""
    return ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def figures(view: View, width: Width = "container") -> tuple[Figure, ...]:
    """Every chart that the run has data for."""
    found = [speedup(view, width)]
    for make in (latency, phases):
        found += [make(view, stage, width) for stage in view.stages]
    found += effort(view, width)
    found += [dice(view, stage, width) for stage in view.stages]
    found.append(loss(view, width))
    return tuple(figure for figure in found if figure)


def specification(figure: Figure) -> dict[str, Any]:
    """The chart as Vega-Lite JSON, without the schema's address, which nothing needs to look up."""
    spec: dict[str, Any] = figure.chart.to_dict()
    spec.pop("$schema", None)
    return spec


def png(figure: Figure) -> bytes:
    """The chart as a picture on white, readable on any page."""
    import vl_convert

    spec = figure.chart.properties(background="white", padding=12).to_dict()
    picture: bytes = vl_convert.vegalite_to_png(spec, vl_version=vega_lite_version(), scale=2)
    return picture
