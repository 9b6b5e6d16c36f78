"""What comes before the first warm slice, once per process: loading and the first call."""

from __future__ import annotations

import altair as alt

from reports import text
from reports.choice import most_telling
from reports.looks import GREY, OTHER_COLOURS, Figure, Rows, Width, colours, data, finish
from reports.view import View
from reports.workers import workers

BARS = 16
PARTS = ("loading", "first call")
# The third line tells workers of one name apart, of which a resumed run may have two, and is not shown.
NUMBERED = alt.Axis(
    labelExpr="slice(split(datum.label, '\\n'), 0, 2)", ticks=False, domain=False, title=None, labelPadding=6
)


def start(view: View, width: Width) -> Figure | None:
    """A bar for each worker; it is of a process and not of a slice, so that it is no phase of one."""
    found = []
    for cell, where in workers(view, lambda cell: (cell.load_ms, cell.first_call_ms)):
        if cell.load_ms is not None and cell.first_call_ms is not None:
            place = ", ".join([cell.stage, *[cell.task] * view.many_tasks, *[cell.model] * view.many_models])
            found.append((f"{where[-1].text}\n{place}", cell.load_ms, cell.first_call_ms))
    if not found:
        return None
    choice = most_telling(found, lambda one: one[1] + one[2], most=BARS)
    bars: Rows = []
    totals: Rows = []
    for number, (what, *parts) in enumerate(choice.shown):
        key = {"what": f"{what}\n{number}", "total": sum(parts)}
        totals.append(key | {"shown": text.milliseconds(sum(parts))})
        for order, (part, ms) in enumerate(zip(PARTS, parts, strict=True)):
            bars.append(key | {"part": part, "ms": ms, "order": order, "shown": text.milliseconds(ms)})
    y = alt.Y("what:N", sort=None, axis=NUMBERED)
    scale = alt.Scale(domain=[0, 1.18 * max(row["total"] for row in totals) or 1], nice=False)
    axis = alt.Axis(title="ms per process, once", tickCount=5)
    stacked = (
        alt.Chart(data(bars))
        .mark_bar(height=16)
        .encode(
            y=y,
            x=alt.X("ms:Q", scale=scale, axis=axis),
            color=alt.Color("part:N", scale=colours(PARTS, OTHER_COLOURS[2:])),
            order=alt.Order("order:Q"),
            tooltip=[alt.Tooltip("part:N"), alt.Tooltip("shown:N", title="ms")],
        )
    )
    ends = alt.Chart(data(totals)).mark_text(align="left", dx=6, color=GREY, fontSize=11)
    return Figure(
        "start",
        "phases",
        f"Before the warm slices, per process{choice.note('the longest; all are in the table')}",
        "Milliseconds of loading and of the first call of each process, as in the table; no part of a slice's time",
        finish(stacked + ends.encode(y=y, x=alt.X("total:Q"), text=alt.Text("shown:N")), width, 40 * len(totals)),
    )
