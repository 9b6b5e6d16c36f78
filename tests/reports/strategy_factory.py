"""A synthetic run of a dozen prompt strategies, eight labels and two lanes: as wide as a report has to become."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmark.results import CaseDice, Cell, Comparison, Effort, Results, Training
from benchmark.weak_vs_full import weak_against_full
from tests.reports.report_factory import (
    ABDOMEN,
    CASES,
    LABELS,
    ORGANS,
    build,
    cell,
    comparison,
    picture,
)

OBJECTS = 1480
# Clicks and boxes per object, and the Dice that a SAM of medium size reaches on organs.
STRATEGIES = {
    "box": (0.0, 1.0, 0.874),
    "box-margin5": (0.0, 1.0, 0.831),
    "box-jitter10": (0.0, 1.0, 0.842),
    "box-every3": (0.0, 0.36, 0.798),
    "point": (1.0, 0.0, 0.412),
    "point-random": (1.0, 0.0, 0.371),
    "points3": (3.0, 0.0, 0.548),
    "points3+neg3": (5.8, 0.0, 0.631),
    "points5": (5.0, 0.0, 0.597),
    "box+point": (1.0, 1.0, 0.881),
    "box+points3": (3.0, 1.0, 0.886),
    "iterative5": (4.9, 0.0, 0.765),
}
# How much harder than the mean a label is, by hand: a liver is easy, a gallbladder is not.
EASE = dict(zip(ORGANS, (0.35, 0.4, 0.38, -0.75, 0.5, -0.1, 0.05, -0.83), strict=True))


def effort(clicks: float, boxes: float, objects: int = OBJECTS) -> Effort:
    """What strategies cost, given per object."""
    return Effort(clicks=clicks * objects, boxes=boxes * objects, objects=objects)


def strategy_cell(prompt: str, cost: tuple[float, float], labels: dict[str, float], **changes: object) -> Cell:
    """A pseudo-labelling cell of one case with given effort per object and Dice of each label."""
    entries = [CaseDice(case="abdomen_03", label=label, dice=value) for label, value in labels.items()]
    values: dict[str, object] = {
        "dice_per_case": entries,
        "dice": float(np.mean(list(labels.values()))),
        "effort": effort(*cost),
    }
    backend = str(changes.pop("backend", "pytorch"))
    return cell("pseudolabel", ABDOMEN, prompt, backend, **(values | changes))


def _entries(mean: float, rng: np.random.Generator) -> list[CaseDice]:
    """Six cases of eight labels whose Dice keeps inside 0 and 1 however hard the label."""
    entries = []
    for label in ORGANS:
        middle = mean + EASE[label] * min(mean, 1 - mean)
        for case in CASES[ABDOMEN]:
            dice = float(np.clip(middle + rng.normal(0, 0.02), 0, 0.985))
            entries.append(CaseDice(case=case, label=label, dice=dice))
    return entries


def _lanes(stage: str, prompt: str, mean: float, seed: int, **changes: object) -> list[Cell]:
    entries = _entries(mean, np.random.default_rng(seed))
    dice = float(np.mean([entry.dice for entry in entries if entry.dice is not None]))
    values = {"dice_per_case": entries, "dice": dice, **changes}
    return [cell(stage, ABDOMEN, prompt, backend, **values) for backend in ("pytorch", "onnxruntime")]


def build_wide(folder: Path) -> Results:
    """The run; its UNets learn from two of the strategies and from the reference labels."""
    cells: list[Cell] = []
    comparisons: list[Comparison] = []
    for seed, (prompt, (clicks, boxes, mean)) in enumerate(STRATEGIES.items()):
        cells += _lanes("pseudolabel", prompt, mean, seed, effort=effort(clicks, boxes))
        comparisons.append(comparison("pseudolabel", ABDOMEN, prompt, 2.31 - 0.02 * seed))
    for seed, (prompt, mean) in enumerate({"box": 0.842, "points3+neg3": 0.588, "reference": 0.869}.items()):
        cells += _lanes("segment", prompt, mean, 100 + seed)
        comparisons.append(comparison("segment", ABDOMEN, prompt, 1.4))
    base = build(folder)
    task = base.tasks[0].model_copy(
        update={
            "name": ABDOMEN,
            "labels": LABELS[ABDOMEN],
            "cases": CASES[ABDOMEN],
            "train_cases": CASES[ABDOMEN][:4],
            "test_cases": CASES[ABDOMEN][4:],
            "slices": 412,
            "notes": [],
        }
    )
    update = {
        "cells": cells,
        "comparisons": comparisons,
        "tasks": [task],
        "trainings": [_training(base.trainings[0], labels) for labels in ("box", "points3+neg3", "reference")],
        "pictures": [picture(folder, "pseudolabel", ABDOMEN, prompt) for prompt in list(STRATEGIES)[:4]],
        "name": "twelve ways to prompt",
    }
    found = base.model_copy(update=update)
    found.supervision = weak_against_full(found)
    return found


def _training(like: Training, labels: str) -> Training:
    return like.model_copy(update={"task": ABDOMEN, "labels": labels, "cases": CASES[ABDOMEN][:4]})
