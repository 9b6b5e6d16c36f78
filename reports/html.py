"""The report as one HTML page that asks no server for anything."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from benchmark.cache import cached_text
from benchmark.files import write_text_atomically
from benchmark.results import Results
from reports import gallery
from reports.charts import figures, specification, vega_lite_version
from reports.export_data import tables_of
from reports.html_table import column_style, markup
from reports.raw_samples import pack
from reports.summary import Summary, summarize
from reports.view import View

REPORT_FILE = "report.html"


def write_html(results: Results, run_dir: Path, summary: Summary | None = None) -> Path:
    """Writes report.html and returns its path; `summary` spares computing it once more."""
    path = run_dir / REPORT_FILE
    with without_collections():
        text = render(results, run_dir, summary)
    write_text_atomically(path, text)
    return path


@contextmanager
def without_collections() -> Iterator[None]:
    """Nothing is collected meanwhile: hundreds of thousands of new values hold no cycles, and each look costs time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def render(results: Results, run_dir: Path, summary: Summary | None = None) -> str:
    """The page as text; pictures are read from `run_dir`."""
    drawn = figures(View(results))
    summary = summary or summarize(results)
    environment = Environment(
        loader=PackageLoader("reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        summary=summary,
        show=markup,
        hashes=_hashes(results),
        samples=embedded_json(pack(results.cells).as_json()),
        figures=drawn,
        specs=embedded_json({figure.key: specification(figure) for figure in drawn}),
        gallery=gallery.gallery(results.pictures, run_dir),
        legend=gallery.legend(results.pictures),
        script=_chart_script() if drawn else "",
        style=_own_text(environment, "report.css") + Markup(column_style(_most_columns(summary))),  # noqa: S704
        behaviour=_own_text(environment, "report.js"),
    )


def _hashes(results: Results) -> str:
    """The hashes of checkpoints, exports and scans in full, a line each."""
    lines = [f"{t.checkpoint_sha256}  {t.task} {t.model} {t.labels} labels" for t in results.trainings]
    for artifact in results.artifacts:
        if artifact.weights_sha256:
            lines.append(f"{artifact.weights_sha256}  weights of {artifact.model} {artifact.precision}")
        lines += [f"{sha256}  {artifact.folder}/{file}" for file, sha256 in artifact.files.items()]
    lines += [f"{task.data_sha256}  scans and labels of {task.name}" for task in results.tasks if task.data_sha256]
    return "\n".join(dict.fromkeys(lines))


def _most_columns(summary: Summary) -> int:
    return max((len(table.columns) for table in tables_of(summary)), default=0)


def embedded_json(value: Any) -> Markup:
    """JSON that is safe inside a script element: no text in it can end the element or start another."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    # Every one of these characters stands inside a JSON string, where its escape means the same.
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704


@cache
def _chart_script() -> Markup:
    """Vega, Vega-Lite and vegaEmbed, once for all charts. They are always the same, and bundling takes two seconds."""
    name = f"vega-{vega_lite_version()}-{version('vl-convert-python')}.js"
    return Markup(cached_text(name, _bundle).replace("</script", "<\\/script"))  # noqa: S704


def _bundle() -> str:
    import vl_convert

    text: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=vega_lite_version())
    return text


def _own_text(environment: Environment, name: str) -> Markup:
    assert environment.loader is not None  # noqa: S101
    source, _, _ = environment.loader.get_source(environment, name)
    return Markup(source)  # noqa: S704
