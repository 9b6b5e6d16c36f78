"""When a backend pays off agrees with adding up the cost of every count; each number has the source that it names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.measure.statistics import summarise
from benchmark.measured import WarmUp
from benchmark.results import Cell, Effort, Results
from reports.amortised import (
    NEVER,
    Cost,
    Gain,
    amortised_table,
    gain,
    in_prompts,
    in_slices,
    prompts_per_slice,
    slice_cost,
    start_ms,
)
from reports.chart_amortised import amortised
from reports.charts import specification
from reports.table import Table
from reports.text import ABSENT
from reports.view import View
from tests.reports.chart_data import rows
from tests.reports.report_factory import FAILED, SPLEEN, cell, comparison

# Whole milliseconds add up without rounding, so that brute force decides ties as arithmetic does.
costs = st.builds(Cost, st.integers(0, 60), st.integers(0, 12))
UP_TO = 80


@given(costs, costs)
def test_the_counts_that_pay_off_are_those_that_brute_force_finds(candidate: Cost, reference: Cost) -> None:
    found = gain(candidate, reference)
    for n in range(1, UP_TO):
        within = found.first is not None and found.first <= n and (found.last is None or n <= found.last)
        assert within == (candidate.once + n * candidate.each < reference.once + n * reference.each)


@given(st.floats(0, 1e4), st.floats(0, 1e3), st.floats(0, 1e4), st.floats(0, 1e3))
def test_a_backend_does_not_pay_off_where_the_reference_does(a: float, b: float, c: float, d: float) -> None:
    one, other = gain(Cost(a, b), Cost(c, d)), gain(Cost(c, d), Cost(a, b))
    if one.first is not None and other.first is not None:
        # One ends before the other begins.
        first, second = (one, other) if one.last is not None else (other, one)
        assert first.last is not None and second.first is not None and first.last < second.first


@pytest.mark.parametrize(
    ("candidate", "reference", "found", "prompts", "slices"),
    [
        # 30 + 2k < 60 + 5k for every k.
        (Cost(30, 2), Cost(60, 5), Gain(1, None), "from the first prompt", "from the first slice"),
        # 50 + 2k < 30 + 5k from 20 < 3k.
        (Cost(50, 2), Cost(30, 5), Gain(7, None), "from k = 7 prompts", "from 7 slices"),
        # 30 + 5k < 69 + 2k until 3k < 39: at 13 they are equal.
        (Cost(30, 5), Cost(69, 2), Gain(1, 12), "only up to k = 12", "only up to 12 slices"),
        (Cost(60, 5), Cost(30, 2), NEVER, "never", "never"),
        (Cost(30, 2), Cost(30, 2), NEVER, "never", "never"),
        # 0.1 is above a tenth: three of it are more than 0.3, in fractions as in the machine's numbers.
        (Cost(0.3, 0.0), Cost(0.0, 0.1), Gain(3, None), "from k = 3 prompts", "from 3 slices"),
    ],
)
def test_gains_by_hand(candidate: Cost, reference: Cost, found: Gain, prompts: str, slices: str) -> None:
    assert gain(candidate, reference) == found
    assert (in_prompts(found), in_slices(found)) == (prompts, slices)


def lanes(results: Results, **changes: object) -> Results:
    """Two backends of one condition: 30 slices with 3 prompts each, and 6 ms of preprocessing."""
    effort = Effort(clicks=0.0, boxes=90.0, objects=90)
    slow = {"preprocess": 6.0, "encode": 24.0, "decode": 12.0, "postprocess": 3.0}
    fast = {"preprocess": 6.0, "encode": 44.0, "decode": 3.0, "postprocess": 3.0}
    warm = {"pytorch": summarise([45.0] * 30), "onnxruntime": summarise([56.0] * 30)}
    quick = {"load_ms": 431.0, "first_call_ms": 45.0, "warmup": None}
    values = {
        "pytorch": {"phases_ms": slow, "latency_ms": warm["pytorch"], **quick},
        "onnxruntime": {"phases_ms": fast, "latency_ms": warm["onnxruntime"], **quick} | changes,
    }
    cells = [cell("pseudolabel", SPLEEN, "box", name, effort=effort, **values[name]) for name in values]
    compared = [comparison("pseudolabel", SPLEEN, "box")]
    return results.model_copy(update={"cells": cells, "comparisons": compared})


def texts(table: Table | None) -> list[dict[str, str]]:
    assert table is not None
    return [{c.title: value.text for c, value in zip(table.columns, row, strict=True)} for row in table.rows]


def test_the_decoders_time_is_shared_among_the_prompts_of_a_slice(results: Results) -> None:
    view = View(lanes(results))
    pytorch, onnxruntime = view.results.cells
    assert prompts_per_slice(view, pytorch) == 3
    assert slice_cost(view, pytorch) == Cost(30.0, 5.0)
    assert slice_cost(view, onnxruntime) == Cost(50.0, 2.0)


def test_the_table_says_from_which_prompt_on_and_marks_the_reference(results: Results) -> None:
    reference, candidate = texts(amortised_table(View(lanes(results))))
    assert reference["pays off"] == reference["start pays off"] == "the reference"
    assert candidate["pays off"] == "from k = 7 prompts"
    assert (candidate["once per slice ms"], candidate["each prompt ms"]) == ("50.0", "2.00")


def test_a_start_is_loading_and_what_the_first_passes_took_beyond_a_steady_one() -> None:
    warm = WarmUp(samples_ms=[90.0, 60.0, 50.0, 50.0], steady=True)
    slices = summarise([48.0, 50.0, 52.0])
    one = cell(
        "pseudolabel", SPLEEN, "box", "pytorch", load_ms=400.0, first_call_ms=150.0, warmup=warm, latency_ms=slices
    )
    # Steady: 50. Loading 400, first call 100 more, warm-up 40 + 10 more.
    assert start_ms(one) == pytest.approx(550.0)


def test_a_start_is_never_below_loading_whatever_the_machine_did_meanwhile() -> None:
    """A machine that was busy in its warm passes must not make the start look free, or less than that."""
    warm = WarmUp(samples_ms=[40.0, 30.0], steady=False, reason="ended at its limit")
    slices = summarise([500.0] * 5)
    one = cell(
        "pseudolabel", SPLEEN, "box", "pytorch", load_ms=400.0, first_call_ms=45.0, warmup=warm, latency_ms=slices
    )
    assert start_ms(one) == 400.0
    assert start_ms(one.model_copy(update={"warmup": None})) == 400.0


def test_without_a_first_call_nobody_knows_what_a_start_costs(results: Results) -> None:
    table = amortised_table(View(lanes(results, first_call_ms=None)))
    assert texts(table)[1]["start ms"] == texts(table)[1]["start pays off"] == ABSENT
    assert table is not None and any("first call" in note for note in table.footnotes)


def test_a_dearer_start_pays_off_after_enough_slices(results: Results) -> None:
    # Per slice 45 ms against 56 ms: PyTorch is faster here, so that a cheaper start alone pays, for a while.
    early = lanes(results, load_ms=320.0)
    row = texts(amortised_table(View(early)))[1]
    # 431 − 320 = 111 ms saved once, 11 ms lost with each slice: 10 slices gain.
    assert row["start pays off"] == "only up to 10 slices"


def test_a_reference_that_failed_leaves_a_reason_and_no_gain(results: Results) -> None:
    found = lanes(results)
    broken = found.cells[0].model_copy(update={"status": "failed", "reason": FAILED["reason"], "phases_ms": {}})
    table = amortised_table(View(found.model_copy(update={"cells": [broken, found.cells[1]]})))
    assert [row["pays off"] for row in texts(table)] == [ABSENT]
    assert table is not None and "signal 9" in table.footnotes[0]


def test_a_gain_that_its_comparison_does_not_bear_out_is_marked(results: Results) -> None:
    found = lanes(results)
    unsure = found.comparisons[0].model_copy(update={"verdict": "inconclusive"})
    table = amortised_table(View(found.model_copy(update={"comparisons": [unsure]})))
    assert table is not None and any("inconclusive" in note for note in table.footnotes)
    assert amortised_table(View(found)).footnotes == ()  # type: ignore[union-attr]


def without_effort(cells: list[Cell]) -> list[Cell]:
    return [one.model_copy(update={"effort": None}) for one in cells]


def test_without_effort_there_is_neither_table_nor_chart(results: Results) -> None:
    found = lanes(results)
    view = View(found.model_copy(update={"cells": without_effort(found.cells)}))
    assert amortised_table(view) is None and amortised(view, 480) == ()


def test_the_charts_show_the_same_costs_and_where_the_lines_cross(results: Results) -> None:
    per_slice, per_prompt = amortised(View(lanes(results)), 480)
    assert "ONNX Runtime pays off from k = 7 prompts" in per_slice.alt
    spec = specification(per_slice)
    assert [row["k"] for row in rows(spec, 0)] == [7]
    curve = {(row["backend"], row["k"]): row["ms"] for row in rows(spec, 1)}
    assert curve["PyTorch", 1] == 35 and curve["ONNX Runtime", 64] == 178
    shared = {(row["backend"], row["k"]): row["ms"] for row in rows(specification(per_prompt), 1)}
    assert shared["PyTorch", 8] == pytest.approx(70 / 8)
    assert {row["k"] for row in rows(spec, 2)} == {3.0}
