"""What learning from pseudo labels costs the UNet, label by label, as a forest plot."""

from __future__ import annotations

import altair as alt

from benchmark.results import SupervisionEffect
from reports import text
from reports.accuracy import MEAN
from reports.choice import most_telling
from reports.looks import (
    GREY,
    GROUPED,
    OTHER_COLOURS,
    SHAPES,
    TWO_LINES,
    Chart,
    Figure,
    Rows,
    Width,
    colours,
    data,
    finish,
)
from reports.view import View

Identity = tuple[str, str, str, str | None]


def supervision(view: View, width: Width) -> Figure | None:
    """A line for each label with the difference weak − full and its interval, for each kind of weak labels."""
    lines: dict[tuple[str, str, str | None], Rows] = {}
    for effect in _first_lanes(view):
        if effect.difference is not None:
            lines.setdefault((effect.task, effect.model, effect.label), []).append(_row(view, effect))
    if not lines:
        return None
    # The mean stands above its labels.
    order = sorted(lines, key=lambda key: (list(lines).index((*key[:2], _first(lines, key[:2]))), key[2] is not None))
    choice = most_telling(
        [lines[key] for key in order], lambda rows: max(abs(row["difference"]) for row in rows), size=len
    )
    rows = [row for rows in choice.shown for row in rows]
    without = sum(row["low"] is None for row in rows)
    lacking = f"; {without} of {len(rows)} have no interval" if without else ""
    return Figure(
        "supervision",
        "supervision",
        f"Weak minus full supervision, with 95 % intervals{choice.note('the largest differences')}",
        "Dice of the UNet that learnt from pseudo labels minus that of the one that learnt from reference labels, with"
        f" 95 % intervals over test cases and a line at 0, by label{lacking}; as in the tables",
        _chart(rows, width),
    )


def _first(lines: dict[tuple[str, str, str | None], Rows], place: tuple[str, str]) -> str | None:
    return next(key[2] for key in lines if key[:2] == place)


def _first_lanes(view: View) -> list[SupervisionEffect]:
    """One lane stands for all, as in the table: backends are compared elsewhere."""
    found: dict[Identity, SupervisionEffect] = {}
    for effect in view.results.supervision:
        found.setdefault((effect.task, effect.model, effect.labels, effect.label), effect)
    return list(found.values())


def _row(view: View, effect: SupervisionEffect) -> dict[str, object]:
    where = ", ".join([effect.task] * view.many_tasks + [effect.model] * view.many_models)
    label = effect.label or MEAN
    low, high = effect.ci95 or (None, None)
    return {
        "what": f"{label}\n{where}" if where else label,
        "labels": text.condition("segment", effect.labels),
        "difference": effect.difference,
        "low": low,
        "high": high,
        "shown": text.difference(effect.difference, 3),
        "interval": text.dice_interval(effect.ci95),
        "weak": text.dice(effect.dice_weak),
        "full": text.dice(effect.dice_full),
        "cases": effect.cases,
    }


def _chart(rows: Rows, width: Width) -> Chart:
    labels = list(dict.fromkeys(row["labels"] for row in rows))
    ends = [row[name] for row in rows for name in ("difference", "low", "high") if row[name] is not None] + [0.0]
    room = 0.06 * (max(ends) - min(ends)) or 0.01
    # Of two or three cases an interval may reach further than a difference of Dice can be.
    domain = alt.Scale(domain=[max(-1.0, min(ends) - room), min(1.0, max(ends) + room)], nice=False, clamp=True)
    x = alt.X("difference:Q", scale=domain, axis=alt.Axis(title="Dice, weak − full (left of 0: lost)", tickCount=5))
    titles = {"labels": "trained on", "shown": "difference", "interval": "95 % interval"}
    titles |= {"weak": "Dice weak", "full": "Dice full", "cases": "test cases"}
    base = alt.Chart(data(rows)).encode(
        y=alt.Y("what:N", sort=None, axis=TWO_LINES, scale=GROUPED),
        yOffset=alt.YOffset("labels:N", sort=labels),
        color=alt.Color("labels:N", scale=colours(labels, OTHER_COLOURS)),
        tooltip=[alt.Tooltip(f"{name}:N", title=title) for name, title in titles.items()],
    )
    shapes = [SHAPES[index % len(SHAPES)] for index in range(len(labels))]
    shape = alt.Shape("labels:N", scale=alt.Scale(domain=labels, range=shapes))
    zero = alt.Chart(data([{"zero": 0}])).mark_rule(strokeDash=[5, 4], color=GREY)
    chart = alt.layer(
        zero.encode(x=alt.X("zero:Q", scale=domain)),
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", scale=domain), x2="high:Q"),
        base.mark_point(filled=True, size=80, opacity=1).encode(x=x, shape=shape),
    )
    places = len({row["what"] for row in rows})
    return finish(chart, width, places * (max(16 * len(labels), 22) + 12))
