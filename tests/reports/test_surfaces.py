"""NSD, HD95, windows and what networks saw: the numbers of the run, with a reason wherever there is none."""

from __future__ import annotations

import pytest

from benchmark.measured import Throughput
from benchmark.metrics import MISSED
from benchmark.results import CaseSurface, Results
from reports.summary import Summary, summarize
from reports.table import Value
from tests.reports.report_factory import HOSTILE, SPLEEN, cell
from tests.reports.test_summary import row


@pytest.fixture
def summary(results: Results) -> Summary:
    return summarize(results)


def of(results: Results, **changes: object) -> Summary:
    """A run of one cell of the segmentation stage."""
    one = cell("segment", SPLEEN, "box", "pytorch", **changes)
    return summarize(results.model_copy(update={"cells": [one], "comparisons": [], "supervision": []}))


def test_a_label_has_its_means_and_the_task_its_tolerance(summary: Summary) -> None:
    assert summary.surfaces is not None
    found = row(summary.surfaces, "segment", SPLEEN, "box labels")
    assert (found["tolerance mm"].text, found["NSD PyTorch"].text, found["HD95 mm PyTorch"].text) == (
        "3", "0.960", "1.40",
    )  # fmt: skip


def test_a_missed_organ_stands_beside_the_mean_that_cannot_hold_it(results: Results) -> None:
    entries = [
        CaseSurface(case="c1", label="spleen", nsd=0.9, hd95_mm=2.0),
        CaseSurface(case="c2", label="spleen", nsd=0.0, hd95_mm=None, reason=MISSED),
        CaseSurface(case="c3", label="spleen", nsd=None, hd95_mm=None, reason="no such label"),
    ]
    table = of(results, surface_per_case=entries).surfaces
    assert table is not None
    found = row(table, "spleen")
    assert found["NSD PyTorch"].text == "0.450"
    assert found["HD95 mm PyTorch"].text == "2.00, 1 missed"
    only = of(results, surface_per_case=entries[1:2]).surfaces
    assert only is not None and row(only, "spleen")["HD95 mm PyTorch"] == Value("–", MISSED)


def test_the_mean_of_all_labels_counts_the_missed_too(summary: Summary) -> None:
    assert summary.surfaces is not None and summary.surfaces_in_short is not None
    found = row(summary.surfaces, "segment", HOSTILE, "box labels", "all labels")
    assert found["HD95 mm PyTorch"].text.endswith(", 1 missed")
    short = row(summary.surfaces_in_short, HOSTILE, "box labels")
    assert (short["label"].text, short["HD95 mm PyTorch"].text) == ("all labels", found["HD95 mm PyTorch"].text)
    assert {values[0].text for values in summary.surfaces_in_short.rows} == {"segment"}


def test_surfaces_that_were_not_measured_are_dashes_with_the_reason(results: Results) -> None:
    why = "surfaces need whole volumes, and data.slices is 4"
    entries = [CaseSurface(case="c1", label="spleen", nsd=None, hd95_mm=None, reason=why)]
    found = of(results, surface_per_case=entries, nsd=None, hd95_mm=None)
    assert found.surfaces is not None and found.surface_cases is None
    values = row(found.surfaces, "spleen")
    assert (values["NSD PyTorch"], values["HD95 mm PyTorch"]) == (Value("–", why), Value("–", why))


def test_each_case_is_there_with_both(summary: Summary) -> None:
    assert summary.surface_cases is not None
    found = row(summary.surface_cases, "segment", HOSTILE, "box labels", "pancreas_6", "tumour|cancer")
    assert (found["NSD PyTorch"].text, found["HD95 mm PyTorch"]) == ("0.000", Value("–", MISSED))


def test_volumes_a_minute_are_those_of_the_cell_and_not_guessed_from_slices(results: Results, summary: Summary) -> None:
    assert summary.segmentation is not None
    found = row(summary.segmentation, SPLEEN, "box labels", "PyTorch")
    # 17 ms a slice, 30 slices.
    assert (found["volumes a minute"].text, found["first of a shape ms"].text) == ("118", "96.0 (8×512×512)")
    some = of(results, throughput=Throughput(value=50.0, unit="slices/s")).segmentation
    assert some is not None
    assert row(some, "PyTorch")["volumes a minute"] == Value("–", "only some slices of each volume were segmented")


def test_an_invalid_cell_shows_none_of_these_times(summary: Summary) -> None:
    assert summary.segmentation is not None
    found = row(summary.segmentation, HOSTILE, "reference labels", "ONNX Runtime")
    assert {value.text for title, value in found.items() if "ms" in title or "minute" in title} == {"–"}


def test_cases_that_chose_the_epoch_are_neither_training_nor_test_cases(summary: Summary) -> None:
    assert row(summary.tasks, HOSTILE)["train / validation / test cases"].text == "3 / 1 / 2"
    assert row(summary.tasks, SPLEEN)["train / validation / test cases"].text == "1 / 0 / 1"
    assert row(summary.cases, HOSTILE, "validation")["cases"].text == "pancreas_4"


def test_a_training_shows_which_epoch_was_taken_and_why(summary: Summary) -> None:
    assert summary.trainings is not None
    found = row(summary.trainings, HOSTILE, "reference")
    assert (found["validation cases"].text, found["best epoch"].text, found["validation Dice"].text) == (
        "1", "15", "0.950",
    )  # fmt: skip
    alone = row(summary.trainings, SPLEEN, "reference")
    assert alone["best epoch"].text == "20"
    assert alone["validation Dice"] == Value("–", "no case was held back to choose an epoch: the last one was taken")


def test_networks_that_were_run_alike_share_a_row_that_says_how(summary: Summary) -> None:
    assert summary.networks is not None
    assert len(summary.networks.rows) == 2
    found = row(summary.networks, SPLEEN)
    assert found["sliding window"].text == (
        "patch 128 × 128, overlap 0.25, blending gaussian, padding zero, accumulate float32, mirror axes none,"
        " windows per batch 8"
    )
    assert found["trained on"].text == "box labels, reference labels"
    assert len(summary.rules) == 1 and "an infinite HD95" in summary.rules[0]
