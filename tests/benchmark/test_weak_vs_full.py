"""Weak against full supervision: paired by test case, of this run's trainings, null with a reason where it must be."""

from __future__ import annotations

from typing import Any

import pytest

from benchmark.measured import Environment
from benchmark.results import CaseDice, Cell, Results, SupervisionEffect, TaskInfo, Training
from benchmark.weak_vs_full import weak_against_full

Dice = dict[str, dict[str, float | None]]  # case → label → Dice

WEAK: Dice = {"c1": {"liver": 0.88, "spleen": 0.80}, "c2": {"liver": 0.84, "spleen": 0.70}}
FULL: Dice = {"c1": {"liver": 0.90, "spleen": 0.80}, "c2": {"liver": 0.88, "spleen": 0.80}}
ABSENT = "the reference has no such label in this case"


def cell(labels: str, dice: Dice, **changes: Any) -> Cell:
    entries = [
        CaseDice(case=case, label=label, dice=value, reason=None if value is not None else ABSENT)
        for case, of_labels in dice.items()
        for label, value in of_labels.items()
    ]
    values: dict[str, Any] = {"backend": "pytorch", "device": "cpu", "precision": "fp32", "status": "ok"}
    return Cell(stage="segment", task="T", model="unet", prompt=labels, dice_per_case=entries, **{**values, **changes})


def training(labels: str) -> Training:
    return Training(
        task="T", model="unet", labels=labels, cases=["c9"], slices=1, epochs=1, seconds=1, loss=[1.0],
        checkpoint_sha256="0",
    )  # fmt: skip


def effects(cells: list[Cell], trained: tuple[str, ...] = ("box", "reference"), test: tuple[str, ...] = ("c1", "c2"),
            train: tuple[str, ...] = ("c9",)) -> list[SupervisionEffect]:  # fmt: skip
    task = TaskInfo(
        name="T", modality="CT", labels={1: "liver"}, cases=[*train, *test], slices=1, intensity="",
        train_cases=list(train), test_cases=list(test),
    )  # fmt: skip
    machine = Environment(
        machine="m", cpu="c", cores=1, memory_gib=1, gpu=None, os="o", python="3", libraries={}, threads=1,
        load_before=None,
    )  # fmt: skip
    return weak_against_full(
        Results(
            sambench_version="0", name="run", created="", seconds=1, command="", environment=machine, spec={},
            tasks=[task], trainings=[training(labels) for labels in trained], cells=cells, comparisons=[],
        )
    )  # fmt: skip


def test_the_difference_is_of_each_cases_mean_by_hand() -> None:
    """Means of a case's labels: weak 0.84 and 0.77, full 0.85 and 0.84; differences −0.01 and −0.07."""
    found = effects([cell("box", WEAK), cell("reference", FULL)])
    assert [effect.label for effect in found] == [None, "liver", "spleen"]
    every, liver, spleen = found
    assert (every.task, every.model, every.labels, every.backend) == ("T", "unet", "box", "pytorch")
    assert (every.dice_weak, every.dice_full) == (pytest.approx(0.805), pytest.approx(0.845))
    assert every.difference == pytest.approx(-0.04)
    assert every.ci95 == pytest.approx((-0.04 - 12.7062 * 0.03, -0.04 + 12.7062 * 0.03), abs=1e-4)
    assert (every.cases, every.reason) == (2, None)
    assert (liver.difference, spleen.difference) == (pytest.approx(-0.03), pytest.approx(-0.05))


def test_a_task_of_one_label_has_one_entry_and_each_backend_its_own() -> None:
    one = {"c1": {"liver": 0.8}, "c2": {"liver": 0.7}}
    lanes = [{"backend": "pytorch"}, {"backend": "onnxruntime"}, {"backend": "onnxruntime", "precision": "int8"}]
    found = effects([cell(labels, one, **lane) for labels in ("reference", "box") for lane in lanes])
    assert [(e.backend, e.precision, e.label, e.difference, e.ci95) for e in found] == [
        ("pytorch", "fp32", None, 0.0, (0.0, 0.0)),
        ("onnxruntime", "fp32", None, 0.0, (0.0, 0.0)),
        ("onnxruntime", "int8", None, 0.0, (0.0, 0.0)),
    ]


def test_a_label_that_a_case_lacks_leaves_the_case_with_the_others() -> None:
    weak, full = ({**dice, "c2": {"liver": dice["c2"]["liver"], "spleen": None}} for dice in (WEAK, FULL))
    every, liver, spleen = effects([cell("box", weak), cell("reference", full)])
    assert every.difference == pytest.approx((-0.01 - 0.04) / 2)
    assert (liver.cases, spleen.cases) == (2, 1)
    assert spleen.ci95 is None and spleen.difference == pytest.approx(0.0)
    assert spleen.reason is not None and spleen.reason.startswith("one case is no evidence of accuracy")


def test_one_test_case_is_no_evidence_and_neither_is_the_case_that_was_learned_from() -> None:
    one, full = {"c1": WEAK["c1"]}, {"c1": FULL["c1"]}
    (every, *_) = effects([cell("box", one), cell("reference", full)], test=("c1",))
    assert (every.difference, every.ci95, every.cases) == (pytest.approx(-0.01), None, 1)
    assert every.reason == "one case is no evidence of accuracy; an interval needs 2"
    (every, *_) = effects([cell("box", one), cell("reference", full)], test=("c1",), train=("c1",))
    assert every.ci95 is None
    assert every.reason == "trained and tested on the same case: one case is no evidence of accuracy"


def test_a_backend_without_a_valid_result_has_no_difference_and_says_why() -> None:
    failed = cell("box", {}, status="failed", reason="no memory")
    (every, *_) = effects([failed, cell("reference", FULL)])
    assert (every.dice_weak, every.dice_full, every.difference, every.ci95, every.cases) == (None, None, None, None, 0)
    assert every.reason == "pytorch fp32 is failed: no memory"
    # Its Dice is there to be seen how wrong it is, not to be believed.
    invalid = cell("reference", FULL, status="invalid", reason="below the gate")
    assert effects([cell("box", WEAK), invalid])[0].reason == "pytorch fp32 is invalid: below the gate"
    nothing = {"c1": {"liver": None}, "c2": {"liver": None}}
    assert effects([cell("box", nothing), cell("reference", nothing)])[0].reason == ABSENT


def test_a_checkpoint_that_happens_to_be_called_reference_is_no_training_of_this_run() -> None:
    cells = [cell("box", WEAK), cell("reference", FULL)]
    assert effects(cells, trained=()) == []
    assert effects(cells, trained=("box",)) == []
    assert effects(cells[:1]) == [] and effects(cells[1:]) == []
