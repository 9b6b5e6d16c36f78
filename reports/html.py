"""The report as one HTML page that asks no server for anything."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from benchmark.files import write_text_atomically
from benchmark.results import Results
from reports import gallery
from reports.charts import figures, specification, vega_lite_version
from reports.summary import summarize
from reports.view import View

REPORT_FILE = "report.html"


def write_html(results: Results, run_dir: Path) -> Path:
    """Writes report.html and returns its path."""
    path = run_dir / REPORT_FILE
    write_text_atomically(path, render(results, run_dir))
    return path


def render(results: Results, run_dir: Path) -> str:
    """The page as text; pictures are read from `run_dir`."""
    drawn = figures(View(results))
    environment = Environment(
        loader=PackageLoader("reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        summary=summarize(results),
        figures=drawn,
        specs=embedded_json({figure.key: specification(figure) for figure in drawn}),
        plates=gallery.plates(results.pictures, run_dir),
        legend=gallery.legend(results.pictures),
        script=_chart_script() if drawn else "",
        style=_own_text(environment, "report.css"),
    )


def embedded_json(value: Any) -> Markup:
    """JSON that is safe inside a script element: no text in it can end the element or start another."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    # Every one of these characters stands inside a JSON string, where its escape means the same.
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704


@cache
def _chart_script() -> Markup:
    """Vega, Vega-Lite and vegaEmbed, once for all charts. They are always the same, and bundling takes a second."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=vega_lite_version())
    return Markup(bundle.replace("</script", "<\\/script"))  # noqa: S704


def _own_text(environment: Environment, name: str) -> Markup:
    assert environment.loader is not None  # noqa: S101
    source, _, _ = environment.loader.get_source(environment, name)
    return Markup(source)  # noqa: S704
