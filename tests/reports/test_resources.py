"""Memory, energy and the share of peak: told apart, once, and with the reason where there is none."""

from __future__ import annotations

import pytest

from benchmark.measured import Energy, Memory, ModuleCost, Peak
from benchmark.results import Cell, Results
from reports.resources import limit_table, memory_table
from reports.table import Table, Value
from reports.view import View
from tests.reports.measured_factory import NO_BF16, NO_ENERGY, UNCOUNTED
from tests.reports.report_factory import HOSTILE, SPLEEN, cell
from tests.reports.test_summary import row

RAPL = "RAPL package-0"


def one(backend: str = "pytorch", **changes: object) -> Cell:
    return cell("pseudolabel", SPLEEN, "box", backend, **changes)


def memory(results: Results, *cells: Cell) -> Table:
    found = memory_table(View(results.model_copy(update={"cells": list(cells)})))
    assert found is not None
    return found


def titles(table: Table) -> set[str]:
    return {column.title for column in table.columns}


def test_memory_is_that_of_each_worker_with_its_parts(results: Results) -> None:
    found = row(memory(results, *results.cells), "pseudolabel", SPLEEN, "ONNX Runtime")
    assert [found[name].text for name in ("peak MiB", "before loading MiB", "model MiB")] == ["640", "305", "91.0"]
    lacking = row(memory(results, *results.cells), "pseudolabel", HOSTILE, "PyTorch")
    assert lacking["peak MiB"] == Value("–", "this system does not tell a peak")
    assert lacking["model MiB"].text == "84.0"


def test_a_device_has_columns_only_where_a_cell_ran_on_one(results: Results) -> None:
    assert not {"device peak MiB", "device used MiB"} & titles(memory(results, one()))
    held = Memory(peak_mib=900, before_mib=300, model_mib=50, device_used_mib=1234, reason="the allocator tells none")
    table = memory(results, one(), one("onnxruntime", device="cuda", memory=held, memory_reason=held.reason))
    found = row(table, "ONNX Runtime cuda")
    assert (found["device used MiB"].text, found["device peak MiB"]) == ("1,230", Value("–", held.reason))
    assert row(table, "PyTorch cpu")["device used MiB"] == Value("–", "it ran on the CPU")


def test_energy_that_no_cell_has_is_told_once_with_its_reason(results: Results) -> None:
    table = memory(results, *results.cells)
    assert "joules" not in titles(table)
    assert table.about.endswith(f"Energy could not be measured: {NO_ENERGY}.")
    assert NO_ENERGY not in table.footnotes
    assert memory(results, one(energy=None)).title == "Memory"


def test_energy_names_its_source_once_if_all_have_the_same(results: Results) -> None:
    read = Energy(joules_per_unit=3.21, source=RAPL)
    failed = Energy(joules_per_unit=None, reason="intel-rapl:0/energy_uj is not readable")
    table = memory(results, one(energy=read), one("onnxruntime", energy=failed))
    assert f"({RAPL}, the machine's idle draw included)" in table.about
    assert (row(table, "PyTorch")["joules"], row(table, "PyTorch")["per"].text) == (Value("3.21"), "slice")
    assert row(table, "ONNX Runtime")["joules"] == Value("–", failed.reason)
    other = Energy(joules_per_unit=9.0, source="NVML GPU 0", reason="no RAPL")
    table = memory(results, one(energy=read), one("onnxruntime", energy=other))
    assert RAPL not in table.about
    assert row(table, "PyTorch")["joules"].note == RAPL
    assert row(table, "ONNX Runtime")["joules"].note == "NVML GPU 0; no RAPL"


def test_what_all_energies_lack_is_told_once(results: Results) -> None:
    gpu = Energy(joules_per_unit=12.3, source="NVML GPU 0", reason="no RAPL")
    table = memory(results, one(energy=gpu), one("onnxruntime", energy=gpu))
    assert "(NVML GPU 0; no RAPL, the machine's idle draw included)" in table.about
    assert row(table, "PyTorch")["joules"] == row(table, "ONNX Runtime")["joules"] == Value("12.3")


def test_an_older_run_without_memory_has_no_table(results: Results) -> None:
    old = one(memory=None, memory_mib=None, energy=None, memory_reason="backends share one process")
    assert memory_table(View(results.model_copy(update={"cells": [old]}))) is None


def test_the_limit_has_a_row_for_each_module_and_not_for_each_prompt(results: Results) -> None:
    table = limit_table(View(results))
    assert table is not None
    found = row(table, SPLEEN, "encoder", "PyTorch")
    assert found["prompt or labels"].text == "box, point"
    # 39.5 GFLOP in 0.7 s are 56.4 GFLOP/s, of 240.
    assert [found[name].text for name in ("calls", "p50 ms of a call", "GFLOP a call", "share of peak")] == [
        "90", "700", "39.5", "23.5 %",
    ]  # fmt: skip
    nothing = row(table, HOSTILE, "pseudolabel", "encoder", "PyTorch")
    assert {nothing[name] for name in ("GFLOP a call", "share of peak")} == {Value("–", UNCOUNTED)}
    assert f"(cpu, 2 threads: fp32 240 GFLOP/s, {NO_BF16})" in table.about
    assert "int8 and fp16 may exceed 100 %" in table.about


def test_a_share_above_the_fp32_peak_is_shown_as_it_is(results: Results) -> None:
    fast = ModuleCost(calls=64, p50_ms=20.0, mean_ms=20.0, gflops_per_call=39.5, share_of_peak=1.044)
    cells = [one("onnxruntime", precision="int8", modules={"encoder": fast})]
    table = limit_table(View(results.model_copy(update={"cells": cells})))
    assert table is not None and row(table, "encoder")["share of peak"].text == "104 %"


@pytest.mark.parametrize(
    ("peak", "words"),
    [
        ({"cuda": Peak(fp32_gflops=51234.0, bf16_gflops=612345.0, device="cuda", threads=2)},
         "(cuda: fp32 51,200 GFLOP/s, bf16 612,000 GFLOP/s)"),
        ({"cpu": Peak(fp32_gflops=None, threads=1, reason="no time was left")}, "(cpu, 1 thread: no time was left)"),
        ({"cpu": Peak(fp32_gflops=None)}, "(cpu: no reason recorded)"),
        ({}, "matrix-multiply rate. The share"),
    ],
)  # fmt: skip
def test_the_caption_says_what_the_machine_can_do_or_why_that_is_not_known(
    results: Results, peak: dict[str, Peak], words: str
) -> None:
    table = limit_table(View(results.model_copy(update={"peak": peak})))
    assert table is not None and words in table.about


def test_an_invalid_cell_has_neither_memory_nor_limit(results: Results) -> None:
    view = View(results.model_copy(update={"cells": [one(status="invalid", reason="gate")]}))
    assert memory_table(view) is None and limit_table(view) is None
