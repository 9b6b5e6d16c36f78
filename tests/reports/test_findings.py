"""Each candidate's sentence must say what happened, neither more nor less."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmark.results import Cell, Comparison, Results
from exporters.manifest import RANDOM_WEIGHTS
from reports.findings import findings
from reports.view import View
from tests.reports.report_factory import BELOW, FAILED, SPLEEN, cell, comparison, without_dice

Judge = Callable[[list[Cell], list[Comparison]], tuple[str, ...]]


@pytest.fixture
def judged(results: Results) -> Judge:
    """The findings over given cells, everything else as in the synthetic run."""

    def judge_cells(cells: list[Cell], comparisons: list[Comparison]) -> tuple[str, ...]:
        return findings(View(results.model_copy(update={"cells": cells, "comparisons": comparisons})))

    return judge_cells


def both(stage: str, prompt: str, task: str = SPLEEN, **changes: object) -> list[Cell]:
    return [cell(stage, task, prompt, "pytorch"), cell(stage, task, prompt, "onnxruntime", **changes)]


def test_all_faster_reads_as_one_plain_sentence(judged: Judge) -> None:
    cells = both("pseudolabel", "box") + both("segment", "box", dice=0.9301)
    found = judged(cells, [comparison("pseudolabel", SPLEEN, "box"), comparison("segment", SPLEEN, "box", 1.4)])
    assert found[0] == (
        "ONNX Runtime pseudo-labels 2.31× [2.25, 2.38] faster than PyTorch on this machine and segments"
        " 1.40× [1.34, 1.47] faster, with the same Dice (largest difference 0.0001) – gate passed."
    )
    assert len(found) == 1


def test_several_comparisons_show_the_smallest_and_the_largest_speedup(judged: Judge) -> None:
    cells = both("pseudolabel", "box") + both("pseudolabel", "point")
    compared = [comparison("pseudolabel", SPLEEN, "box", 2.5), comparison("pseudolabel", SPLEEN, "point", 1.2)]
    assert "1.20× [1.14, 1.27] to 2.50× [2.44, 2.57] faster than PyTorch" in judged(cells, compared)[0]


def test_mixed_results_are_not_summed_up_as_faster(judged: Judge) -> None:
    cells = both("pseudolabel", "box") + both("pseudolabel", "point")
    slower = comparison("pseudolabel", SPLEEN, "point", 0.8, verdict="slower")
    found = judged(cells, [comparison("pseudolabel", SPLEEN, "box"), slower])
    assert found[0].startswith(
        "ONNX Runtime pseudo-labels with mixed results: faster than PyTorch on this machine in 1 of 2"
        " (2.31× [2.25, 2.38]) and slower in 1 of 2 (0.80× [0.74, 0.87])"
    )


def test_slower_is_said_as_slower(judged: Judge) -> None:
    slower = comparison("pseudolabel", SPLEEN, "box", 0.8, verdict="slower")
    found = judged(both("pseudolabel", "box"), [slower])
    assert found[0].startswith(
        "ONNX Runtime pseudo-labels slower than PyTorch on this machine, at 0.80× [0.74, 0.87] of its speed"
    )


def test_inconclusive_claims_neither_direction(judged: Judge) -> None:
    unclear = comparison("pseudolabel", SPLEEN, "box", 1.02, verdict="inconclusive")
    found = judged(both("pseudolabel", "box"), [unclear])
    assert "neither clearly faster nor clearly slower than PyTorch" in found[0]


def test_too_few_pairs_are_said_once_for_all_comparisons(judged: Judge) -> None:
    cells = both("pseudolabel", "box") + both("pseudolabel", "point")
    compared = [
        comparison("pseudolabel", SPLEEN, prompt, ratio, ci95=None, pairs=6, verdict="inconclusive")
        for prompt, ratio in (("box", 1.63), ("point", 1.59))
    ]
    headline = judged(cells, compared)[0]
    assert (
        "nor clearly slower than PyTorch on this machine, at 1.59× to 1.63× (no interval) (2 comparisons)" in headline
    )


def test_equivalent_says_within_what_and_an_older_run_does_not(judged: Judge) -> None:
    same = comparison("pseudolabel", SPLEEN, "box", 1.004, ci95=(0.9951, 1.0118), verdict="equivalent")
    found = judged(both("pseudolabel", "box"), [same])
    assert "as fast as PyTorch on this machine within ±2 %, at 1.004× [0.995, 1.012]" in found[0]
    old = same.model_copy(update={"margin": None})
    assert "as fast as PyTorch on this machine, at 1.004×" in judged(both("pseudolabel", "box"), [old])[0]


def test_a_speed_below_the_gate_does_not_count(judged: Judge) -> None:
    cells = both("pseudolabel", "box", status="invalid", reason=BELOW, dice=0.90)
    found = judged(cells, [comparison("pseudolabel", SPLEEN, "box", gate="fail")])
    assert "2.31" not in found[0]
    assert found[0] == (
        "ONNX Runtime fails the gate against PyTorch, so its speed does not count (Dice −0.0300 in pseudolabel,"
        " Task09_Spleen, box)."
    )


def test_a_gate_that_failed_in_one_place_is_in_the_first_sentence(results: Results) -> None:
    found = findings(View(results))
    assert "but the gate failed in 1 of 8 comparisons, whose speed does not count (Dice −0.0213" in found[0]


def test_a_failed_candidate_is_named_with_its_reason(judged: Judge) -> None:
    cells = both("pseudolabel", "box", **FAILED)
    found = judged(cells, [comparison("pseudolabel", SPLEEN, "box", None, gate="fail")])
    assert found[0].startswith("ONNX Runtime could not be compared with PyTorch: ONNX Runtime failed: the worker")


def test_a_provider_that_fell_back_is_no_speedup_even_if_the_gate_passed(judged: Judge) -> None:
    cells = both("pseudolabel", "box", status="invalid", reason="CUDA was asked for, the CPU ran")
    found = judged(cells, [comparison("pseudolabel", SPLEEN, "box")])
    assert "2.31" not in found[0]
    assert "CUDA was asked for, the CPU ran" in found[0]


INT8 = {"precision": "int8"}


def test_precisions_are_told_apart_and_each_has_a_sentence_of_its_own(judged: Judge) -> None:
    cells = [*both("pseudolabel", "box"), cell("pseudolabel", SPLEEN, "box", "onnxruntime", **INT8)]
    compared = [comparison("pseudolabel", SPLEEN, "box", 3.0, **INT8), comparison("pseudolabel", SPLEEN, "box", 2.0)]
    found = judged(cells, compared)
    assert found[0].startswith("ONNX Runtime fp32 pseudo-labels 2.00× [1.94, 2.07] faster than PyTorch fp32 on")
    assert len(found) == 2
    assert found[1].startswith("ONNX Runtime int8 pseudo-labels 3.00× [2.94, 3.07] faster than PyTorch fp32 on")


def test_a_reduced_precision_that_fails_the_gate_does_not_taint_fp32(judged: Judge) -> None:
    bad = cell("pseudolabel", SPLEEN, "box", "onnxruntime", status="invalid", reason=BELOW, dice=0.90, **INT8)
    compared = [comparison("pseudolabel", SPLEEN, "box"), comparison("pseudolabel", SPLEEN, "box", gate="fail", **INT8)]
    found = judged([*both("pseudolabel", "box"), bad], compared)
    assert found[0].startswith("ONNX Runtime fp32 pseudo-labels 2.31×")
    assert found[1].startswith("ONNX Runtime int8 fails the gate against PyTorch fp32, so its speed does not")


def test_random_weights_have_a_speed_and_no_sentence_about_accuracy(judged: Judge) -> None:
    cells = without_dice(both("pseudolabel", "box"))
    found = judged(cells, [comparison("pseudolabel", SPLEEN, "box")])
    assert found[0] == (
        "ONNX Runtime pseudo-labels 2.31× [2.25, 2.38] faster than PyTorch on this machine – gate passed on masks"
        f" alone ({RANDOM_WEIGHTS})."
    )


def test_random_weights_beside_trained_ones_do_not_pass_for_the_same_dice(judged: Judge) -> None:
    cells = both("pseudolabel", "point") + without_dice(both("pseudolabel", "box"))
    found = judged(cells, [comparison("pseudolabel", SPLEEN, prompt) for prompt in ("box", "point")])
    assert found[0].endswith(f"gate passed, in 1 of 2 comparisons on masks alone ({RANDOM_WEIGHTS}).")


def test_random_weights_whose_masks_differ_fail_with_that_reason(judged: Judge) -> None:
    why = "its masks overlap pytorch's with Dice 0.9000, below 0.999"
    ours, theirs = without_dice(both("pseudolabel", "box", status="invalid", reason=why))
    found = judged([ours, theirs], [comparison("pseudolabel", SPLEEN, "box", None, gate="fail", reason=why)])
    assert found[0] == (
        f"ONNX Runtime fails the gate against PyTorch, so its speed does not count ({why} in pseudolabel,"
        " Task09_Spleen, box)."
    )


def test_without_comparisons_it_says_that_there_is_nothing_to_compare(judged: Judge) -> None:
    only = [cell("pseudolabel", SPLEEN, "box", "pytorch")]
    assert judged(only, [])[0] == "Nothing to compare: only PyTorch gave valid results."
    assert judged([], [])[0] == "Nothing to compare: the run has no cells."
    broken = [cell("pseudolabel", SPLEEN, "box", "pytorch", **FAILED)]
    assert "none of 1 cell gave a valid result (the worker ended" in judged(broken, [])[0]


def test_a_real_change_of_dice_is_not_called_the_same(judged: Judge) -> None:
    found = judged(both("pseudolabel", "box", dice=0.9292), [comparison("pseudolabel", SPLEEN, "box")])
    assert found[0].endswith("with Dice changed by −0.0008 at most – gate passed.")


def test_another_device_is_named(judged: Judge) -> None:
    cells = [one.model_copy(update={"device": "cuda"}) for one in both("pseudolabel", "box")]
    found = judged(cells, [comparison("pseudolabel", SPLEEN, "box", device="cuda")])
    assert "on this machine (cuda)" in found[0]
