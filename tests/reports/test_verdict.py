"""The report begins with what to do, says how sure that is, and what limits it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmark.results import Cell, Comparison, Results
from exporters.manifest import RANDOM_WEIGHTS
from reports.verdict import Verdict, judge
from reports.view import View
from tests.reports.report_factory import BELOW, FAILED, HOSTILE, SPLEEN, cell, comparison, without_dice

Judge = Callable[..., Verdict]
INT8 = {"precision": "int8"}


@pytest.fixture
def judged(results: Results) -> Judge:
    """The verdict over given cells, everything else as in the synthetic run."""

    def judge_cells(cells: list[Cell], comparisons: list[Comparison], **changes: object) -> Verdict:
        update = {"cells": cells, "comparisons": comparisons, "supervision": [], **changes}
        return judge(View(results.model_copy(update=update)))

    return judge_cells


def both(stage: str, prompt: str, task: str = SPLEEN, **changes: object) -> list[Cell]:
    return [cell(stage, task, prompt, "pytorch"), cell(stage, task, prompt, "onnxruntime", **changes)]


def test_a_faster_backend_is_advised_with_its_interval_its_dice_and_the_gate(judged: Judge) -> None:
    found = judged(both("pseudolabel", "box"), [comparison("pseudolabel", SPLEEN, "box")])
    assert found.headline == (
        "Use ONNX Runtime for pseudo-labelling: 2.31× [2.25, 2.38] faster than PyTorch, the same Dice, gate passed."
    )
    assert found.tone == "good"


def test_stages_with_the_same_answer_share_a_sentence_that_leaves_nothing_more_to_say(judged: Judge) -> None:
    cells = both("pseudolabel", "box") + both("segment", "box", dice=0.9301)
    found = judged(cells, [comparison("pseudolabel", SPLEEN, "box"), comparison("segment", SPLEEN, "box", 1.4)])
    assert found.headline == (
        "Use ONNX Runtime for pseudo-labelling (2.31× [2.25, 2.38] faster than PyTorch) and segmentation"
        " (1.40× [1.34, 1.47] faster): the same Dice, gate passed."
    )
    assert len(found.more) == 1
    assert found.more[0].startswith("How sure:")


def test_the_fastest_of_those_that_pass_the_gate_is_advised(judged: Judge) -> None:
    cells = [
        *both("pseudolabel", "box"),
        cell("pseudolabel", SPLEEN, "box", "onnxruntime", **INT8),
        cell("pseudolabel", SPLEEN, "box", "openvino", status="invalid", reason=BELOW, dice=0.9),
    ]
    compared = [
        comparison("pseudolabel", SPLEEN, "box", 2.0),
        comparison("pseudolabel", SPLEEN, "box", 3.1, **INT8),
        comparison("pseudolabel", SPLEEN, "box", 9.0, candidate="openvino", gate="fail"),
    ]
    found = judged(cells, compared)
    assert found.headline.startswith("Use ONNX Runtime int8 for pseudo-labelling: 3.10× [3.04, 3.17] faster than")
    others = [line for line in found.more if not line.startswith("How sure:")]
    assert any(line.startswith("ONNX Runtime fp32 pseudo-labels 2.00×") for line in others)
    assert any(line.startswith("OpenVINO fp32 fails the gate") for line in others)
    assert not any("int8" in line for line in others)


def test_a_stage_that_is_slower_keeps_the_baseline_while_the_other_moves(judged: Judge) -> None:
    cells = both("pseudolabel", "box") + both("segment", "box")
    slower = comparison("segment", SPLEEN, "box", 0.8, verdict="slower")
    found = judged(cells, [comparison("pseudolabel", SPLEEN, "box"), slower])
    assert found.headline.startswith("Use ONNX Runtime for pseudo-labelling: 2.31×")
    assert found.headline.endswith(
        "Keep PyTorch for segmentation: ONNX Runtime is slower, at 0.80× [0.74, 0.87] of its speed."
    )
    assert found.tone == "doubt"


def test_faster_here_and_slower_there_is_no_advice_to_move(judged: Judge) -> None:
    cells = both("pseudolabel", "box") + both("pseudolabel", "point")
    slower = comparison("pseudolabel", SPLEEN, "point", 0.8, verdict="slower")
    found = judged(cells, [comparison("pseudolabel", SPLEEN, "box"), slower])
    assert found.headline == (
        "Keep PyTorch for pseudo-labelling: ONNX Runtime has mixed results: faster in 1 of 2 (2.31× [2.25, 2.38]) and"
        " slower in 1 of 2 (0.80× [0.74, 0.87])."
    )
    assert found.tone == "bad"


def test_equal_speed_leaves_the_choice_and_says_within_what(judged: Judge) -> None:
    same = comparison("pseudolabel", SPLEEN, "box", 1.004, ci95=(0.9951, 1.0118), verdict="equivalent")
    found = judged(both("pseudolabel", "box"), [same])
    assert found.headline == (
        "For pseudo-labelling either serves: ONNX Runtime is as fast as PyTorch within ±2 % (1.004× [0.995, 1.012])."
    )


def test_an_open_comparison_is_undecided(judged: Judge) -> None:
    unclear = comparison("pseudolabel", SPLEEN, "box", 1.02, verdict="inconclusive")
    found = judged(both("pseudolabel", "box"), [unclear])
    assert found.headline.startswith("Undecided for pseudo-labelling: ONNX Runtime against PyTorch is inconclusive")
    assert found.tone == "doubt"
    assert any(line.startswith("How sure: none of 1 verdict is clear") for line in found.more)


def test_a_speed_below_the_gate_is_never_advised_nor_shown(judged: Judge) -> None:
    cells = both("pseudolabel", "box", status="invalid", reason=BELOW, dice=0.90)
    found = judged(cells, [comparison("pseudolabel", SPLEEN, "box", gate="fail")])
    assert found.headline == "Keep PyTorch for pseudo-labelling: ONNX Runtime fails the gate (Dice −0.0300)."
    assert "2.31" not in " ".join(found.more)
    assert found.tone == "bad"


def test_a_gate_that_failed_in_one_place_keeps_the_baseline(results: Results) -> None:
    found = judge(View(results))
    assert "Keep PyTorch for segmentation: ONNX Runtime fails the gate in 1 of 4 (Dice −0.0213)." in found.headline
    assert "gate passed in the 3 of 4 comparisons that ran" in found.headline
    assert found.more[-1] == "Of 16 cells, 1 failed and 1 invalid: the reasons stand below."


def test_what_could_not_be_measured_has_no_advice_and_says_why(judged: Judge) -> None:
    cells = both("pseudolabel", "box", **FAILED)
    found = judged(cells, [comparison("pseudolabel", SPLEEN, "box", None, gate="fail")])
    assert found.headline.startswith(
        "No advice for pseudo-labelling: ONNX Runtime could not be compared with PyTorch: ONNX Runtime failed: the"
    )


def test_several_prompts_show_the_range_and_the_outer_bounds(judged: Judge) -> None:
    cells = both("pseudolabel", "box") + both("pseudolabel", "point")
    compared = [comparison("pseudolabel", SPLEEN, "box", 2.5), comparison("pseudolabel", SPLEEN, "point", 1.2)]
    assert "1.20–2.50× [1.14, 2.57] faster than PyTorch" in judged(cells, compared).headline


def test_several_models_share_the_name_of_their_stage(judged: Judge) -> None:
    cells = both("pseudolabel", "box") + [
        one.model_copy(update={"model": "vit_b"}) for one in both("pseudolabel", "box")
    ]
    compared = [comparison("pseudolabel", SPLEEN, "box", model=model) for model in ("litemedsam", "vit_b")]
    assert judged(cells, compared).headline == (
        "Use ONNX Runtime for pseudo-labelling with litemedsam (2.31× [2.25, 2.38] faster than PyTorch) and with vit_b"
        " (2.31× [2.25, 2.38] faster): the same Dice, gate passed."
    )


def test_models_of_one_stage_are_told_apart(judged: Judge) -> None:
    cells = both("pseudolabel", "box") + [
        one.model_copy(update={"model": "vit_b"}) for one in both("pseudolabel", "box")
    ]
    slower = comparison("pseudolabel", SPLEEN, "box", 0.8, verdict="slower", model="vit_b")
    found = judged(cells, [comparison("pseudolabel", SPLEEN, "box"), slower])
    assert "for pseudo-labelling with litemedsam: 2.31×" in found.headline
    assert "Keep PyTorch for pseudo-labelling with vit_b" in found.headline


def test_random_weights_are_advised_on_masks_alone(judged: Judge) -> None:
    found = judged(without_dice(both("pseudolabel", "box")), [comparison("pseudolabel", SPLEEN, "box")])
    assert found.headline.endswith(f"faster than PyTorch, gate passed on masks alone ({RANDOM_WEIGHTS}).")
    assert not [caveat for caveat in found.caveats if "evidence" in caveat and "pseudo-labelling" in caveat]


def test_a_real_change_of_dice_is_part_of_the_advice(judged: Judge) -> None:
    found = judged(both("pseudolabel", "box", dice=0.9292), [comparison("pseudolabel", SPLEEN, "box")])
    assert found.headline.endswith("Dice −0.0008, gate passed.")


def test_how_sure_tells_pairs_and_calibration_or_that_there_is_none(judged: Judge, results: Results) -> None:
    cells, compared = both("pseudolabel", "box"), [comparison("pseudolabel", SPLEEN, "box")]
    sure = judged(cells, compared).more[0]
    assert sure.startswith("How sure: the 1 verdict is clear at ±2 %, from 30 pairs of turns; this machine was calib")
    assert "this machine was not calibrated" in judged(cells, compared, calibration=None).more[0]


def test_without_comparisons_it_says_that_there_is_nothing_to_compare(judged: Judge) -> None:
    only = [cell("pseudolabel", SPLEEN, "box", "pytorch")]
    assert judged(only, []).headline == "Nothing to compare: only PyTorch gave valid results."


def test_little_evidence_and_testing_on_training_cases_are_said(results: Results) -> None:
    caveats = judge(View(results)).caveats
    assert f"{SPLEEN}: one case, trained and tested on the same case." in caveats
    assert any("pseudo-labelling on 1 case and segmentation on 1 test case" in caveat for caveat in caveats)
    assert any("spleen_2 was used for training and for testing" in caveat for caveat in caveats)
    assert any(caveat.startswith(HOSTILE) and "segmentation on 2 test cases" in caveat for caveat in caveats)


def test_another_device_is_named(judged: Judge) -> None:
    cells = [one.model_copy(update={"device": "cuda"}) for one in both("pseudolabel", "box")]
    found = judged(cells, [comparison("pseudolabel", SPLEEN, "box", device="cuda")])
    assert "for pseudo-labelling (cuda): " in found.headline
