"""How a run was measured: the margin of its verdicts, and where the time of measuring went."""

from __future__ import annotations

import math

from reports.table import Column, Table, Value, keys
from reports.text import duration, margin, percent, sentence, speedup
from reports.view import View


def margins(view: View) -> tuple[float, ...]:
    """The margins that the run's verdicts rest on, the narrowest first; none where an older run recorded none."""
    return tuple(sorted({c.margin for c in view.results.comparisons if c.margin is not None}))


def margin_sentences(view: View) -> list[str]:
    """What the verdicts' words mean, and why the margin is wider than the one asked for."""
    found = margins(view)
    if not view.results.comparisons:
        return []
    if not found:
        return ["This run recorded no margin; faster and slower say on which side of 1 the whole interval lies."]
    # As wide below 1 as above it in logarithms: benchmark.measure.statistics.verdict.
    band = f"{margin(found[0])} ({speedup(1 / (1 + found[0]))} to {speedup(1 + found[0])})"
    named = f"the margin of {band}" if len(found) == 1 else "its margin"
    words = (
        f"Faster and slower mean that the whole interval lies beyond {named}, equivalent that it lies within;"
        " otherwise it is inconclusive."
    )
    return [words, *_widened(view, found)]


def _widened(view: View, found: tuple[float, ...]) -> list[str]:
    asked = view.measure_setting("margin")
    if not isinstance(asked, (int, float)) or found[-1] <= asked:
        return []
    calibration = view.results.calibration
    why = f": this machine tells nothing finer apart ({calibration})" if calibration else ""
    return [f"The specification asked for {margin(asked)}; the margin is wider{why}."]


def harness_share(view: View) -> float | None:
    """Of the wall time of measuring, the share in which no worker computed; None where it was not recorded."""
    seconds = view.results.measuring
    if seconds is None or not (math.isfinite(seconds.wall) and math.isfinite(seconds.busy)) or seconds.wall <= 0:
        return None
    return max(0.0, 1 - seconds.busy / seconds.wall)


def parent_share(view: View) -> float | None:
    """Of one core, what the parent process used while workers computed; None where it was not recorded."""
    seconds = view.results.measuring
    if seconds is None or not seconds.busy > 0:
        return None
    return seconds.parent_cpu / seconds.busy


def harness_line(view: View) -> str | None:
    """What measuring itself cost, in a sentence."""
    seconds, own, parent = view.results.measuring, harness_share(view), parent_share(view)
    if seconds is None or own is None:
        return None
    waiting = f", and the parent used {percent(parent, 2)} of one core while they did" if parent is not None else ""
    took = duration(seconds.wall)
    return sentence(f"Measuring took {took}; in {percent(own, 2)} of it no worker computed{waiting}")


def seconds_table(view: View) -> Table | None:
    """Where the time of all measurements together went."""
    seconds, own, parent = view.results.measuring, harness_share(view), parent_share(view)
    if seconds is None or own is None:
        return None
    wall, core = "of the measuring", "of one core"
    rows = [
        ("measuring, from the first turn to the last", seconds.wall, ""),
        ("workers computed: warm-up, turns, offline passes", seconds.busy, f"{percent(min(1.0, 1 - own))} {wall}"),
        ("the harness's own, pauses between turns included", own * seconds.wall, f"{percent(own, 2)} {wall}"),
    ]
    if parent is not None:
        rows.append(("the parent's CPU while workers computed", seconds.parent_cpu, f"{percent(parent, 2)} {core}"))
    beside = (
        ("starting workers, loading models", seconds.starting),
        ("reading volumes, deriving prompts", seconds.data),
        ("scoring, pictures, label files", seconds.scoring),
    )
    # A part that was not recorded is 0.
    rows += [(what, took, "not part of the measuring") for what, took in beside if took > 0]
    return Table(
        key="measuring",
        title="What measuring took",
        columns=(*keys("what"), Column("time"), Column("share", "text")),
        rows=tuple((Value(what), Value(duration(took)), Value(share)) for what, took, share in rows),
        about="Of all measurements together; a resumed run counts each case once.",
    )
