"""The picture of the first screen: how much faster each lane is, how sure that is, and whether the gate passed.

A row has its name and its gate above, its interval and its speedup below, so that it fits a column beside a sentence
and a phone alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import altair as alt

from reports.choice import most_telling
from reports.glance import GROUPINGS, Line, lines_by, only_baseline
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
    baseline = only_baseline(view)
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
        if len(lines) * _row_height(lines) <= ROOM:
            return lines, lines
    shown = most_telling(lines, lambda line: line.weight, most=int(ROOM / _row_height(lines))).shown
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


def _row_height(lines: Sequence[Line]) -> int:
    return STRIP + GAP + NAME * max((len(_name(line)) for line in lines), default=1)


def _draw(view: View, lines: Sequence[Line], title: str, width: Width) -> Chart:
    height = _row_height(lines)
    rows: Rows = []
    for number, line in enumerate(lines):
        low, high = line.bounds or (None, None)
        rows.append(
            {
                "top": number * height,
                "middle": (number + 1) * height - GAP - STRIP / 2,
                "name": "\n".join(_name(line)),
                "gate": line.gate,
                "bad": line.failed > 0,
                "low": low,
                "high": high,
                "from": line.speedups[0] if line.speedups else None,
                "to": line.speedups[-1] if line.speedups else None,
                "speedup": line.middle if line.speedups else None,
                "shown": line.speed if line.speedups else line.instead,
                "verdict": line.verdict if line.speedups else None,
                "all": line.sentence,
            }
        )
    edges = [1 / (1 + found[0]), 1 + found[0]] if len(found := margins(view)) == 1 else []
    drawn = alt.layer(*_layers(rows, edges, title, len(lines) * height))
    return finish(drawn, width if width == "container" else min(width, WIDEST), len(lines) * height)


def _layers(rows: Rows, edges: list[float], title: str, height: int) -> list[alt.Chart]:
    bars, words = [row for row in rows if row["speedup"]], [row for row in rows if not row["speedup"]]
    named = [verdict for verdict in VERDICT_LOOKS if any(row["verdict"] == verdict for row in bars)]
    looks = [VERDICT_LOOKS[verdict] for verdict in named]
    legend = alt.Legend(columns=4, labelFontSize=11, offset=4, padding=0)
    colour = alt.Color("verdict:N", scale=alt.Scale(domain=named, range=[look[0] for look in looks]), legend=legend)
    shape = alt.Shape("verdict:N", scale=alt.Scale(domain=named, range=[look[1] for look in looks]), legend=legend)
    ends = [row[key] for row in bars for key in ("low", "high", "from", "to") if row[key]] + [1.0, *edges]
    room = (max(ends) / min(ends)) ** 0.04
    domain = [min(ends) / room, max(ends) * room]
    speed_room = CHARACTER * max(len(row["shown"]) for row in bars) + 12
    scale = alt.Scale(type="log", nice=False, domain=domain, range=[0, {"expr": f"width - {speed_room:.0f}"}])
    axis = alt.Axis(title=title, grid=False, values=_ticks(*domain), format="~g", titleFontSize=11, labelFontSize=11)

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", scale=scale, axis=axis)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=alt.Scale(domain=[height, 0], nice=False, zero=False), axis=None)

    def strips(**ends: float) -> Rows:
        return [ends | {"above": row["middle"] - 8, "below": row["middle"] + 8} for row in bars]

    base = alt.Chart(data(bars)).encode(y("middle"), tooltip=alt.Tooltip("all:N", title=" "))
    text = {"fontSize": 12, "color": GREY, "align": "left", "baseline": "middle"}
    every = alt.Chart(data(rows)).encode(tooltip=alt.Tooltip("all:N", title=" "))
    tone = alt.when(alt.datum.bad).then(alt.value(BAD)).otherwise(alt.value(GREY))
    band = alt.Chart(data(strips(**dict(zip(("from", "to"), edges, strict=False)))))
    return [
        *(
            [band.mark_rect(color=GREY, opacity=0.22).encode(x("from"), alt.X2("to"), y("above"), alt.Y2("below"))]
            * bool(edges)
        ),
        alt.Chart(data(strips(one=1.0)))
        .mark_rule(strokeDash=[4, 3], color=GREY)
        .encode(x("one"), y("above"), alt.Y2("below")),
        base.mark_rule(strokeWidth=2).encode(x("low"), alt.X2("high"), color=colour),
        base.mark_rule(strokeWidth=7, opacity=0.55).encode(x("from"), alt.X2("to"), color=colour),
        base.mark_point(filled=True, size=95, opacity=1).encode(x("speedup"), color=colour, shape=shape),
        base.mark_text(**text | {"align": "right", "fontWeight": "bold"}).encode(x=alt.value("width"), text="shown:N"),
        every.mark_text(**text | {"baseline": "top", "lineBreak": "\n", "limit": {"expr": "width"}}).encode(
            y("top"), x=alt.value(0), text="name:N"
        ),
        every.mark_text(**text | {"baseline": "top", "align": "right"}).encode(
            y("top"), x=alt.value("width"), text="gate:N", color=tone
        ),
        *(
            [
                alt.Chart(data(words))
                .mark_text(**text | {"color": BAD})
                .encode(y("middle"), x=alt.value(0), text="shown:N")
            ]
            * bool(words)
        ),
    ]


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two ratios, 1 always among them."""
    for step in STEPS:
        if (high - low) / step <= TICKS:
            found = [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
            return [round(one, 2) for one in found]
    return [one for one in ROUND if low <= one <= high]
