"""What is said of how it was measured: the margin, the harness's own share, the machine."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from benchmark.measure.statistics import paired_speedup, verdict
from benchmark.measured import Seconds
from benchmark.results import Comparison, Results
from reports.measuring import harness_line, margin_sentences, seconds_table
from reports.summary import summarize
from reports.table import Table, Value
from reports.view import View
from tests.reports.measured_factory import BUSY, CALIBRATION
from tests.reports.report_factory import SPLEEN, cell, comparison

Said = Callable[..., str]


def column(table: Table, title: str) -> list[Value]:
    """All values of a column."""
    index = next(index for index, column in enumerate(table.columns) if column.title == title)
    return [row[index] for row in table.rows]


@pytest.fixture
def said(results: Results) -> Said:
    """What the caption says of the margin, of given comparisons."""

    def of(*compared: Comparison, **changes: object) -> str:
        return " ".join(margin_sentences(View(results.model_copy(update={"comparisons": list(compared), **changes}))))

    return of


def test_the_edges_in_the_caption_are_those_that_decide_a_verdict(said: Said) -> None:
    words = said(comparison("pseudolabel", SPLEEN, "box"))
    assert "beyond the margin of ±2 % (0.980× to 1.020×)" in words
    # As wide below 1 as above it in ratios: 1 / 1.05, not 1 − 0.05.
    assert "±5 % (0.952× to 1.050×)" in said(comparison("pseudolabel", SPLEEN, "box", margin=0.05))
    # Half a thousandth inside and outside of what is printed.
    assert [verdict((low, 1.5)) for low in (1.0195, 1.0205)] == ["inconclusive", "faster"]
    assert [verdict((0.5, high)) for high in (0.9809, 0.9799)] == ["inconclusive", "slower"]


def test_a_margin_that_calibration_widened_says_so_and_why(said: Said) -> None:
    wide = comparison("pseudolabel", SPLEEN, "box", margin=0.031)
    assert f"asked for ±2 %; the margin is wider: this machine tells nothing finer apart ({CALIBRATION})" in said(wide)
    assert "asked for" not in said(comparison("pseudolabel", SPLEEN, "box"))
    assert said(wide, calibration=None).endswith("asked for ±2 %; the margin is wider.")
    assert "asked for" not in said(wide, spec={"measure": None})


def test_comparisons_with_margins_of_their_own_show_them_in_a_column(results: Results) -> None:
    compared = [comparison("pseudolabel", SPLEEN, "box", margin=0.05), comparison("pseudolabel", SPLEEN, "point")]
    cells = [cell("pseudolabel", SPLEEN, prompt, b) for prompt in ("box", "point") for b in ("pytorch", "onnxruntime")]
    found = summarize(results.model_copy(update={"comparisons": compared, "cells": cells})).verdicts
    assert [value.text for value in column(found, "margin")] == ["±5 %", "±2 %"]
    assert "beyond its margin" in found.about


def test_an_older_run_without_a_margin_says_what_its_verdicts_meant(said: Said) -> None:
    words = said(comparison("pseudolabel", SPLEEN, "box", margin=None))
    assert words == "This run recorded no margin; faster and slower say on which side of 1 the whole interval lies."
    assert said() == ""


def test_an_inconclusive_row_tells_what_would_settle_it(results: Results) -> None:
    times = [1.0, 1.1, 0.93, 1.02] * 6
    found = paired_speedup(times, times[1:] + times[:1])
    assert found.verdict == "inconclusive"
    unclear = comparison(
        "pseudolabel", SPLEEN, "box", found.ratio, ci95=found.ci95, verdict=found.verdict, reason=found.reason
    )
    cells = [cell("pseudolabel", SPLEEN, "box", backend) for backend in ("pytorch", "onnxruntime")]
    (value,) = column(
        summarize(results.model_copy(update={"comparisons": [unclear], "cells": cells})).verdicts, "verdict at ±2 %"
    )
    assert (value.text, value.note) == ("? inconclusive", found.reason)
    assert "more pairs would settle it" in (value.note or "")


def test_the_shares_of_harness_and_parent_are_worked_out_by_hand(results: Results) -> None:
    table = seconds_table(View(results))
    assert table is not None
    # 240 s of which 235.2 s busy; 1.2 s of 235.2 s.
    shares = {row[0].text.split(":")[0].split(",")[0]: row[2].text for row in table.rows}
    assert shares["workers computed"] == "98.0 % of the measuring"
    assert shares["the harness's own"] == "2.0 % of the measuring"
    assert shares["the parent's CPU while workers computed"] == "0.51 % of one core"
    assert [row[1].text for row in table.rows[-3:]] == ["12 s", "3.4 s", "21 s"]
    assert harness_line(View(results)) == (
        "Measuring took 4 min 0 s; in 2.0 % of it no worker computed, and the parent used 0.51 % of one core while they"
        " did."
    )


@pytest.mark.parametrize(
    ("wall", "busy"), [(0.0, 0.0), (math.inf, 1.0), (math.nan, 1.0), (1.0, math.nan), (1.0, math.inf)]
)
def test_seconds_that_make_no_share_are_not_shown(results: Results, wall: float, busy: float) -> None:
    view = View(results.model_copy(update={"measuring": Seconds.model_construct(wall=wall, busy=busy, parent_cpu=0.1)}))
    assert seconds_table(view) is None and harness_line(view) is None


def test_a_worker_that_was_busy_all_the_time_leaves_the_harness_nothing_and_not_less(results: Results) -> None:
    view = View(results.model_copy(update={"measuring": Seconds(wall=10.0, busy=10.001, parent_cpu=0.0)}))
    assert "in 0 % of it no worker computed" in (harness_line(view) or "")
    table = seconds_table(view)
    # What was not recorded has no row.
    assert table is not None and len(table.rows) == 4
    assert table.rows[1][2].text == "100 % of the measuring"


def test_a_busy_machine_is_a_caveat_and_stands_in_the_environment_once(results: Results) -> None:
    found = summarize(results)
    assert sum(BUSY in caveat for caveat in found.verdict.caveats) == 1
    facts = {row[0].text: row[1] for row in found.environment.rows}
    assert facts["other processes"] == Value(BUSY, tone="doubt")
    assert (facts["frequency governor"].text, facts["calibration"].text) == ("powersave", CALIBRATION)
    assert "driver" not in facts
    gpu = results.environment.model_copy(update={"gpu": "Example H100", "driver": "580.1, CUDA 13.0", "busy": None})
    facts = {row[0].text: row[1] for row in summarize(results.model_copy(update={"environment": gpu})).environment.rows}
    assert facts["driver"].text == "580.1, CUDA 13.0" and "other processes" not in facts
