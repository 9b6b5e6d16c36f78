"""Charts of times show the samples that were measured: their distribution, their course, and what came before them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.results import Results
from reports.chart_drift import drift
from reports.chart_ecdf import latency, order_statistics
from reports.chart_start import start
from reports.charts import specification
from reports.drift import course
from reports.view import View
from tests.reports.chart_data import rows
from tests.reports.report_factory import SPLEEN, cell

times = st.lists(st.floats(0.01, 1e5), min_size=1, max_size=400)


@given(times, st.integers(2, 50))
def test_a_thinned_distribution_keeps_both_ends_and_says_the_true_share(samples: list[float], most: int) -> None:
    found = order_statistics(samples, most)
    assert len(found) <= most
    assert found[-1] == (max(samples), 1.0)
    if len(samples) > 1:
        assert found[0][0] == min(samples)
    for ms, share in found:
        # Of equal samples the first one's share is fewer than those that are no longer.
        assert (
            sum(one < ms for one in samples) / len(samples) < share <= sum(one <= ms for one in samples) / len(samples)
        )


def test_a_distribution_by_hand() -> None:
    assert order_statistics([3.0, 1.0, 2.0, 9.0], 200) == [(1.0, 0.25), (2.0, 0.5), (3.0, 0.75), (9.0, 1.0)]


def test_each_curve_goes_from_nothing_to_all_within_the_row_of_its_condition(results: Results) -> None:
    figure = latency(View(results), "pseudolabel", 480)
    assert figure is not None
    curves = rows(specification(figure), 1)
    assert max(row["y"] for row in curves) == pytest.approx(0.84)
    for line in {row["line"] for row in curves}:
        places = [row["y"] for row in curves if row["line"] == line]
        assert places == sorted(places) and places[-1] - places[0] == pytest.approx(0.84)
        assert len(places) <= 201


def test_the_latency_chart_tells_backends_apart_by_dash_and_names_conditions_that_hold_markup(results: Results) -> None:
    figure = latency(View(results), "pseudolabel", 480)
    assert figure is not None
    spec = specification(figure)
    assert len({tuple(dash) for dash in spec["layer"][1]["encoding"]["strokeDash"]["scale"]["range"]}) == 2
    assert "<script>" in spec["layer"][1]["encoding"]["y"]["axis"]["labelExpr"]


def test_an_invalid_cell_shows_no_latency(results: Results) -> None:
    figure = latency(View(results), "segment", 480)
    assert figure is not None
    invalid = [one for one in results.cells if one.stage == "segment" and one.status != "ok"]
    assert len(invalid) == 1
    shown = {row["line"] for row in rows(specification(figure), 1)}
    assert len(shown) == sum(one.stage == "segment" for one in results.cells) - 1


def test_steady_samples_do_not_drift() -> None:
    found = course([20.0] * 100)
    assert found is not None and found.spread == 0


def test_a_step_is_a_drift_of_its_height_and_a_single_outlier_is_none() -> None:
    step = course([100.0] * 50 + [110.0] * 50)
    assert step is not None and step.spread == pytest.approx(0.1)
    outlier = course([100.0] * 50 + [900.0] + [100.0] * 50)
    assert outlier is not None and outlier.spread == 0


def test_too_few_samples_have_no_course() -> None:
    assert course([1.0] * 19) is None
    assert course([1.0] * 20) is not None
    assert course([0.0] * 30) is None


@given(st.lists(st.floats(1, 1e3), min_size=20, max_size=300), st.floats(0.5, 100))
def test_drift_does_not_depend_on_the_unit_of_time(samples: list[float], factor: float) -> None:
    one, other = course(samples), course([factor * ms for ms in samples])
    assert one is not None and other is not None
    assert other.spread == pytest.approx(one.spread, rel=1e-9, abs=1e-12)


@given(st.lists(st.floats(1, 1e3), min_size=20, max_size=300))
def test_a_rolling_median_is_the_median_of_its_neighbours(samples: list[float]) -> None:
    found = course(samples)
    assert found is not None
    half = max(5, len(samples) // 20) // 2
    middle = np.median(samples)
    for place, value in zip(found.places, found.rolling, strict=True):
        assert value == pytest.approx(np.median(samples[place - half : place + half + 1]) / middle)


def test_both_backends_share_a_panel_and_their_drift_is_said_in_numbers(results: Results) -> None:
    pair = []
    for backend in ("pytorch", "onnxruntime"):
        one = cell("pseudolabel", SPLEEN, "box", backend)
        assert one.latency_ms is not None
        samples = [100.0] * 60 + [125.0] * 60
        pair.append(one.model_copy(update={"latency_ms": one.latency_ms.model_copy(update={"samples": samples})}))
    (figure,) = drift(View(results.model_copy(update={"cells": pair, "comparisons": []})), 480)
    assert "PyTorch: 25 %, ONNX Runtime: 25 %" in figure.alt
    lines = rows(specification(figure), 2)
    assert {row["backend"] for row in lines} == {"PyTorch: 25 %", "ONNX Runtime: 25 %"}
    assert len(rows(specification(figure), 1)) == 2 * 120


def test_loading_has_a_chart_of_its_own_because_it_is_of_a_process_and_not_of_a_slice(results: Results) -> None:
    figure = start(View(results), 480)
    assert figure is not None
    spec = specification(figure)
    bars = rows(spec, 0)
    assert {(row["part"], row["ms"]) for row in bars} == {("loading", 431.0), ("first call", 1302.0)}
    assert "process" in spec["layer"][0]["encoding"]["x"]["axis"]["title"]
    nothing = [one.model_copy(update={"load_ms": None}) for one in results.cells]
    assert start(View(results.model_copy(update={"cells": nothing})), 480) is None
