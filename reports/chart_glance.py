"""The picture of the first screen: how much faster each lane is, how sure that is, and whether the gate passed.

A row has its name and its gate above, its interval and its speedup below, so that it fits a column beside a sentence
and a phone alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from reports.choice import most_telling
from reports.glance import GROUPINGS, Line, lines_by
from reports.looks import GREY, VERDICT_LOOKS, Chart, Figure, Rows, Width, data, finish
from reports.measuring import margins
from reports.text import margin
from reports.view import View

ROOM = 310
"""Pixels for the rows: what the first screen of a laptop has beside the sentence, and of a phone below it."""
STRIP, NAME, GAP = 18, 15, 5
"""Heights of the strip with the interval, of a line of text, and of what sets a row apart from the next."""
NARROWEST, WIDEST = 330, 440
"""Widths on a phone and in Markdown."""
CHARACTER = 6.4
"""Of the chart's font at 12 pixels; wide enough on average."""
BAD = VERDICT_LOOKS["slower"][0]
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
ROUND = [digit * 10.0**power for power in range(-3, 4) for digit in (1, 2, 5)]
TICKS = 6


def glance(view: View, width: Width) -> Figure | None:
    """A row per comparison, or per several where there are many; None where no speed counts."""
    lines, shown = _choose(view)
    if not any(line.speedups for line in shown):
        return None
    baseline = view.only_baseline
    title = f"Speedup over {baseline}" if baseline else "Speedup"
    return Figure(
        "glance",
        "glance",
        title,
        f"{title}. {'; '.join(line.sentence for line in shown)}",
        _draw(view, shown, f"{title[0].lower()}{title[1:]}, ×", width),
        about=" ".join(_about(view, lines, shown)),
    )


def _choose(view: View) -> tuple[Sequence[Line], Sequence[Line]]:
    """The finest rows that there is room for; of the coarsest, if even they are too many, what matters most."""
    lines: Sequence[Line] = ()
    for grouping in GROUPINGS:
        lines = lines_by(view, grouping)
        if sum(map(_height, lines)) <= ROOM:
            return lines, lines
    shown = most_telling(lines, lambda line: line.weight, most=ROOM, size=_height).shown
    # What has a bar gives way to a failed gate, but a picture of words alone is none.
    return lines, shown if any(line.speedups for line in shown) else [*shown[:-1], max(lines, key=_first_to_show)]


def _first_to_show(line: Line) -> float:
    return line.weight if line.speedups and not line.failed else -1.0


def _about(view: View, lines: Sequence[Line], shown: Sequence[Line]) -> list[str]:
    """How to read it, and what it leaves to the table."""
    several = any(len(line.counted) > 1 for line in shown)
    told = ["Thick: range of the speedups; thin: of their 95 % intervals." if several else "With its 95 % interval."]
    if len(found := margins(view)) == 1:
        told.append(f"Shaded: {margin(found[0])}, as fast.")
    if hidden := [line for line in lines if line not in shown]:
        failed = sum(line.failed > 0 for line in hidden)
        told.append(f"And {len(hidden)} more in the table{f', {failed} of them with a failed gate' if failed else ''}.")
    return told


def _name(line: Line) -> list[str]:
    """The name in one line of text, or in two where one has no room beside the gate on a phone."""
    most = int(NARROWEST / CHARACTER) - len(line.gate) - 2
    told = [line.parts[0] if len(line.parts[0]) <= most else f"{line.parts[0][: most - 1]}…"]
    for part in line.parts[1:]:
        if len(told) == 1 and len(told[0]) + len(part) + 2 > most:
            told.append(part)
        else:
            told[-1] += f", {part}"
    return told


def _height(line: Line) -> int:
    return STRIP + GAP + NAME * len(_name(line))


def _draw(view: View, lines: Sequence[Line], title: str, width: Width) -> Chart:
    rows, height = _rows(lines)
    edges = (1 / (1 + found[0]), 1 + found[0]) if len(found := margins(view)) == 1 else None
    drawn = alt.layer(*_bars([row for row in rows if row["speedup"]], edges, title, height), *_texts(rows, height))
    return finish(drawn, width if width == "container" else min(width, WIDEST), height)


def _rows(lines: Sequence[Line]) -> tuple[Rows, int]:
    """What is drawn of each line, with its places in pixels from the top, and the height of all."""
    rows: Rows = []
    height = 0
    for line in lines:
        low, high = line.bounds or (None, None)
        slowest, fastest = (line.speedups[0], line.speedups[-1]) if line.speedups else (None, None)
        rows.append(
            {
                "top": height,
                "middle": height + _height(line) - GAP - STRIP / 2,
                "name": "\n".join(_name(line)),
                "gate": line.gate,
                "bad": line.failed > 0,
                "low": low,
                "high": high,
                "slowest": slowest,
                "fastest": fastest,
                "speedup": line.middle if line.speedups else None,
                "shown": line.speed if line.speedups else line.instead,
                "verdict": line.verdict if line.speedups else None,
                "all": line.sentence,
            }
        )
        height += _height(line)
    return rows, height


def _bars(bars: Rows, edges: tuple[float, float] | None, title: str, height: int) -> list[alt.Chart]:
    """Intervals, ranges and points on a logarithmic axis, on which twice and half as fast are equally far from 1."""
    ends = [row[key] for row in bars for key in ("low", "high", "slowest", "fastest") if row[key]]
    ends += [1.0, *(edges or ())]
    room = max(1.01, (max(ends) / min(ends)) ** 0.04)
    domain = (min(ends) / room, max(ends) * room)
    # The speedups stand right of the axis.
    numbers = CHARACTER * max(len(row["shown"]) for row in bars) + 12
    scale = alt.Scale(type="log", nice=False, domain=list(domain), range=[0, {"expr": f"width - {numbers:.0f}"}])
    axis = alt.Axis(title=title, grid=False, values=_ticks(*domain), format="~g", titleFontSize=11, labelFontSize=11)
    colour, shape = _looks(bars)

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", scale=scale, axis=axis)

    def strips(**places: float) -> alt.Chart:
        rows = [places | {"above": row["middle"] - 8, "below": row["middle"] + 8} for row in bars]
        drawn: alt.Chart = alt.Chart(data(rows)).encode(_y("above", height), alt.Y2("below"))
        return drawn

    base = alt.Chart(data(bars)).encode(_y("middle", height), tooltip=alt.Tooltip("all:N", title=" "))
    band = []
    if edges:
        whole = strips(start=edges[0], end=edges[1])
        band = [whole.mark_rect(color=GREY, opacity=0.22).encode(x("start"), alt.X2("end"))]
    return [
        *band,
        strips(one=1.0).mark_rule(strokeDash=[4, 3], color=GREY).encode(x("one")),
        base.mark_rule(strokeWidth=2).encode(x("low"), alt.X2("high"), color=colour),
        base.mark_rule(strokeWidth=7, opacity=0.55).encode(x("slowest"), alt.X2("fastest"), color=colour),
        base.mark_point(filled=True, size=95, opacity=1).encode(x("speedup"), color=colour, shape=shape),
    ]


def _looks(bars: Rows) -> tuple[alt.Color, alt.Shape]:
    named = [verdict for verdict in VERDICT_LOOKS if any(row["verdict"] == verdict for row in bars)]
    hues, shapes = zip(*(VERDICT_LOOKS[verdict] for verdict in named), strict=True)
    legend = alt.Legend(columns=4, labelFontSize=11, offset=8, padding=0)
    return (
        alt.Color("verdict:N", scale=alt.Scale(domain=named, range=list(hues)), legend=legend),
        alt.Shape("verdict:N", scale=alt.Scale(domain=named, range=list(shapes)), legend=legend),
    )


def _y(field: str, height: int) -> alt.Y:
    return alt.Y(f"{field}:Q", scale=alt.Scale(domain=[height, 0], nice=False, zero=False), axis=None)


def _texts(rows: Rows, height: int) -> list[alt.Chart]:
    """Name and gate above, the speedup at the right below; words where there is none."""

    def texts(some: Rows, place: str, field: str, **looks: Any) -> alt.Chart:
        right = looks.get("align") == "right"
        mark = alt.Chart(data(some)).mark_text(fontSize=12, **{"color": GREY, "align": "left"} | looks)
        drawn: alt.Chart = mark.encode(_y(place, height), x=alt.value("width" if right else 0), text=f"{field}:N")
        return drawn

    above: dict[str, Any] = {"baseline": "top", "lineBreak": "\n", "limit": {"expr": "width"}}
    parts: list[tuple[Rows, str, str, dict[str, Any]]] = [
        (rows, "top", "name", above),
        ([row for row in rows if not row["bad"]], "top", "gate", {"baseline": "top", "align": "right"}),
        ([row for row in rows if row["bad"]], "top", "gate", {"baseline": "top", "align": "right", "color": BAD}),
        ([row for row in rows if row["speedup"]], "middle", "shown", {"align": "right", "fontWeight": "bold"}),
        ([row for row in rows if not row["speedup"]], "middle", "shown", {"color": BAD}),
    ]
    return [texts(some, place, field, **{"baseline": "middle"} | looks) for some, place, field, looks in parts if some]


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two ratios, 1 always among them."""
    for step in STEPS:
        if (high - low) / step <= TICKS:
            found = [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
            return [round(one, 2) for one in found]
    return [one for one in ROUND if low <= one <= high]
