"""The tables hold the numbers of the run and nothing made up."""

from __future__ import annotations

import pytest

from benchmark.measured import Latency
from benchmark.results import CaseDice, Results
from exporters.manifest import RANDOM_WEIGHTS
from reports.summary import Summary, summarize
from reports.table import Table, Value
from tests.reports.report_factory import HOSTILE, SPLEEN, cell, comparison, without_dice


@pytest.fixture
def summary(results: Results) -> Summary:
    return summarize(results)


def row(table: Table, *keys: str) -> dict[str, Value]:
    """The one row that holds all the keys."""
    found = [values for values in table.rows if set(keys) <= {value.text for value in values}]
    assert len(found) == 1
    return {column.title: value for column, value in zip(table.columns, found[0], strict=True)}


def tables(summary: Summary) -> list[Table]:
    found = [value for value in vars(summary).values() if isinstance(value, Table)]
    return [*found, *summary.phases]


def test_every_row_has_a_value_for_every_column(summary: Summary) -> None:
    for table in tables(summary):
        assert all(len(values) == len(table.columns) for values in table.rows), table.key


def test_every_dash_has_a_reason_and_nothing_is_nan(summary: Summary) -> None:
    for table in tables(summary):
        for value in (value for values in table.rows for value in values):
            assert value.text != "–" or value.note, table.key
            assert "nan" not in value.text.lower().split(), table.key


def test_dice_per_label_is_the_mean_and_range_worked_out_by_hand(results: Results) -> None:
    dice = [CaseDice(case=f"c{n}", label="spleen", dice=value) for n, value in enumerate((0.9, 0.8, None, 0.85))]
    dice[2].reason = "absent from prediction and reference"
    cells = [cell("pseudolabel", SPLEEN, "box", "pytorch", dice_per_case=dice, dice=0.85)]
    table = summarize(results.model_copy(update={"cells": cells, "comparisons": []})).dice
    value = row(table, "spleen")["PyTorch"]
    assert value.text == "0.850 (0.800–0.900)"
    assert value.note == "1 of 4 cases left out: absent from prediction and reference"


def test_weak_supervision_is_set_against_full_for_each_valid_backend(summary: Summary) -> None:
    assert summary.supervision is not None
    found = row(summary.supervision, SPLEEN, "ONNX Runtime")
    assert (found["Dice weak"].text, found["Dice full"].text) == ("0.930", "0.950")
    assert (found["difference"].text, found["share kept"].text) == ("−0.0200", "97.9%")
    # The invalid cell of the hostile task is no reference for anything.
    assert not [values for values in summary.supervision.rows if {HOSTILE, "ONNX Runtime"} <= {v.text for v in values}]


def test_a_percentile_without_enough_samples_is_a_dash_with_the_reason(summary: Summary) -> None:
    found = row(summary.latency, "pseudolabel", SPLEEN, "box", "ONNX Runtime")
    assert found["p99 ms"] == Value("–", "p99 needs 662 samples, 572 more")
    assert found["p90 ms"].text != "–"


def test_an_invalid_cell_shows_no_latency_although_it_was_timed(results: Results, summary: Summary) -> None:
    timed = [one for one in results.cells if one.status == "invalid"]
    assert isinstance(timed[0].latency_ms, Latency)
    found = row(summary.latency, "segment", HOSTILE, "reference labels", "ONNX Runtime")
    assert {found[title].text for title in ("p50 ms", "mean ms", "device p50 ms", "throughput", "over")} == {"–"}


def test_a_comparison_below_the_gate_shows_dice_but_no_speedup(summary: Summary) -> None:
    found = row(summary.verdicts, "segment", HOSTILE, "reference labels")
    assert found["speedup"].text == "–"
    assert (found["verdict at ±2 %"].text, found["gate"].text) == ("✗ gate failed", "✗ fail")
    assert found["Dice difference"].text == "−0.0213"


def test_phases_add_up_to_the_sum_worked_out_by_hand(summary: Summary) -> None:
    found = row(summary.phases[0], SPLEEN, "box", "ONNX Runtime")
    # 6 + 0.43 · 700 + 0.43 · 60 + 4
    assert (found["encode ms"].text, found["decode ms"].text, found["sum ms"].text) == ("301", "25.8", "337")


def test_a_provider_that_differs_from_the_request_stands_out(results: Results) -> None:
    asked = cell("pseudolabel", SPLEEN, "box", "onnxruntime", device="cuda")
    table = summarize(results.model_copy(update={"cells": [asked], "comparisons": []})).attestation
    ran = row(table, "encoder")["ran"]
    assert ran.text == "≠ ONNX Runtime 1.23.2, cpu, fp32"
    assert ran.tone == "bad"


def test_cells_that_attest_the_same_share_a_row(summary: Summary) -> None:
    assert row(summary.attestation, "unet", "ONNX Runtime, cpu, fp32")["tasks"].text == "all"


def test_a_part_that_stays_in_fp32_by_choice_is_seen_and_is_no_mismatch(results: Results) -> None:
    asked = cell("pseudolabel", SPLEEN, "box", "onnxruntime", precision="int8")
    encoder = asked.attestation["encoder"].model_copy(update={"precision": "int8", "requested_precision": "int8"})
    asked = asked.model_copy(update={"attestation": {**asked.attestation, "encoder": encoder}})
    table = summarize(results.model_copy(update={"cells": [asked], "comparisons": []})).attestation
    assert row(table, "encoder")["requested"].text == "ONNX Runtime, cpu, int8"
    decoder = row(table, "decoder")
    assert decoder["requested"].text == "ONNX Runtime, cpu, int8 (this part fp32)"
    assert decoder["ran"].tone == "plain"
    quiet = asked.model_copy(
        update={"attestation": {"encoder": encoder.model_copy(update={"precision": "fp32"})}, "status": "invalid"}
    )
    table = summarize(results.model_copy(update={"cells": [quiet], "comparisons": []})).attestation
    assert row(table, "encoder")["ran"].text == "≠ ONNX Runtime 1.23.2, cpu, fp32"


def test_random_weights_show_dashes_with_their_reason_wherever_accuracy_would_stand(results: Results) -> None:
    pair = without_dice([cell("pseudolabel", SPLEEN, "box", b) for b in ("pytorch", "onnxruntime")])
    weak = without_dice([cell("segment", SPLEEN, "box", "pytorch")])
    cells = [*pair, *weak, cell("segment", SPLEEN, "reference", "pytorch")]
    found = summarize(
        results.model_copy(
            update={
                "cells": cells,
                "comparisons": [comparison("pseudolabel", SPLEEN, "box")],
                "supervision": [],
            }
        )
    )
    dash = Value("–", RANDOM_WEIGHTS)
    verdict = row(found.verdicts, "pseudolabel", "box")
    assert [verdict[name] for name in ("Dice PyTorch", "Dice ONNX Runtime", "Dice difference")] == [dash] * 3
    assert (verdict["speedup"].text, verdict["mask parity"].text) == ("2.31×", "0.9998")
    dice = row(found.dice, "pseudolabel", "spleen")
    assert (dice["PyTorch"], dice["ONNX Runtime"]) == (dash, dash)
    assert row(found.dice_cases, "pseudolabel", "spleen_2")["PyTorch"] == dash
    assert found.supervision is not None
    kept = row(found.supervision, SPLEEN)
    assert [kept[name] for name in ("Dice weak", "difference", "share kept")] == [dash] * 3
    assert kept["Dice full"].text == "0.950"
    assert any(RANDOM_WEIGHTS in note for note in found.notes)


def test_precisions_are_told_apart_in_every_table_of_comparisons(results: Results) -> None:
    places = [cell("pseudolabel", SPLEEN, "box", b) for b in ("pytorch", "onnxruntime")]
    int8 = cell("pseudolabel", SPLEEN, "box", "onnxruntime", precision="int8", dice=0.9295)
    compared = [comparison("pseudolabel", SPLEEN, "box", 2.0, precision=p) for p in ("fp32", "int8")]
    found = summarize(results.model_copy(update={"cells": [*places, int8], "comparisons": compared}))
    verdict = row(found.verdicts, "ONNX Runtime int8")
    assert verdict["Dice difference"].text == "−0.0005"
    # Their one baseline is named once, above its Dice.
    assert "Dice PyTorch fp32" in verdict and "÷ candidate time" in found.verdicts.about
    assert row(found.verdicts, "ONNX Runtime fp32")["Dice difference"].text == "0.0000"
    assert row(found.latency, "ONNX Runtime int8")["p50 ms"].text != "–"


def test_device_and_precision_name_a_variant_only_where_they_differ(results: Results, summary: Summary) -> None:
    assert summary.dice.columns[-1].title == "ONNX Runtime"
    half = cell("pseudolabel", SPLEEN, "box", "onnxruntime", precision="fp16")
    both = results.model_copy(update={"cells": [*results.cells, half]})
    assert [column.title for column in summarize(both).dice.columns[-2:]] == ["ONNX Runtime fp32", "ONNX Runtime fp16"]
