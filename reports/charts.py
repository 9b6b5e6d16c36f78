"""The charts, as Vega-Lite: interactive in HTML, PNG files for Markdown.

Colour never carries meaning alone: shape, position or a label says the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode

from reports.chart_accuracy import dice, loss
from reports.chart_amortised import amortised
from reports.chart_drift import drift
from reports.chart_ecdf import latency
from reports.chart_effort import effort
from reports.chart_glance import glance
from reports.chart_pareto import pareto
from reports.chart_speed import phases, speedup
from reports.chart_start import start
from reports.chart_supervision import supervision
from reports.looks import Figure, Width
from reports.view import View


def vega_lite_version() -> str:
    """The version that the specifications are written for, as vl-convert names it."""
    return ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def figures(view: View, width: Width = "container") -> tuple[Figure, ...]:
    """Every chart that the run has data for, in the order of the report."""
    # Checking each part of a chart takes longer than making it; the tests check whole charts.
    with debug_mode(False):
        found = [glance(view, width), speedup(view, width), *pareto(view, width)]
        found += [latency(view, stage, width) for stage in view.stages]
        found += drift(view, width)
        found += [phases(view, stage, width) for stage in view.stages]
        found += [start(view, width), *amortised(view, width), *effort(view, width)]
        found += [dice(view, stage, width) for stage in view.stages]
        found += [supervision(view, width), loss(view, width)]
    return tuple(figure for figure in found if figure)


def principal(drawn: Sequence[Figure]) -> tuple[Figure, ...]:
    """The first of each kind of chart, for pictures: each takes half a second, however small it is."""
    found: dict[str, Figure] = {}
    for figure in drawn:
        found.setdefault(re.sub(r"-\d+$", "", figure.key), figure)
    return tuple(found.values())


def specification(figure: Figure) -> dict[str, Any]:
    """The chart as Vega-Lite JSON, without the schema's address, which nothing needs to look up."""
    # Not validated, see `figures`.
    spec: dict[str, Any] = figure.chart.to_dict(validate=False)
    spec["datasets"] = {name: records.rows for name, records in spec.get("datasets", {}).items()}
    spec.pop("$schema", None)
    return spec


def png(figure: Figure) -> bytes:
    """The chart as a picture on white, readable on any page."""
    import vl_convert

    spec = specification(figure) | {"background": "white", "padding": 12}
    picture: bytes = vl_convert.vegalite_to_png(spec, vl_version=vega_lite_version(), scale=2)
    return picture
