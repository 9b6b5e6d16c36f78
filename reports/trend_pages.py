"""A history as one HTML page that asks no server for anything, and as Markdown with its charts beside it."""

from __future__ import annotations

from pathlib import Path

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from benchmark.files import atomic_path, write_text_atomically
from benchmark.history.trend import Trend
from reports.charts import png, specification, vega_lite_version
from reports.html import embedded_json
from reports.looks import Figure, Width
from reports.markdown import escape, table_text
from reports.trend import condition_name, summarize_trend
from reports.trend_chart import trend_figures

HTML_FILE = "history.html"
MARKDOWN_FILE = "history.md"
CHART_FOLDER = "history-charts"
CHART_WIDTH = 640


def write_trend_html(trend: Trend, folder: Path) -> Path:
    """Writes history.html and returns its path."""
    path = folder / HTML_FILE
    write_text_atomically(path, trend_html(trend))
    return path


def trend_html(trend: Trend) -> str:
    """The page as text."""
    drawn = _figures(trend, "container")
    environment = Environment(
        loader=PackageLoader("reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    assert environment.loader is not None  # noqa: S101 - it was just given
    style, _, _ = environment.loader.get_source(environment, "report.css")
    # Its own text ends no script element.
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=vega_lite_version())
    return environment.get_template("history.html.j2").render(
        summary=summarize_trend(trend),
        figures=drawn,
        specs=embedded_json({one.key: specification(one) for some in drawn.values() for one in some}),
        script=Markup(bundle.replace("</script", "<\\/script")),  # noqa: S704
        style=Markup(style),  # noqa: S704
    )


def write_trend_markdown(trend: Trend, folder: Path) -> Path:
    """Writes history.md and its charts and returns its path."""
    drawn = _figures(trend, CHART_WIDTH)
    for some in drawn.values():
        for figure in some:
            with atomic_path(folder / CHART_FOLDER / f"{figure.key}.png") as temporary:
                temporary.write_bytes(png(figure))
    path = folder / MARKDOWN_FILE
    write_text_atomically(path, trend_markdown(trend, drawn))
    return path


def trend_markdown(trend: Trend, drawn: dict[str, tuple[Figure, ...]]) -> str:
    """The page as text."""
    summary = summarize_trend(trend)
    blocks = [
        f"**{escape(summary.headline)}**",
        *map(escape, summary.lines),
        "## Accepted runs",
        table_text(summary.runs),
    ]
    for name, table in summary.conditions.items():
        blocks += [f"## {escape(name)}", table_text(table)]
        blocks += [f"![{escape(figure.alt)}]({CHART_FOLDER}/{figure.key}.png)" for figure in drawn[name]]
    return "\n\n".join(blocks) + "\n"


def _figures(trend: Trend, width: Width) -> dict[str, tuple[Figure, ...]]:
    return {condition_name(condition): trend_figures(trend, condition, width) for condition in trend.conditions}
