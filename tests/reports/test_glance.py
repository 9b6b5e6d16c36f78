"""The picture of the first screen stays small, hides no failed gate, and gives way to a sentence if it has no bar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from altair import LayerChart
from altair.utils.schemapi import validate_jsonschema

from benchmark.results import Cell, Comparison, Results
from reports.chart_glance import NARROWEST, ROOM, glance
from reports.charts import figures, png, specification
from reports.html import render as html_of
from reports.markdown import escape
from reports.markdown import render as markdown_of
from reports.summary import summarize
from reports.verdict import judge
from reports.view import View
from tests.reports.report_factory import BELOW, FAILED, HOSTILE, SPLEEN, cell, comparison


def run_of(base: Results, cells: Sequence[Cell], compared: Sequence[Comparison]) -> Results:
    return base.model_copy(update={"cells": list(cells), "comparisons": list(compared), "pictures": []})


def pair(prompt: str, speedup: float | None = 2.0, task: str = SPLEEN, **changes: Any) -> tuple[list[Cell], Comparison]:
    """ONNX Runtime against PyTorch, of which the comparison may be changed."""
    both = [cell("pseudolabel", task, prompt, backend) for backend in ("pytorch", "onnxruntime")]
    return both, comparison("pseudolabel", task, prompt, speedup, **changes)


def lanes(base: Results, number: int, failing: Sequence[int] = ()) -> Results:
    """So many backends in one stage, each of its own speed, of which some fail the gate."""
    cells = [cell("pseudolabel", SPLEEN, "box", "pytorch")]
    compared = []
    for n in range(number):
        bad = n in failing
        changes: dict[str, Any] = {"status": "invalid", "reason": BELOW, "dice": 0.5} if bad else {}
        cells.append(cell("pseudolabel", SPLEEN, "box", f"backend{n:03}", **changes))
        gate: dict[str, Any] = {"gate": "fail", "reason": BELOW} if bad else {}
        compared.append(comparison("pseudolabel", SPLEEN, "box", 1.1 + n / 50, candidate=f"backend{n:03}", **gate))
    return run_of(base, cells, compared)


def drawn(results: Results) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The specification, and the row of each line drawn."""
    figure = glance(View(results), "container")
    assert figure is not None
    spec = specification(figure)
    rows: dict[int, dict[str, Any]] = {}
    for found in spec["datasets"].values():
        rows |= {row["top"]: row for row in found if "name" in row}
    return spec, [rows[top] for top in sorted(rows)]


def test_a_row_says_name_speedup_interval_and_gate(results: Results) -> None:
    cells, compared = pair("box", 2.31)
    more, slower = pair("point", 0.8, verdict="slower")
    _, (first, second) = drawn(run_of(results, cells + more, [compared, slower]))
    assert (first["name"], first["gate"], first["shown"]) == ("pseudolabel, box", "gate ✓", "2.31×")
    assert (first["low"], first["high"]) == pytest.approx((2.25, 2.38))
    assert (first["verdict"], second["verdict"], second["shown"]) == ("faster", "slower", "0.80×")


def test_the_axis_is_logarithmic_and_holds_1_every_interval_and_the_margin(results: Results) -> None:
    cells, compared = pair("box", 0.5, verdict="slower", margin=0.02)
    spec, (row,) = drawn(run_of(results, cells, [compared]))
    scales = [layer["encoding"]["x"] for layer in spec["layer"] if "scale" in layer["encoding"]["x"]]
    low, high = scales[0]["scale"]["domain"]
    assert all(one["scale"] == scales[0]["scale"] and one["scale"]["type"] == "log" for one in scales)
    assert low < row["low"] and high > 1.02 and 1 in scales[0]["axis"]["values"]
    (band,) = (layer for layer in spec["layer"] if layer["mark"]["type"] == "rect")
    (shaded,) = spec["datasets"][band["data"]["name"]]
    assert (shaded["start"], shaded["end"]) == pytest.approx((1 / 1.02, 1.02))


def test_a_verdict_has_a_shape_and_a_word_and_a_gate_a_sign_and_not_a_colour_alone(results: Results) -> None:
    run = lanes(results, 3, failing=[1])
    spec, rows = drawn(run)
    (points,) = (layer for layer in spec["layer"] if layer["mark"]["type"] == "point")
    assert points["encoding"]["shape"]["field"] == points["encoding"]["color"]["field"] == "verdict"
    assert points["encoding"]["shape"]["legend"] == points["encoding"]["color"]["legend"]
    assert [row["gate"] for row in rows] == ["gate ✓", "gate ✗", "gate ✓"]


@pytest.mark.parametrize(
    ("backend", "status", "word"),
    [
        ("onnxruntime", "failed", "✗ failed"),
        ("onnxruntime", "skipped", "– skipped"),
        ("pytorch", "failed", "✗ failed (PyTorch)"),
    ],
)
def test_a_lane_without_a_speed_has_a_word_in_the_place_of_its_bar(
    results: Results, backend: str, status: str, word: str
) -> None:
    cells, compared = pair("box")
    more, lost = pair("point", None, gate="fail")
    broken = [one.model_copy(update=FAILED | {"status": status}) if one.backend == backend else one for one in more]
    _, (_, row) = drawn(run_of(results, cells + broken, [compared, lost]))
    assert (row["shown"], row["gate"], row["speedup"], row["low"]) == (word, "no gate", None, None)


def test_a_backend_below_the_gate_has_no_bar_however_fast_it_is(results: Results) -> None:
    _, rows = drawn(lanes(results, 2, failing=[1]))
    assert rows[1]["shown"] == "✗ gate failed, so no speed" and rows[1]["speedup"] is None
    assert "1.12" not in "".join(map(str, rows[1].values()))


@pytest.mark.parametrize("number", [9, 24, 200])
def test_of_many_lanes_no_more_are_drawn_than_fit_and_the_others_are_counted(results: Results, number: int) -> None:
    run = lanes(results, number)
    spec, rows = drawn(run)
    figure = glance(View(run), "container")
    assert figure is not None and spec["height"] <= ROOM
    assert f"And {number - len(rows)} more in the table." in figure.about
    # The largest changes are those that are shown.
    assert {row["name"].split(",")[0] for row in rows} == {f"backend{n:03}" for n in range(number - len(rows), number)}


def test_a_failed_gate_is_never_crowded_out(results: Results) -> None:
    _, rows = drawn(lanes(results, 200, failing=[3, 77]))
    assert [row["name"].split(",")[0] for row in rows if row["bad"]] == ["backend003", "backend077"]


def test_more_failed_gates_than_there_is_room_for_are_counted_beside_a_bar(results: Results) -> None:
    run = lanes(results, 60, failing=range(50))
    _, rows = drawn(run)
    figure = glance(View(run), "container")
    shown = sum(row["bad"] for row in rows)
    assert shown == len(rows) - 1
    assert figure is not None and f"{50 - shown} of them with a failed gate" in figure.about


def test_many_prompts_and_tasks_share_a_row_that_tells_the_range_and_every_failed_gate(results: Results) -> None:
    cells: list[Cell] = []
    compared = []
    for task in (SPLEEN, HOSTILE):
        for n in range(12):
            both, one = pair(f"points{n}", 1.5 + n / 10, task)
            if (task, n) == (HOSTILE, 3):
                both[1] = both[1].model_copy(update={"status": "invalid", "dice": 0.1, "reason": BELOW})
                one = one.model_copy(update={"gate": "fail", "reason": BELOW})
            cells += both
            compared.append(one)
    _, (row,) = drawn(run_of(results, cells, compared))
    assert (row["name"], row["gate"], row["shown"]) == ("pseudolabel", "gate ✗ in 1 of 24", "1.50–2.60×")
    assert (row["low"], row["high"]) == pytest.approx((1.5 - 0.06, 2.6 + 0.07))
    assert "faster in 23, gate failed in 1 of 24" in row["all"]


def test_a_range_is_of_what_ran_and_says_so(results: Results) -> None:
    cells, compared = [], []
    for n in range(12):
        both, one = pair(f"points{n}", 2.0)
        if n == 0:
            both[1] = both[1].model_copy(update=FAILED)
            one = one.model_copy(update={"speedup": None, "ci95": None, "gate": "fail"})
        cells += both
        compared.append(one)
    _, (row,) = drawn(run_of(results, cells, compared))
    assert row["gate"] == "gate ✓, 11 of 12 ran"


def test_a_speed_without_an_interval_has_a_point_and_no_bar(results: Results) -> None:
    cells, compared = pair("box", 1.3, verdict="inconclusive", ci95=None)
    _, (row,) = drawn(run_of(results, cells, [compared]))
    assert (row["low"], row["speedup"]) == (None, 1.3) and "no interval" in row["all"]


def test_names_keep_inside_a_phone_beside_their_gate(results: Results) -> None:
    cells, compared = pair("a-prompt-of-a-very-long-name", 2.0, HOSTILE)
    more, other = pair("box", 2.0)
    _, rows = drawn(run_of(results, cells + more, [compared, other]))
    for row in rows:
        first, *rest = row["name"].split("\n")
        assert 6 * (len(first) + len(row["gate"])) < NARROWEST and len(rest) <= 1
    assert HOSTILE in rows[0]["name"]


def test_without_a_speed_that_counts_a_sentence_stands_for_the_picture(results: Results, tmp_path: Path) -> None:
    cells, compared = pair("box", None, gate="fail")
    cells[1] = cells[1].model_copy(update=FAILED)
    unmeasured = run_of(results, cells, [compared])
    runs = {
        "nothing was compared": run_of(results, cells[:1], []),
        "of 1 comparison none has a speed that counts (1 not measured)": unmeasured,
        "of 2 comparisons none has a speed that counts (2 failed the gate)": lanes(results, 2, failing=[0, 1]),
    }
    for why, run in runs.items():
        assert glance(View(run), "container") is None
        said = f"No picture of speedups: {why}."
        assert judge(View(run)).no_picture == said
        page = html_of(run, tmp_path)
        assert said in page and 'id="chart-glance"' not in page
        assert said in markdown_of(summarize(run), ()).replace("\\", "")


def test_the_picture_stands_before_how_sure_what_to_keep_in_mind_and_prose(results: Results, run_dir: Path) -> None:
    verdict = summarize(results).verdict
    assert verdict.no_picture == "" and verdict.sure and verdict.found and verdict.caveats
    page = html_of(results, run_dir).replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">")
    text = markdown_of(summarize(results), figures(View(results), 640))
    headline, last = verdict.headline, verdict.found[-1]
    for shown, first, picture, mind in (
        (page, headline, 'id="chart-glance"', '<aside class="mind"'),
        (text, escape(headline), "(report-charts/glance.png)", "**Keep in mind:**"),
    ):
        places = [shown.index(part) for part in (first, picture, "How sure:", mind, last)]
        assert places == sorted(places)


def test_its_words_are_there_for_those_who_do_not_see_it(results: Results, run_dir: Path) -> None:
    figure = glance(View(results), "container")
    assert figure is not None and "2.24× [2.18, 2.31], faster" in figure.alt and "gate ✗ in 1 of 2" in figure.alt
    page = html_of(results, run_dir)
    assert page.count(figure.alt) == 2 and 'role="img" aria-label="Speedup over PyTorch.' in page


@pytest.mark.parametrize("number", [1, 30])
def test_it_keeps_to_the_schema_and_is_a_picture_for_markdown(results: Results, number: int) -> None:
    run = lanes(results, number, failing=[0] if number > 1 else [])
    figure = glance(View(run), 640)
    assert figure is not None
    spec = specification(figure)
    validate_jsonschema(spec | {"datasets": {}}, LayerChart._schema, LayerChart._rootschema)
    assert png(figure).startswith(b"\x89PNG")
    for row in (row for found in spec["datasets"].values() for row in found):
        assert all(math.isfinite(value) for value in row.values() if isinstance(value, float))
