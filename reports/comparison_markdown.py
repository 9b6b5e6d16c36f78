"""A comparison of two runs as a comment that a CI puts under a change."""

from __future__ import annotations

from reports.comparison import MANY_ROWS, ComparisonSummary
from reports.markdown import escape, folded, table_text


def comparison_markdown(summary: ComparisonSummary) -> str:
    """The page as text: what regressed is in sight, the rest is folded where it is long."""
    mark = "❌" if summary.tone == "bad" else "✅"
    blocks = [f"{mark} **{escape(summary.headline)}**", *map(escape, summary.lines)]
    if summary.offences is not None:
        blocks += ["### What regressed", table_text(summary.offences)]
    every = [table_text(summary.cells)]
    blocks += folded("Every cell", every) if len(summary.cells.rows) > MANY_ROWS else ["### Every cell", *every]
    if summary.differences is not None:
        blocks += folded("What else differs between the runs", [table_text(summary.differences)])
    return "\n\n".join(blocks) + "\n"
