"""Charts of time: speedup with its interval, and where the time goes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from benchmark.results import Cell, Comparison
from reports import text
from reports.choice import most_telling
from reports.looks import (
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
from reports.placement import Align
from reports.speed import WORDS
from reports.view import Outcome, View

COMPARISONS = 30
"""More would be taller than a screen."""
BARS = 24
NAME_ROOM = 1.6
"""How much longer than the longest bar the axis of phases is."""


def _change(compared: Sequence[tuple[Comparison, Outcome]]) -> float:
    """The largest change of time, in either direction."""
    return max(abs(math.log(one.speedup)) if one.speedup else 0.0 for one, _ in compared)


def speedup(view: View, width: Width) -> Figure | None:
    """A point and its interval per comparison, beside the line of no change and the margin around it."""
    groups: dict[tuple[str | None, ...], list[tuple[Comparison, Outcome]]] = {}
    for comparison in view.results.comparisons:
        outcome = view.outcome(comparison)
        if outcome in VERDICT_LOOKS and comparison.speedup is not None:
            place = (comparison.stage, comparison.task, comparison.model, comparison.prompt)
            groups.setdefault(place, []).append((comparison, outcome))
    choice = most_telling(list(groups.values()), _change, most=COMPARISONS, size=len)
    rows = [_speedup_row(view, comparison, outcome) for group in choice.shown for comparison, outcome in group]
    if not rows:
        return None
    conditions, each = len({row["what"] for row in rows}), len({row["compared"] for row in rows})
    return Figure(
        "speedup",
        "verdict",
        f"Speedup with its 95 % interval{choice.note('the largest changes; all are in the table')}",
        "Speedup of each comparison with its 95 % interval beside a line at 1×"
        f"{' and the margin around it' if len(margins(view)) == 1 else ''}, as in the table",
        finish(_speedup_layers(rows, margins(view)), width, conditions * max(54, 30 * each + 8)),
    )


def _speedup_row(view: View, comparison: Comparison, outcome: Outcome) -> dict[str, Any]:
    low, high = comparison.ci95 or (None, None)
    compared = _compared(view, comparison)
    return {
        "what": view.label(comparison, stage=True),
        "compared": compared,
        "speedup": comparison.speedup,
        "low": low,
        "high": high,
        "shown": f"{text.speedup(comparison.speedup)} {compared}".rstrip(),
        "interval": text.interval(comparison.ci95),
        "verdict": WORDS[outcome][0].split(" ", 1)[1],
        "pairs": comparison.pairs,
    }


def _compared(view: View, comparison: Comparison) -> str:
    """What is compared, where the run has several; the baseline only if that is not always the same."""
    if view.compared(comparison) is None:
        return ""
    candidate, baseline = view.sides(comparison)
    same = len({one.baseline for one in view.results.comparisons}) == 1
    device = f" {comparison.device}" if view.many_devices else ""
    return (candidate if same else f"{candidate} / {baseline}") + device


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
    compared = list(dict.fromkeys(row["compared"] for row in rows))
    offset = [alt.YOffset("compared:N", sort=compared)] if len(compared) > 1 else []
    y = alt.Y("what:N", sort=None, axis=TWO_LINES, scale=GROUPED if offset else alt.Undefined)
    base = alt.Chart(data(rows)).encode(y, *offset, tooltip=tooltip)
    # A name beside a point near an edge goes inwards.
    middle = (domain["domain"][0] + domain["domain"][1]) / 2
    named: list[tuple[Rows, Align]] = [(rows, "center")]
    if offset:
        near = [row for row in rows if row["speedup"] <= middle]
        named = [(near, "left"), ([row for row in rows if row["speedup"] > middle], "right")]
    x = alt.X("speedup:Q", scale=domain, axis=axis)
    return alt.layer(
        *_band(edges, domain),
        alt.Chart(data([{"one": 1}])).mark_rule(strokeDash=[5, 4], color=GREY).encode(x=alt.X("one:Q", scale=domain)),
        base.mark_rule(strokeWidth=3).encode(x=alt.X("low:Q", axis=axis), x2=alt.X2("high:Q"), color=colour),
        base.mark_point(filled=True, size=120, opacity=1).encode(x=x, color=colour, shape=shape),
        *(
            alt.Chart(data(some))
            .mark_text(dy=-13, color=GREY, fontSize=12 if align == "center" else 11, align=align)
            .encode(y, *offset, x=x, text=alt.Text("shown:N"))
            for some, align in named
            if some
        ),
    )


def _band(edges: list[float], domain: alt.Scale) -> list[alt.Chart]:
    """What counts as equivalent."""
    if not edges:
        return []
    band = alt.Chart(data([{"from": edges[0], "to": edges[1]}]))
    return [band.mark_rect(color=GREY, opacity=0.18).encode(x=alt.X("from:Q", scale=domain), x2=alt.X2("to:Q"))]


def _phase_ratio(cells: Sequence[Cell]) -> float:
    totals = [sum(cell.phases_ms.values()) for cell in cells]
    return max(totals) / min(totals) if min(totals) > 0 else 0.0


def phases(view: View, stage: str, width: Width) -> Figure | None:
    """Where the time goes: one bar per cell, stacked by phase."""
    known = [cell for cell in view.cells(stage) if cell.status == "ok" and cell.phases_ms]
    if not known:
        return None
    choice = most_telling(list(view.places(known).values()), _phase_ratio, most=BARS, size=len)
    shown = [cell for cells in choice.shown for cell in cells]
    bars: Rows = []
    totals: Rows = []
    for cell in shown:
        named = {"what": view.label(cell), "backend": view.variant(cell)}
        for order, (phase, ms) in enumerate(cell.phases_ms.items()):
            bars.append(named | {"phase": phase, "ms": ms, "order": order, "shown": text.milliseconds(ms)})
        total = sum(cell.phases_ms.values())
        totals.append(named | {"ms": total, "shown": f"{text.milliseconds(total)} {view.variant(cell)}"})
    return Figure(
        f"phases-{stage}",
        "phases",
        f"Phases of {stage}{choice.note('backends furthest apart; all are in the table')}",
        f"Mean milliseconds per slice by phase of {stage}, one bar per backend; the numbers stand in the table",
        finish(_phase_layers(bars, totals), width, len(choice.shown) * 16 + 22 * len(totals)),
    )


def _phase_layers(bars: Rows, totals: Rows) -> Chart:
    backends = list(dict.fromkeys(row["backend"] for row in totals))
    y = alt.Y("what:N", sort=None, axis=TWO_LINES, scale=GROUPED)
    offset = alt.YOffset("backend:N", sort=backends)
    # The names of the backends stand at the ends of the bars.
    room = alt.Scale(domain=[0, NAME_ROOM * max(row["ms"] for row in totals) or 1], nice=False)
    names = list(dict.fromkeys(row["phase"] for row in bars))
    stacked = alt.Chart(data(bars)).mark_bar(height=13)
    ends = alt.Chart(data(totals)).mark_text(align="left", dx=6, color=GREY, fontSize=11)
    return alt.layer(
        stacked.encode(
            y,
            offset,
            x=alt.X("ms:Q", scale=room, axis=alt.Axis(title="mean ms per slice", tickCount=5)),
            color=alt.Color("phase:N", scale=colours(names, OTHER_COLOURS)),
            order=alt.Order("order:Q"),
            tooltip=[alt.Tooltip("backend:N"), alt.Tooltip("phase:N"), alt.Tooltip("shown:N", title="ms per slice")],
        ),
        ends.encode(y, offset, x=alt.X("ms:Q"), text=alt.Text("shown:N")),
    )
