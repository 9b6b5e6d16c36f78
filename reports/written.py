"""A run's report in its file formats, from one summary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmark.results import Results
from reports.export_data import write_csv, write_json
from reports.html import without_collections, write_html
from reports.markdown import write_markdown
from reports.summary import Summary, summarize

WRITERS = {"html": write_html, "md": write_markdown, "csv": write_csv, "json": write_json}
DEFAULT = ("html", "md")


def write_reports(results: Results, run_dir: Path, formats: Sequence[str] = ()) -> tuple[Summary, dict[str, Path]]:
    """Writes the report in each format.

    Args:
        results: of the run.
        run_dir: its folder.
        formats: keys of `WRITERS`; html and md if there are none.

    Returns:
        The summary that all of them show, and format → the path written.
    """
    with without_collections():
        summary = summarize(results)
        return summary, {one: WRITERS[one](results, run_dir, summary) for one in formats or DEFAULT}
