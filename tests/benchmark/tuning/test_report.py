"""What a tuning tells: what to deploy, what it gains and costs, and what is not known."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from benchmark.measured import Environment
from benchmark.sections import LaneSpec
from benchmark.tuning.place import winner_yaml
from benchmark.tuning.report import headline, lines, print_tune, settings_words, tune_markdown
from benchmark.tuning.schema import CandidateResult, TuneResult, Versus

HERE = Environment(
    machine="m", cpu="A <fast> CPU", cores=2, memory_gib=8, gpu=None, os="o", python="3", libraries={}, threads=2,
    load_before=None,
)  # fmt: skip


def candidate(name: str, fate: str = "slower", **fields: Any) -> CandidateResult:
    backend, _, precision = name.partition(",")[0].partition(" ")
    given: dict[str, Any] = {
        "name": name, "backend": backend, "precision": precision or "fp32", "own": LaneSpec(), "fate": fate,
        "reason": f"reason of {name}",
    }  # fmt: skip
    return CandidateResult(**{**given, **fields})


WINNER = candidate(
    "onnxruntime int8, threads 1, batch 4, graph basic",
    "winner",
    own=LaneSpec(threads=1, prompts_per_call=4, options={"graph": "basic"}),
    dice={"box": 0.9312},
    mask_dice={"box": 0.9991},
    memory_mib=812.0,
    unit_ms=100.0,
)
REFERENCE = candidate("pytorch", dice={"box": 0.9314}, mask_dice={"box": 1.0}, memory_mib=1420.4, unit_ms=240.0)


def tuned(**fields: Any) -> TuneResult:
    given: dict[str, Any] = {
        "sambench_version": "1", "created": "2026-01-02T03:04:05+00:00", "command": "sambench tune --data D --out O",
        "environment": HERE, "task": "Task", "model": "litemedsam", "cases": ["c_1"], "units": 2, "variants": ["box"],
        "budget_s": 60.0, "spent_s": 59.4, "margin": 0.02, "gate": 0.999, "reference": "pytorch",
        "winner": WINNER.name, "why": "it is the fastest",
        "versus": [
            Versus(other="pytorch", speedup=2.314, ci95=(2.25, 2.37), pairs=40, source="final"),
            Versus(other="openvino", speedup=1.05, ci95=None, pairs=0, source="screening", reason="one after another"),
        ],
        "candidates": [
            REFERENCE, candidate("openvino", "open"), WINNER, candidate("onnxruntime fp16", "gate"),
            candidate("openvino, threads 1", "not tried"), candidate("pytorch bf16 (all)", "unavailable"),
        ],
        "spec": {"name": "t", "lanes": {}},
    }  # fmt: skip
    return TuneResult(**{**given, **fields})


def test_the_headline_says_what_to_deploy() -> None:
    assert headline(tuned()) == "Deploy ONNX Runtime int8 with threads 1, 4 prompts in a call, graph basic"
    assert headline(tuned(winner="pytorch")) == "Deploy PyTorch as it is by default"
    assert settings_words(candidate("x", own=LaneSpec(windows_per_batch=2))) == "2 windows at once"


def test_gain_dice_and_memory_stand_with_their_certainty() -> None:
    told = lines(tuned(notes=["The machine was busy"]))
    assert told == [
        "Gain: 2.31× the speed of PyTorch as it is by default (95 % interval 2.25–2.37, 40 pairs of the final).",
        "Dice: box: 0.9312 against 0.9314 (−0.0002), masks overlap with Dice 0.9991.",
        "Memory: 812 MiB against 1,420 MiB (peaks of the processes).",
        "Why this one: it is the fastest.",
        "Against what one would try by hand, every backend as it is by default: 1.05× openvino.",
        "The machine was busy.",
    ]


def test_what_is_not_known_is_said() -> None:
    versus = [Versus(other="pytorch", speedup=2.0, ci95=None, pairs=3, source="race", reason="3 pairs; needs 16")]
    winner = WINNER.model_copy(update={"memory_mib": None, "dice": {"box": None}})
    told = "\n".join(lines(tuned(versus=versus, no_dice="random weights", candidates=[REFERENCE, winner])))
    assert "by default (3 pairs; needs 16)." in told
    assert "masks overlap with Dice 0.9991; no Dice against the labels: random weights." in told
    assert "Memory: this system does not tell" in told
    assert "Nothing that was measured is faster" in lines(tuned(winner="pytorch"))[0]


def test_the_page_has_every_candidate_and_means_what_it_says() -> None:
    page = tune_markdown(tuned())
    assert page.startswith("**Deploy ONNX Runtime int8 with")
    assert "| onnxruntime fp16 | gate |" in page and "| pytorch bf16 (all) | unavailable |" in page
    assert "1 candidate not tried" in page and "openvino, threads 1" in page
    assert "A &lt;fast&gt; CPU" in page and "```sh\nsambench tune --data D --out O\n" in page
    table = page[page.index("## Candidates") :]
    order = [table.index(f"| {name} |") for name in (WINNER.name, "openvino", "pytorch", "onnxruntime fp16")]
    assert order == sorted(order), "the winner first, then who may be as fast, the slower ones, and the wrong ones"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_terminal_shows_the_same_and_keeps_its_width(width: int) -> None:
    console = Console(width=width, record=True, file=io.StringIO())
    print_tune(tuned(), console)
    text = console.export_text()
    assert "Deploy ONNX Runtime int8" in text and "2.31×" in text and "not tried" not in text
    assert "unavailable" in text and "pytorch bf16" in text
    assert all(len(line) <= width for line in text.splitlines())


def test_a_winner_on_the_references_own_lane_is_told_in_its_specification() -> None:
    assert "runs alone" not in winner_yaml(tuned())
    assert "runs alone" in winner_yaml(tuned(spec={"name": "t", "lanes": {"pytorch": {"threads": 1}}}))
