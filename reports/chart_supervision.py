"""Weak against full supervision: what learning from pseudo labels cost in Dice, label by label."""

from __future__ import annotations

from typing import Any

import altair as alt

from benchmark.results import SupervisionEffect
from reports import text
from reports.accuracy import MEAN
from reports.choice import most_telling
from reports.looks import GREY, TWO_LINES, VERDICT_LOOKS, Chart, Figure, Rows, Width, data, finish
from reports.view import View

ROWS = 26
LOOKS = {
    "above 0": VERDICT_LOOKS["faster"],
    "below 0": VERDICT_LOOKS["slower"],
    "contains 0": VERDICT_LOOKS["equivalent"],
    "no interval": VERDICT_LOOKS["inconclusive"],
}


def supervision(view: View, width: Width) -> Figure | None:
    """A point and its interval for each pair of trainings and label, beside the line of no difference."""
    choice = most_telling(_on_one_backend(view), lambda effect: abs(effect.difference or 0.0), most=ROWS)
    rows = [_row(view, effect) for effect in choice.shown]
    if not rows:
        return None
    return Figure(
        "supervision",
        "supervision",
        "Weak minus full supervision: difference of Dice with its 95 % interval"
        f"{choice.note('the largest differences; all are in the table')}",
        "Dice of the UNet trained on pseudo labels minus that of the one trained on reference labels, for each label"
        " with the 95 % interval over test cases, beside a line at 0; as in the table",
        _chart(rows, width),
    )


def _on_one_backend(view: View) -> list[SupervisionEffect]:
    """The known effects on the first lane that has them, the reference's: backends are compared elsewhere."""
    found: dict[tuple[str | None, ...], SupervisionEffect] = {}
    for effect in view.results.supervision:
        found.setdefault((effect.task, effect.model, effect.labels, effect.label), effect)
    return [effect for effect in found.values() if text.is_number(effect.difference)]


def _row(view: View, effect: SupervisionEffect) -> dict[str, Any]:
    where = [text.condition("segment", effect.labels), *[effect.task] * view.many_tasks]
    where += [effect.model] * (len({one.model for one in view.results.supervision}) > 1)
    low, high = effect.ci95 or (None, None)
    return {
        "what": f"{effect.label or MEAN}\n{', '.join(where)}",
        "difference": effect.difference,
        "low": low,
        "high": high,
        "interval": text.dice_interval(effect.ci95),
        "shown": text.difference(effect.difference, 3),
        "says": _says(effect.ci95),
        "cases": effect.cases,
        "weak": text.dice(effect.dice_weak),
        "full": text.dice(effect.dice_full),
    }


def _says(ci95: tuple[float, float] | None) -> str:
    if ci95 is None:
        return "no interval"
    return "below 0" if ci95[1] < 0 else "above 0" if ci95[0] > 0 else "contains 0"


def _chart(rows: Rows, width: Width) -> Chart:
    said = [name for name in LOOKS if any(row["says"] == name for row in rows)]
    hues, shapes = zip(*(LOOKS[name] for name in said), strict=True)
    legend = alt.Legend(title="95 % interval", titleFontWeight="normal", titleFontSize=12, columns=4)
    colour = alt.Color("says:N", scale=alt.Scale(domain=said, range=list(hues)), legend=legend)
    shape = alt.Shape("says:N", scale=alt.Scale(domain=said, range=list(shapes)), legend=legend)
    ends = [0.0, *(row[name] for row in rows for name in ("difference", "low", "high") if row[name] is not None)]
    room = 0.06 * (max(ends) - min(ends)) or 0.01
    scale = alt.Scale(domain=[min(ends) - room, max(ends) + room], nice=False)
    x = alt.X("difference:Q", scale=scale, axis=alt.Axis(title="Dice, weak minus full", tickCount=5, format="+.2~f"))
    y = alt.Y("what:N", sort=None, axis=TWO_LINES)
    titles = {"what": "of", "shown": "difference", "interval": "95 % interval", "weak": "Dice weak"}
    titles |= {"full": "Dice full", "cases": "test cases"}
    tooltip = [alt.Tooltip(f"{name}:N", title=title) for name, title in titles.items()]
    points = alt.Chart(data(rows)).mark_point(filled=True, size=100, opacity=1)
    known = alt.Chart(data([row for row in rows if row["low"] is not None])).mark_rule(strokeWidth=2)
    zero = alt.Chart(data([{"zero": 0}])).mark_rule(strokeDash=[5, 4], color=GREY)
    chart = alt.layer(
        zero.encode(x=alt.X("zero:Q", scale=scale)),
        points.encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip),
        known.encode(x=alt.X("low:Q", scale=scale), x2=alt.X2("high:Q"), y=y, color=colour),
    )
    return finish(chart, width, 38 * len(rows))
