from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmark.compare.rules import parse_rules
from benchmark.compare.run import compare_runs
from benchmark.compare.schema import RunComparison
from benchmark.measure.statistics import paired_speedup, summarise
from benchmark.results import Cell, Results
from tests.benchmark.compare.noise import correlated
from tests.reports.report_factory import SPLEEN, build, comparison

Measured = Callable[..., Results]
Compared = Callable[..., RunComparison]


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """One task, both stages, both backends; no cell failed."""
    results = build(tmp_path_factory.mktemp("run"))
    cells = [cell for cell in results.cells if cell.task == SPLEEN]
    found = [comparison for comparison in results.comparisons if comparison.task == SPLEEN]
    tasks = [task for task in results.tasks if task.name == SPLEEN]
    return results.model_copy(update={"cells": cells, "comparisons": found, "tasks": tasks, "pictures": []})


@pytest.fixture
def measured(synthetic: Results) -> Measured:
    """A run in which ONNX Runtime takes half of PyTorch's time, but for what a test plants."""

    def run(seed: int, slower: float = 0.0, machine: float = 1.0, dice: float = 0.0) -> Results:
        """`slower` and `dice` are ONNX Runtime's alone; `machine` slows everything."""
        rng = np.random.default_rng(seed)
        cells, comparisons = [], []
        for place in dict.fromkeys((cell.stage, cell.prompt) for cell in synthetic.cells):
            drift = 100 * machine * correlated(rng, 64, noise=0.05)
            times = {name: drift * correlated(rng, 64, noise=0.01) for name in ("pytorch", "onnxruntime")}
            times["onnxruntime"] *= 0.5 * (1 + slower)
            for cell in synthetic.cells:
                if (cell.stage, cell.prompt) == place:
                    lost = dice if cell.backend == "onnxruntime" else 0.0
                    cells.append(timed(cell, times[cell.backend], lost))
            found = paired_speedup(times["pytorch"].tolist(), times["onnxruntime"].tolist())
            comparisons.append(
                comparison(
                    place[0], SPLEEN, place[1] or "", found.ratio, ci95=found.ci95, pairs=64, verdict=found.verdict
                )
            )  # fmt: skip
        return synthetic.model_copy(update={"cells": cells, "comparisons": comparisons})

    return run


def timed(cell: Cell, times: np.ndarray, lost: float) -> Cell:
    entries = [e.model_copy(update={"dice": None if e.dice is None else e.dice - lost}) for e in cell.dice_per_case]
    latency = summarise(times.tolist())
    return cell.model_copy(update={"latency_ms": latency, "device_latency_ms": latency, "dice_per_case": entries})


@pytest.fixture
def compared() -> Compared:
    """Compares with the default rules unless others are given."""

    def compare(base: Results, new: Results, *rules: str, **settings: object) -> RunComparison:
        return compare_runs(base, new, ("base", "new"), parse_rules(list(rules)), **settings)

    return compare
