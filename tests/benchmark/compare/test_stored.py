"""Three real runs on one machine, as `sambench run` wrote them (docs/compare.md): the same twice, and one 10 % slower.

The machine's own noise between runs is in them, which no simulation has.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.compare.rules import parse_rules
from benchmark.compare.run import compare_runs
from benchmark.compare.schema import RunComparison
from benchmark.results import Results, load_results

STORED = Path(__file__).with_name("stored")


def stored(name: str) -> Results:
    return load_results(STORED / f"{name}.json")


def compared(base: Results, new: Results, **settings: object) -> RunComparison:
    return compare_runs(base, new, ("base", "new"), parse_rules([]), **settings)


def slower(results: Results, share: float) -> Results:
    """The run as it would have been with so much more work in ONNX Runtime."""
    changed = results.model_copy(deep=True)
    for cell in changed.cells:
        if cell.backend == "onnxruntime" and cell.latency_ms is not None:
            cell.latency_ms.samples = [(1 + share) * ms for ms in cell.latency_ms.samples]
    for comparison in changed.comparisons:
        assert comparison.speedup is not None and comparison.ci95 is not None
        comparison.speedup /= 1 + share
        comparison.ci95 = (comparison.ci95[0] / (1 + share), comparison.ci95[1] / (1 + share))
    return changed


@pytest.mark.parametrize(("base", "new"), [("first", "again"), ("again", "first")])
def test_the_same_program_twice_is_not_flagged_though_the_machine_drifted_by_a_quarter(base: str, new: str) -> None:
    found = compared(stored(base), stored(new))
    moved = [change.change for cell in found.cells for change in cell.changes if change.metric == "latency"]
    assert max(abs(change or 0) for change in moved) > 0.2
    assert not found.regressed


def test_a_planted_slowdown_of_10_percent_is_found() -> None:
    found = compared(stored("first"), slower(stored("first"), 0.1))
    assert [(one.rule, one.cell.backend) for one in found.offences] == [("latency>5%", "onnxruntime")]


def test_a_planted_loss_of_0_002_dice_is_found_in_spite_of_the_drift() -> None:
    worse = stored("again")
    for cell in worse.cells:
        if cell.backend == "onnxruntime":
            for entry in cell.dice_per_case:
                assert entry.dice is not None
                entry.dice -= 0.002
    found = compared(stored("first"), worse)
    assert [(one.rule, one.cell.backend) for one in found.offences] == [("dice<-0.001", "onnxruntime")]


def test_a_real_slowdown_that_the_drift_hid_is_not_called_an_improvement() -> None:
    """ONNX Runtime did 10 % more work in that run, and the machine gave it back: nothing can be told, nor is it."""
    found = compared(stored("first"), stored("slowed"), allowed=("spec",))
    change = next(cell for cell in found.cells if cell.backend == "onnxruntime").change("latency")
    assert change is not None and change.ci95 is not None
    assert change.verdict == "no change"
    assert not found.regressed
