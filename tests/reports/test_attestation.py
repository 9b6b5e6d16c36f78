"""The attestation shows what differs from the request, and nothing that no cell has."""

from __future__ import annotations

import pytest

from benchmark.measured import CallClocks, WorkerFacts
from benchmark.results import Cell, Results
from reports.attestation import attestation_table, events_agree
from reports.table import Table, Value
from reports.view import View
from tests.reports.report_factory import SPLEEN, cell
from tests.reports.test_summary import row


def one(backend: str = "onnxruntime", device: str = "cpu", worker: WorkerFacts | None = None, **told: object) -> Cell:
    """A cell of a single runner that tells so much more."""
    found = cell("segment", SPLEEN, "box", backend, device=device, worker=worker)
    part = found.attestation["unet"].model_copy(update={"device": device, **told})
    return found.model_copy(update={"attestation": {"unet": part}})


def table(results: Results, *cells: Cell) -> Table:
    return attestation_table(View(results.model_copy(update={"cells": list(cells)})))


def titles(found: Table) -> set[str]:
    return {column.title for column in found.columns}


def test_a_run_on_a_cpu_has_no_columns_of_a_gpu(results: Results) -> None:
    found = table(results, *results.cells)
    assert not {
        "operators on the CPU",
        "TF32",
        "CUDA graphs",
        "driver",
        "device events",
        "provider's settings",
    } & titles(found)
    assert row(found, "unet", "ONNX Runtime, cpu, fp32")["execution"].text == "sequential"


def test_tasks_are_named_only_where_there_are_several(results: Results) -> None:
    assert "tasks" not in titles(table(results, one()))
    other = one().model_copy(update={"task": "Task07_Pancreas"})
    assert row(table(results, one(), other), "unet")["tasks"].text == "all"
    apart = other.model_copy(update={"attestation": one(threads=None).attestation})
    assert [values[-1].text for values in table(results, one(), apart).rows] == [SPLEEN, "Task07_Pancreas"]


def test_threads_that_differ_from_those_asked_for_stand_out(results: Results) -> None:
    assert row(table(results, one()), "unet")["threads"] == Value("2 of 2")
    assert row(table(results, one(threads=1)), "unet")["threads"] == Value("≠ 1 of 2", tone="bad")
    assert row(table(results, one(requested_threads=None)), "unet")["threads"] == Value("2")
    assert row(table(results, one(threads=None)), "unet")["threads"].note == "this backend does not tell its threads"


def test_a_gpu_tells_tf32_graphs_driver_and_what_it_left_to_the_cpu(results: Results) -> None:
    gpu = one(
        device="cuda", tf32=False, graph_capture="not applicable, because shapes vary", driver="580.1",
        operators_on_cpu={"Shape": 4, "Gather": 2},
    )  # fmt: skip
    found = row(table(results, gpu, one("pytorch", "cuda", tf32=True, graph_capture="off")), "ONNX Runtime, cuda, fp32")
    assert found["TF32"] == Value("off")
    assert found["CUDA graphs"] == Value("–", "not applicable, because shapes vary")
    assert (found["driver"].text, found["operators on the CPU"].text) == ("580.1", "Shape: 4, Gather: 2")
    allowed = row(table(results, one("pytorch", "cuda", tf32=True, graph_capture="off")), "unet")
    assert allowed["TF32"] == Value("≠ allowed", tone="bad")
    assert allowed["CUDA graphs"] == Value("off")


def test_what_all_workers_have_in_common_is_said_once_and_what_they_do_not_in_columns(results: Results) -> None:
    same = WorkerFacts(affinity=[3, 0, 1, 2, 8], variables={"OMP_NUM_THREADS": "4"})
    found = table(results, one(worker=same), one("pytorch", worker=same))
    assert found.about.endswith("Every worker could use the processors 0–3, 8 and had OMP_NUM_THREADS=4.")
    assert not {"processors", "variables"} & titles(found)
    other = WorkerFacts(affinity=None, variables={"MALLOC_TRIM_THRESHOLD_": "<1>"})
    found = table(results, one(worker=same), one("pytorch", worker=other))
    assert "Every worker" not in found.about
    assert row(found, "ONNX Runtime, cpu, fp32")["processors"].text == "0–3, 8"
    theirs = row(found, "PyTorch, cpu, fp32")
    assert (theirs["processors"].text, theirs["variables"].text) == ("", "MALLOC_TRIM_THRESHOLD_=<1>")


def test_a_cell_that_attests_nothing_has_a_row_with_the_reason(results: Results) -> None:
    silent = cell("segment", SPLEEN, "box", "pytorch", attestation={}, worker=None, reason="it hung")
    found = row(table(results, one(), silent), "PyTorch, cpu, fp32")
    assert {found[name] for name in ("runner", "ran", "providers", "nodes per provider", "threads")} == {
        Value("–", "it hung")
    }


def test_tf32_that_was_asked_for_is_no_mistake_and_one_that_did_not_come_is(results: Results) -> None:
    asked = row(table(results, one("pytorch", "cuda", tf32=True, tf32_asked=True)), "unet")
    assert asked["TF32"] == Value("allowed as asked")
    without = row(table(results, one("pytorch", "cuda", tf32=False, tf32_asked=True)), "unet")
    assert without["TF32"] == Value("≠ off", tone="bad")


def test_a_gpu_shows_its_providers_settings_and_how_its_events_agree_with_the_hosts_clock(results: Results) -> None:
    clocks = CallClocks(calls=9, host_ms=100.0, event_ms=98.4)
    gpu = one(device="cuda", settings={"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}, clocks=clocks)
    found = row(table(results, gpu), "unet")
    assert found["provider's settings"].text == "use_tf32=0, cudnn_conv_algo_search=HEURISTIC"
    assert found["device events"].text == "within 2 % of the host's clock"


@pytest.mark.parametrize(
    ("host", "event", "told"),
    [
        (100.0, 99.5, "within 1 % of the host's clock"),
        (100.0, 104.9, "within 5 % of the host's clock"),
        (100.0, 80.0, "within 20 % of the host's clock"),
        (100.0, 60.0, "40 % below the host's clock"),
        (100.0, 125.0, "25 % above the host's clock"),
        (0.0, 0.0, ""),
    ],
)
def test_agreement_is_told_in_steps_and_disagreement_in_numbers(host: float, event: float, told: str) -> None:
    assert events_agree(CallClocks(calls=3, host_ms=host, event_ms=event)) == told


def test_without_device_events_nothing_is_told() -> None:
    assert events_agree(None) == ""
