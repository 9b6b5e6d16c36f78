"""Weak against full supervision: the sentence must say what the interval allows, and no more."""

from __future__ import annotations

import pytest

from benchmark.results import Results, SupervisionEffect
from reports.summary import summarize
from reports.supervision import supervision_sentences
from reports.table import Value
from reports.view import View
from tests.reports.report_factory import HOSTILE, SPLEEN
from tests.reports.test_summary import row


def effect(difference: float | None, ci95: tuple[float, float] | None, **changes: object) -> SupervisionEffect:
    values: dict[str, object] = {
        "task": SPLEEN, "model": "unet-2d", "labels": "box", "label": None, "backend": "pytorch", "device": "cpu",
        "precision": "fp32", "dice_weak": None if difference is None else 0.9 + difference, "dice_full": 0.9,
        "difference": difference, "ci95": ci95, "cases": 2,
    }  # fmt: skip
    return SupervisionEffect.model_validate(values | changes)


def told(results: Results, *effects: SupervisionEffect) -> list[str]:
    one_task = [cell for cell in results.cells if cell.task == SPLEEN]
    return supervision_sentences(View(results.model_copy(update={"supervision": list(effects), "cells": one_task})))


START = "Trained on box pseudo labels the UNet reaches Dice 0.870, on reference labels 0.900: −0.030"


@pytest.mark.parametrize(
    ("ci95", "meaning"),
    [
        ((-0.1, 0.04), "the interval contains 0 and is wide: so few cases neither show a difference nor rule one out"),
        ((-0.07, 0.01), "the interval contains 0: no difference is shown, and one beyond 0.070 is unlikely"),
        ((-0.05, -0.01), "the whole interval lies below 0"),
        ((-0.16, -0.02), "the whole interval lies below 0, but it is wide: how much is not known"),
    ],
)
def test_the_sentence_says_what_the_interval_means(results: Results, ci95: tuple[float, float], meaning: str) -> None:
    low, high = (f"{'+' if bound > 0 else '−'}{abs(bound):.3f}" for bound in ci95)
    assert told(results, effect(-0.03, ci95)) == [f"{START} [{low}, {high}] over 2 test cases – {meaning}."]


def test_a_gain_is_said_as_one(results: Results) -> None:
    (sentence,) = told(results, effect(0.02, (0.01, 0.03)))
    assert sentence.endswith("+0.020 [+0.010, +0.030] over 2 test cases – the whole interval lies above 0.")


def test_two_networks_that_learnt_nothing_agree_and_that_is_no_result(results: Results) -> None:
    (sentence,) = told(results, effect(-0.001, (-0.009, 0.007), dice_weak=0.080, dice_full=0.081))
    assert sentence.endswith("but with Dice below 0.3 neither has learnt enough for the comparison to mean anything.")
    (sentence,) = told(results, effect(-0.25, (-0.26, -0.24), dice_weak=0.1, dice_full=0.35))
    assert sentence.endswith("the whole interval lies below 0.")


def test_without_an_interval_the_sentence_says_why_and_nothing_of_a_difference_shown(results: Results) -> None:
    why = "one case is no evidence of accuracy; an interval needs 2"
    (sentence,) = told(results, effect(-0.03, None, cases=1, reason=why))
    assert sentence == f"{START}, without an interval – {why}."


def test_one_backend_speaks_for_all_and_what_could_not_be_had_is_no_sentence(results: Results) -> None:
    other = effect(-0.031, (-0.05, -0.01), backend="onnxruntime")
    assert len(told(results, effect(-0.03, (-0.05, -0.01)), other)) == 1
    assert told(results, effect(None, None, reason="random weights")) == []
    assert told(results) == []


def test_many_trainings_are_summed_up_in_one_sentence(results: Results) -> None:
    intervals = ((-0.05, -0.01), (-0.05, 0.01), (-0.2, 0.3), (0.01, 0.02))
    effects = [effect(sum(c) / 2, c, labels=f"points{n}") for n, c in enumerate(intervals, 1)]
    assert told(results, *effects) == [
        "Weak supervision changes the UNet's Dice by −0.030 to +0.050 against full supervision in 4 pairs of trainings;"
        " the interval excludes 0 in 2 of them."
    ]


def test_the_table_shows_what_the_run_recorded_for_each_valid_backend(results: Results) -> None:
    table = summarize(results).supervision
    assert table is not None
    found = row(table, HOSTILE, "PyTorch")
    recorded = next(e for e in results.supervision if e.task == HOSTILE and e.label is None)
    # Six cases whose difference grows by 0.004 from −0.02: mean −0.03, Student's interval ±0.00785.
    assert recorded.ci95 == pytest.approx((-0.03785, -0.02215), abs=1e-5)
    assert (found["difference"].text, found["95 % interval"].text) == ("−0.0300", "[−0.038, −0.022]")
    assert found["test cases"].text == "6"
    alone = row(table, SPLEEN, "PyTorch")["95 % interval"]
    assert alone == Value("–", "trained and tested on the same case: one case is no evidence of accuracy")


def test_labels_have_a_table_of_their_own_on_one_backend(results: Results) -> None:
    table = summarize(results).supervision_labels
    assert table is not None
    labels = [values[3].text for values in table.rows]
    assert labels == ["pancreas", "tumour|cancer"], "a task of one label needs none"
    assert row(table, "pancreas")["Dice weak"].text == "0.900"
