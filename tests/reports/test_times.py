"""Both clocks, what came before the warm times, throughput and the server scenario: none is taken for another."""

from __future__ import annotations

import pytest

from benchmark.measured import Latency, Server, WarmUp
from benchmark.results import Cell, Results
from reports.summary import Summary, summarize
from reports.table import Value
from tests.reports.measured_factory import NOT_STEADY, OVERLOADED, server
from tests.reports.report_factory import HOSTILE, SPLEEN, cell
from tests.reports.test_summary import row


def of(results: Results, *cells: Cell, measure: dict[str, object] | None = None) -> Summary:
    """The summary of given cells alone."""
    update = {"cells": list(cells), "comparisons": [], **({} if measure is None else {"spec": {"measure": measure}})}
    return summarize(results.model_copy(update=update))


def test_the_device_resident_time_stands_beside_the_end_to_end_one(results: Results) -> None:
    both = Latency(p50=340.0, p90=None, p99=None, mean=341.0, samples=[340.0])
    one = cell("pseudolabel", SPLEEN, "box", "pytorch", latency_ms=both, device_latency_ms=both.model_copy())
    alone = one.model_copy(update={"device_latency_ms": both.model_copy(update={"p50": 327.0})})
    found = row(of(results, alone).latency, "box")
    assert (found["p50 ms"].text, found["device p50 ms"].text) == ("340", "327")
    found = row(of(results, one.model_copy(update={"device_latency_ms": None})).latency, "box")
    assert found["device p50 ms"] == Value("–", "this run kept no device-resident clock")


def test_each_percentile_that_is_null_says_what_it_needs_and_not_what_another_needs(results: Results) -> None:
    few = Latency(
        p50=1.0, p90=None, p99=None, mean=1.0, samples=[1.0],
        reason="p90 needs 64 samples, 63 more; p99 needs 662 samples, 661 more",
    )  # fmt: skip
    found = row(of(results, cell("pseudolabel", SPLEEN, "box", "pytorch", latency_ms=few)).latency, "box")
    assert found["p90 ms"].note == "p90 needs 64 samples, 63 more"
    assert found["p99 ms"].note == "p99 needs 662 samples, 661 more"
    # An older run wrote one sentence about both.
    old = few.model_copy(update={"reason": "p90 needs 64 samples and p99 needs 662; there are 1"})
    found = row(of(results, cell("pseudolabel", SPLEEN, "box", "pytorch", latency_ms=old)).latency, "box")
    assert found["p90 ms"].note == found["p99 ms"].note == old.reason


def test_throughput_says_what_it_was_measured_over_and_why_there_is_none(results: Results) -> None:
    found = row(of(results, cell("segment", SPLEEN, "box", "pytorch")).latency, "box labels")
    assert (found["throughput"].text, found["over"].text) == ("118 volumes/min", "19 in 9.7 s")
    none = cell("segment", SPLEEN, "box", "pytorch", throughput=None)
    summary = of(results, none, measure={"scenarios": ["single-stream"]})
    why = "the offline scenario was not asked for"
    assert row(summary.latency, "box labels")["throughput"] == Value("–", why)
    assert summary.segmentation is not None
    assert row(summary.segmentation, "box labels")["volumes a minute"] == Value("–", why)
    assert row(of(results, none).latency, "box labels")["throughput"].note == "not measured"


def test_cells_of_one_worker_share_a_row_and_those_of_another_do_not(results: Results) -> None:
    shared = [cell("pseudolabel", SPLEEN, prompt, "pytorch") for prompt in ("box", "point", "box+point")]
    assert len(of(results, *shared).start.rows) == 1
    assert row(of(results, *shared).start, "all 3")["loading ms"].text == "431"
    other = shared[2].model_copy(update={"load_ms": 500.0})
    table = of(results, *shared[:2], other).start
    assert row(table, "box, point")["loading ms"].text == "431"
    assert row(table, "box+point")["loading ms"].text == "500"


def test_a_warm_up_that_did_not_end_steady_says_so(summary: Summary, results: Results) -> None:
    found = row(summary.start, "pseudolabel", HOSTILE, "PyTorch")
    assert (found["warm-up passes"].text, found["ended"]) == ("31", Value("not steady", NOT_STEADY, "doubt"))
    found = row(summary.start, "pseudolabel", SPLEEN, "PyTorch")
    assert (found["warm-up passes"].text, found["ended"]) == ("8", Value("steady"))
    none = cell("pseudolabel", SPLEEN, "box", "pytorch", warmup=None)
    assert row(of(results, none).start, "box")["ended"].note == "this run recorded none"
    asked = of(results, none, measure={"warmup": 0}).start
    assert row(asked, "box")["ended"].note == "the specification asks for no warm-up"
    silent = cell("pseudolabel", SPLEEN, "box", "pytorch", warmup=WarmUp(samples_ms=[], steady=False))
    assert row(of(results, silent).start, "box")["ended"].note == "no reason recorded"


def test_the_server_scenario_has_a_table_only_where_it_was_asked_for(summary: Summary, results: Results) -> None:
    assert summary.server is not None
    found = row(summary.server, SPLEEN, "PyTorch")
    assert found["bound"].text == "p90 ≤ 500 ms"
    # Phases of 17 ms: half of what one after another would allow.
    assert (found["arrivals a second"].text, found["trials"].text, found["queries"].text) == ("29.4", "3", "192")
    assert row(summary.server, HOSTILE, "PyTorch")["arrivals a second"] == Value("–", OVERLOADED)
    assert of(results, cell("segment", SPLEEN, "box", "pytorch", server=None)).server is None


def test_what_limits_a_rate_that_was_found_is_a_footnote(results: Results) -> None:
    limited = server(4.0).model_copy(update={"reason": "the budget ended the search"})
    table = of(results, cell("segment", SPLEEN, "box", "pytorch", server=limited)).server
    assert table is not None
    assert row(table, "box labels")["arrivals a second"] == Value("4.00", "the budget ended the search")
    silent = Server(bound_ms=10, percentile=99, rate=None)
    table = of(results, cell("segment", SPLEEN, "box", "pytorch", server=silent)).server
    assert table is not None and row(table, "box labels")["arrivals a second"].note == "no reason recorded"


@pytest.fixture
def summary(results: Results) -> Summary:
    return summarize(results)
