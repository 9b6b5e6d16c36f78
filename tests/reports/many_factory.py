"""A synthetic run of many conditions for charts: models × strategies × backends, with drift and eight labels."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np

from benchmark.measured import Latency
from benchmark.results import CaseDice, Cell, Comparison, Results
from benchmark.weak_vs_full import weak_against_full
from tests.reports.report_factory import ABDOMEN, CASES, LABELS, ORGANS, build, cell, comparison, latency
from tests.reports.strategy_factory import effort

# Of PyTorch's time.
SPEED = {"pytorch": 1.0, "onnxruntime": 0.45, "openvino": 0.3, "pytorch-compile": 0.6}
STRATEGIES = {
    "box": (0.0, 1.0, 0.87),
    "point": (1.0, 0.0, 0.41),
    "points3": (3.0, 0.0, 0.55),
    "box+point": (1.0, 1.0, 0.88),
    "iterative5": (4.9, 0.0, 0.76),
}
WEAK = ("box", "points3", "reference")


def build_many(folder: Path, models: int = 3, strategies: int = 5, tasks: int = 1) -> Results:
    """The run.

    Args:
        folder: for the pictures of the run that it starts from; it has none itself.
        models: of SAM.
        strategies: of prompting.
        tasks: alike but for their names.
    """
    rng = np.random.default_rng(3)
    plan = STRATEGIES | {f"points{n}": (float(n), 0.0, 0.5 + n / 200) for n in range(6, 1 + strategies)}
    names = [ABDOMEN, *(f"Task{30 + n}_Organs" for n in range(1, tasks))]
    cells: list[Cell] = []
    comparisons: list[Comparison] = []
    for task, model, prompt in product(names, range(models), list(plan)[:strategies]):
        for backend, share in SPEED.items():
            place = {"task": task, "model": f"sam-{'abcdefgh'[model]}"}
            cells.append(_labelled(prompt, plan[prompt], backend, model, rng).model_copy(update=place))
            if backend != "pytorch":
                found = comparison("pseudolabel", ABDOMEN, prompt, 1 / share, candidate=backend)
                comparisons.append(found.model_copy(update=place))
    for task, labels, backend in product(names, WEAK, SPEED):
        values = _dice(0.84 if labels == "reference" else 0.8, rng)
        cells.append(cell("segment", ABDOMEN, labels, backend, **values).model_copy(update={"task": task}))
    return _run(build(folder), names, cells, comparisons)


def _labelled(
    prompt: str, costs: tuple[float, float, float], backend: str, model: int, rng: np.random.Generator
) -> Cell:
    share = SPEED[backend] * (1 + 3 * model)
    phases = {"preprocess": 6.0, "encode": 700 * share, "decode": 60 * share**0.8, "postprocess": 4.0}
    return cell(
        "pseudolabel",
        ABDOMEN,
        prompt,
        backend,
        phases_ms=phases,
        latency_ms=_drifting(sum(phases.values()), int(rng.integers(90, 400)), rng),
        effort=effort(*costs[:2]),
        load_ms=400.0 * (model + 1),
        **_dice(costs[2] + 0.02 * model, rng),
    )


def _drifting(median: float, n: int, rng: np.random.Generator) -> Latency:
    """Samples on a wave of ±4 %, as a machine has that warms up and cools down."""
    found = latency(median, n, rng)
    wave = 1 + 0.04 * np.sin(7 * np.arange(n) / n)
    return found.model_copy(update={"samples": (np.array(found.samples) * wave).tolist()})


def _dice(mean: float, rng: np.random.Generator) -> dict[str, object]:
    entries = [
        CaseDice(case=case, label=label, dice=float(np.clip(mean - 0.02 * number + rng.normal(0, 0.03), 0, 0.99)))
        for number, label in enumerate(ORGANS)
        for case in CASES[ABDOMEN]
    ]
    return {"dice_per_case": entries, "dice": float(np.mean([entry.dice for entry in entries if entry.dice]))}


def _run(base: Results, names: list[str], cells: list[Cell], comparisons: list[Comparison]) -> Results:
    shared = {
        "labels": LABELS[ABDOMEN],
        "cases": CASES[ABDOMEN],
        "train_cases": CASES[ABDOMEN][:3],
        "test_cases": CASES[ABDOMEN][3:],
        "slices": 412,
        "notes": [],
    }
    results = base.model_copy(
        update={
            "name": "many",
            "tasks": [base.tasks[0].model_copy(update={"name": name} | shared) for name in names],
            "trainings": [
                base.trainings[0].model_copy(update={"task": name, "labels": labels, "cases": CASES[ABDOMEN][:3]})
                for name in names
                for labels in WEAK
            ],
            "cells": cells,
            "comparisons": comparisons,
            "pictures": [],
        }
    )
    results.supervision = weak_against_full(results)
    return results
