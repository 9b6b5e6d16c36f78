"""A synthetic run of three SAMs, five strategies, four backends and eight labels, and of as many cells as one asks.

Every number is made up by a seeded generator. A task has 80 cells: more cells are more tasks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmark.results import CaseDice, Cell, Comparison, Picture, Results, TaskInfo
from benchmark.weak_vs_full import weak_against_full
from tests.reports.report_factory import ABDOMEN, BELOW, CASES, FAILED, LABELS, PHASES, build, cell, latency, picture
from tests.reports.strategy_factory import EASE, STRATEGIES, effort

MODELS = {"litemedsam": 1.0, "mobilesam": 0.8, "vit_b": 6.4}
"""SAM → how many times LiteMedSAM's time it takes."""
PROMPTS = ("box", "box-jitter10", "point", "points3", "box+points3")
BACKENDS = {"pytorch": 1.0, "pytorch-compile": 1.31, "onnxruntime": 2.26, "openvino": 3.14}
"""Backend → how many times as fast as PyTorch its modules are."""
WEAK = ("box", "point", "points3", "box+points3", "reference")
SEED = 2409


def build_large(folder: Path, cells: int = 0) -> Results:
    """The run, with files of pictures in `folder`.

    Args:
        folder: of the run.
        cells: how many cells it has; 0 for those of one task.
    """
    rng = np.random.default_rng(SEED)
    made: list[Cell] = []
    tasks: list[str] = []
    while not made or len(made) < cells:
        tasks.append(f"Task{20 + len(tasks):02}_Abdomen")
        made += [one.model_copy(update={"task": tasks[-1]}) for one in _cells(rng)]
    made = made[: cells or None]
    base = build(folder)
    info = base.tasks[0].model_copy(
        update={
            "labels": LABELS[ABDOMEN],
            "cases": CASES[ABDOMEN],
            "train_cases": CASES[ABDOMEN][:3],
            "validation_cases": [],
            "test_cases": CASES[ABDOMEN][3:],
            "slices": 412,
            "notes": [],
        }
    )
    training = base.trainings[0].model_copy(update={"cases": CASES[ABDOMEN][:3]})
    found = base.model_copy(
        update={
            "name": "synthetic abdomen",
            "command": "sambench run abdomen.yaml --out runs/synthetic-abdomen",
            "cells": made,
            "comparisons": _comparisons(made, rng),
            "tasks": [TaskInfo.model_validate(info.model_dump() | {"name": name}) for name in tasks],
            "trainings": [
                training.model_copy(update={"task": name, "labels": labels}) for name in tasks for labels in WEAK
            ],
            "pictures": list(_pictures(folder, tasks[0])),
        }
    )
    found.supervision = weak_against_full(found)
    return found


def _cells(rng: np.random.Generator) -> Iterator[Cell]:
    """All cells of a task; one of them failed and one lies below the gate."""
    for model, slower in MODELS.items():
        for prompt in PROMPTS:
            clicks, boxes, mean = STRATEGIES[prompt]
            entries = _entries(mean, rng)
            for backend in BACKENDS:
                made = _cell("pseudolabel", prompt, backend, entries, slower, rng)
                changes: dict[str, object] = {"model": model, "effort": effort(clicks, boxes)}
                if (model, prompt, backend) == ("vit_b", "points3", "openvino"):
                    changes |= FAILED
                yield made.model_copy(update=changes)
    for prompt in WEAK:
        entries = _entries(0.86 if prompt == "reference" else 0.96 * STRATEGIES[prompt][2], rng)
        for backend in BACKENDS:
            made = _cell("segment", prompt, backend, entries, 1.0, rng)
            if (prompt, backend) == ("points3", "openvino"):
                made = made.model_copy(update={"status": "invalid", "reason": BELOW, "dice": (made.dice or 0) - 0.0213})
            yield made


def _cell(
    stage: str, prompt: str, backend: str, entries: list[CaseDice], slower: float, rng: np.random.Generator
) -> Cell:
    """A cell with its own time; backends differ in the model's phases alone."""
    times = {
        name: ms * (slower / BACKENDS[backend] if name in ("encode", "decode", "infer") else 1.0)
        for name, ms in PHASES[stage].items()
    }
    total = sum(times.values())
    mean = float(np.mean([entry.dice for entry in entries if entry.dice is not None]))
    return cell(
        stage,
        ABDOMEN,
        prompt,
        backend,
        phases_ms=times,
        dice_per_case=entries,
        dice=mean,
        latency_ms=latency(total, 90 if stage == "pseudolabel" else 700, rng),
        volume_latency_ms=latency(total * 30, 3, rng),
        device_latency_ms=latency(0.93 * total, 90, rng),
    )


def _entries(mean: float, rng: np.random.Generator) -> list[CaseDice]:
    """Six cases of eight labels whose Dice keeps inside 0 and 1 however hard the label."""
    middles = {label: mean + ease * min(mean, 1 - mean) for label, ease in EASE.items()}
    return [
        CaseDice(case=case, label=label, dice=float(np.clip(middle + rng.normal(0, 0.02), 0, 0.985)))
        for label, middle in middles.items()
        for case in CASES[ABDOMEN]
    ]


def _comparisons(cells: list[Cell], rng: np.random.Generator) -> list[Comparison]:
    """Every other backend against PyTorch, by the medians of both."""
    baselines = {(c.stage, c.task, c.model, c.prompt): c for c in cells if c.backend == "pytorch"}
    return [
        _comparison(one, baselines[one.stage, one.task, one.model, one.prompt], float(rng.uniform(0.01, 0.05)))
        for one in cells
        if one.backend != "pytorch"
    ]


def _comparison(one: Cell, baseline: Cell, half: float) -> Comparison:
    both = one.latency_ms and baseline.latency_ms
    ratio = baseline.latency_ms.p50 / one.latency_ms.p50 if both else None  # type: ignore[union-attr,operator]
    return Comparison(
        stage=one.stage,
        task=one.task,
        model=one.model,
        prompt=one.prompt,
        device=one.device,
        precision=one.precision,
        candidate=one.backend,
        baseline=baseline.backend,
        speedup=ratio,
        ci95=None if ratio is None else (ratio * (1 - half), ratio * (1 + half)),
        pairs=0 if ratio is None else 40,
        margin=0.02,
        verdict="inconclusive" if ratio is None else "faster",
        gate="pass" if one.status == "ok" else "fail",
        reason=one.reason,
    )


def _pictures(folder: Path, task: str) -> Iterator[Picture]:
    for stage, prompt in (("pseudolabel", "box"), ("pseudolabel", "point"), ("segment", "box")):
        yield picture(folder, stage, ABDOMEN, prompt).model_copy(update={"task": task})
