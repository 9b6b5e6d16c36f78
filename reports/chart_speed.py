"""Charts of time: speedup with its interval, latency, and where the time goes."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np

from reports import text
from reports.looks import (
    BACKEND_COLOURS,
    GREY,
    GROUPED,
    OTHER_COLOURS,
    TWO_LINES,
    VERDICT_LOOKS,
    Chart,
    Figure,
    Rows,
    Width,
    colours,
    data,
    finish,
)
from reports.measuring import margins
from reports.speed import WORDS
from reports.view import View

SAMPLES_SHOWN = 60


def speedup(view: View, width: Width) -> Figure | None:
    """A point and its interval per comparison, beside the line of no change and the margin around it."""
    rows: Rows = []
    for comparison in view.results.comparisons:
        outcome = view.outcome(comparison)
        if outcome in VERDICT_LOOKS and comparison.speedup is not None:
            low, high = comparison.ci95 or (None, None)
            # Two lines, because the axis cuts off what is longer than its width.
            compared = (view.compared(comparison) or "").replace(" / ", " /\n")
            rows.append(
                {
                    "what": "\n".join([view.label(comparison, stage=True), *([compared] if compared else [])]),
                    "speedup": comparison.speedup,
                    "low": low,
                    "high": high,
                    "shown": text.speedup(comparison.speedup),
                    "interval": text.interval(comparison.ci95),
                    "verdict": WORDS[outcome][0].split(" ", 1)[1],
                    "pairs": comparison.pairs,
                }
            )
    if not rows:
        return None
    lines = max(1 + str(row["what"]).count("\n") for row in rows)
    return Figure(
        "speedup",
        "verdict",
        "Speedup with its 95 % interval",
        "Speedup of each comparison with its 95 % interval beside a line at 1×"
        f"{' and the margin around it' if len(margins(view)) == 1 else ''}, as in the table",
        finish(_speedup_layers(rows, margins(view)), width, max(40, 24 + 15 * lines) * len(rows)),
    )


def _speedup_layers(rows: Rows, margins: Sequence[float]) -> Chart:
    verdicts = [verdict for verdict in VERDICT_LOOKS if any(row["verdict"] == verdict for row in rows)]
    looks = [VERDICT_LOOKS[verdict] for verdict in verdicts]
    colour = alt.Color("verdict:N", scale=alt.Scale(domain=verdicts, range=[look[0] for look in looks]))
    shape = alt.Shape("verdict:N", scale=alt.Scale(domain=verdicts, range=[look[1] for look in looks]))
    ends = [row[name] for row in rows for name in ("speedup", "low", "high") if row[name] is not None]
    # Of comparisons with margins of their own, no band is everybody's.
    edges = [1 / (1 + margins[0]), 1 + margins[0]] if len(margins) == 1 else []
    ends += edges
    room = 0.08 * (max(*ends, 1.0) - min(*ends, 1.0) + 0.1)
    domain = alt.Scale(domain=[min(*ends, 1.0) - room, max(*ends, 1.0) + room], nice=False)
    axis = alt.Axis(title="speedup, × (above 1: less time)", tickCount=6)
    tooltip = [
        alt.Tooltip(f"{name}:N", title=title)
        for name, title in (("what", "what"), ("shown", "speedup"), ("interval", "95 % interval"), ("pairs", "pairs"))
    ]
    base = alt.Chart(data(rows)).encode(y=alt.Y("what:N", sort=None, axis=TWO_LINES), tooltip=tooltip)
    x = alt.X("speedup:Q", scale=domain, axis=axis)
    return alt.layer(
        *_band(edges, domain),
        alt.Chart(data([{"one": 1}])).mark_rule(strokeDash=[5, 4], color=GREY).encode(x=alt.X("one:Q", scale=domain)),
        base.mark_rule(strokeWidth=3).encode(x=alt.X("low:Q", axis=axis), x2="high:Q", color=colour),
        base.mark_point(filled=True, size=120, opacity=1).encode(x=x, color=colour, shape=shape),
        base.mark_text(dy=-14, color=GREY, fontSize=12).encode(x=x, text="shown:N"),
    )


def _band(edges: list[float], domain: alt.Scale) -> list[alt.Chart]:
    """What counts as equivalent."""
    if not edges:
        return []
    band = alt.Chart(data([{"from": edges[0], "to": edges[1]}]))
    return [band.mark_rect(color=GREY, opacity=0.18).encode(x=alt.X("from:Q", scale=domain), x2="to:Q")]


def latency(view: View, stage: str, width: Width) -> Figure | None:
    """The distribution of samples: ticks, a box of the middle half, a line from the 5th to the 95th percentile."""
    boxes, ticks, names = [], [], []
    for cell in view.cells(stage):
        if cell.status == "ok" and cell.latency_ms and cell.latency_ms.samples:
            named = {"what": view.label(cell), "backend": view.variant(cell)}
            samples = np.asarray(cell.latency_ms.samples)
            values = np.percentile(samples, (5, 25, 50, 75, 95))
            found = {name: float(value) for name, value in zip(("p5", "p25", "p50", "p75", "p95"), values, strict=True)}
            boxes.append(
                named
                | found
                | {"n": len(samples), "most": float(samples.max()), "shown": text.milliseconds(found["p50"])}
            )
            # Order statistics at even steps keep the shape and both ends of thousands of samples.
            steps = np.linspace(0, 1, min(SAMPLES_SHOWN, len(samples)))
            ticks += [named | {"ms": float(f"{value:.5g}")} for value in np.quantile(samples, steps)]
            names.append(view.variant(cell))
    if not boxes:
        return None
    names = list(dict.fromkeys(names))
    conditions = len({box["what"] for box in boxes})
    unit = view.cells(stage)[0].latency_unit
    return Figure(
        f"latency-{stage}",
        "latency",
        f"Latency of {stage}",
        f"Distribution of the milliseconds per {unit} of each backend in {stage}; its percentiles stand in the table",
        finish(_latency_layers(boxes, ticks, names, unit), width, conditions * (24 * len(names) + 16)),
    )


def _latency_layers(boxes: Rows, ticks: Rows, names: list[str], unit: str) -> Chart:
    y = alt.Y("what:N", sort=None, axis=TWO_LINES, scale=GROUPED)
    offset = alt.YOffset("backend:N", sort=names)
    colour = alt.Color("backend:N", scale=colours(names, BACKEND_COLOURS))
    spread = max(row["ms"] for row in ticks) / max(min(row["ms"] for row in ticks), 1e-9)
    # A linear axis from 0 is the honest one, until it hides all but the slowest.
    scale = (
        alt.Scale(type="log", nice=False)
        if spread > 30
        else alt.Scale(domain=[0, 1.18 * max(row["ms"] for row in ticks)], nice=False)
    )
    axis = alt.Axis(title=f"ms per {unit}" + (", logarithmic" if spread > 30 else ""), tickCount=6)
    tooltip: list[alt.Tooltip] = [alt.Tooltip("backend:N"), alt.Tooltip("n:Q", title="samples")]
    tooltip += [
        alt.Tooltip(f"{name}:Q", title=f"{name} ms", format=".4~g") for name in ("p5", "p25", "p50", "p75", "p95")
    ]
    box = alt.Chart(data(boxes)).encode(y=y, yOffset=offset, color=colour, tooltip=tooltip)
    tick = alt.Chart(data(ticks)).encode(y=y, yOffset=offset, color=colour)
    return alt.layer(
        tick.mark_tick(opacity=0.45, thickness=1, size=16).encode(x=alt.X("ms:Q", scale=scale, axis=axis)),
        box.mark_rule(strokeWidth=2).encode(x=alt.X("p5:Q", axis=axis), x2="p95:Q"),
        box.mark_bar(height=7).encode(x=alt.X("p25:Q", axis=axis), x2="p75:Q"),
        box.mark_text(align="left", dx=8, fontSize=11).encode(x=alt.X("most:Q", axis=axis), text="shown:N"),
    )


def phases(view: View, stage: str, width: Width) -> Figure | None:
    """Where the time goes: one bar per cell, stacked by phase."""
    bars: Rows = []
    totals: Rows = []
    for cell in view.cells(stage):
        if cell.status == "ok" and cell.phases_ms:
            what = f"{view.variant(cell)}\n{view.label(cell).replace(chr(10), ', ')}"
            for order, (phase, ms) in enumerate(cell.phases_ms.items()):
                bars.append({"what": what, "phase": phase, "ms": ms, "order": order, "shown": text.milliseconds(ms)})
            total = sum(cell.phases_ms.values())
            totals.append({"what": what, "ms": total, "shown": text.milliseconds(total)})
    if not bars:
        return None
    names = list(dict.fromkeys(row["phase"] for row in bars))
    y = alt.Y("what:N", sort=None, axis=TWO_LINES)
    room = alt.Scale(domain=[0, 1.18 * max(row["ms"] for row in totals) or 1], nice=False)
    tooltip = [alt.Tooltip("phase:N"), alt.Tooltip("shown:N", title="ms per slice")]
    stacked = (
        alt.Chart(data(bars))
        .mark_bar(height=20)
        .encode(
            y=y,
            x=alt.X("ms:Q", scale=room, axis=alt.Axis(title="mean ms per slice", tickCount=6)),
            color=alt.Color("phase:N", scale=colours(names, OTHER_COLOURS)),
            order="order:Q",
            tooltip=tooltip,
        )
    )
    ends = alt.Chart(data(totals)).mark_text(align="left", dx=6, color=GREY, fontSize=11)
    return Figure(
        f"phases-{stage}",
        "phases",
        f"Phases of {stage}",
        f"Mean milliseconds per slice by phase of {stage}, one bar per backend; the numbers stand in the table",
        finish(stacked + ends.encode(y=y, x="ms:Q", text="shown:N"), width, 40 * len(totals)),
    )
