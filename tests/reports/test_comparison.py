"""A comparison is read from the top: what regressed first, and the same numbers in every format."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from benchmark.compare.changes import exact_change, judge
from benchmark.compare.schema import CellChange, Change, Floors, Offence, RunComparison, RunSide
from reports.comparison import percentage, print_comparison, summarize_comparison
from reports.comparison_markdown import comparison_markdown


def latency(change: float, reach: float = 0.03) -> Change:
    ci95 = (change - reach, change + reach)
    return Change(
        metric="latency",
        base=100.0,
        new=100 * (1 + change),
        change=change,
        ci95=ci95,
        limit=0.05,
        verdict=judge("latency", change, ci95, 0.05),
        how="against pytorch in the same run",
        reason="reaches far" if reach > 0.1 else None,
    )


def cell(prompt: str, fate: str = "compared", changes: Sequence[Change] = (), reason: str | None = None) -> CellChange:
    return CellChange(
        stage="pseudolabel", task="Task|1", model="m", prompt=prompt, backend="onnxruntime", device="cpu",
        precision="fp32", fate=fate, reason=reason, changes=list(changes),
    )  # fmt: skip


@pytest.fixture
def compared() -> RunComparison:
    side = RunSide(name="nightly", created="2026-11-23T14:05:09Z", place="x", sambench_version="1", cells=4)
    dice = exact_change("dice", 0.9, 0.898, -0.002, 0.001, None, "3 cases")
    cells = [
        cell("calm", changes=[latency(0.01)]),
        cell("wide", changes=[latency(0.0, 0.4)]),
        cell("slow", changes=[latency(0.1), dice]),
        cell("gone", "missing", reason="the new run has no such cell"),
        cell("fresh", "new"),
    ]
    offences = [
        Offence(rule="latency>5%", cell=cells[2], words="latency +10.0 %"),
        Offence(rule="missing", cell=cells[3], words="the new run has no such cell"),
    ]
    return RunComparison(
        base=side, new=side, rules=["latency>5%", "missing"], metrics=["latency", "dice"],
        floors=Floors(paired=0.02, raw=0.05, words="floor words"), differences=[], cells=cells, offences=offences,
        drift=["times moved"],
    )  # fmt: skip


def test_the_headline_counts_cells_and_rules(compared: RunComparison) -> None:
    summary = summarize_comparison(compared)
    assert summary.headline == "Regression: 2 of 4 cells break latency>5%, missing."
    assert summary.tone == "bad"
    calm = compared.model_copy(update={"offences": [], "cells": compared.cells[:2]})
    assert summarize_comparison(calm).headline == "No regression in 2 cells: 1 inconclusive."


def test_what_needs_attention_stands_first_and_an_unsure_one_says_why(compared: RunComparison) -> None:
    table = summarize_comparison(compared).cells
    order = [(row[3].text, row[5].text) for row in table.rows]
    assert order == [
        ("gone", "✗ missing"),
        ("slow", "✗ regression"),
        ("wide", "? inconclusive"),
        ("calm", "= no change"),
        ("fresh", "+ new"),
    ]
    slow = dict(zip([column.title for column in table.columns], table.rows[1], strict=True))
    assert (slow["latency"].text, slow["95 % interval"].text) == ("+10.0 %", "[+7.0 %, +13.0 %]")
    assert (slow["p50 ms"].text, slow["Dice"].text, slow["memory"].text) == ("100 → 110", "−0.0020", "–")
    assert table.rows[2][5].note == "reaches far"


def test_terminal_and_markdown_say_the_same(compared: RunComparison) -> None:
    summary = summarize_comparison(compared)
    stream = io.StringIO()
    print_comparison(summary, Console(file=stream, width=180))
    text, page = stream.getvalue(), comparison_markdown(summary)
    for words in ("latency +10.0 %", "the new run has no such cell", "[+7.0 %, +13.0 %]", "Times moved."):
        assert words in text
        assert words.replace("[", r"\[").replace("]", r"\]") in page
    assert page.startswith("❌ **Regression: 2 of 4 cells")
    assert r"Task\|1" in page, "a name must not open a column of its own"


@pytest.mark.parametrize(
    ("share", "text"), [(0.103, "+10.3 %"), (-0.1, "−10.0 %"), (0.0312, "+3.1 %"), (0.0, "0 %"), (2.0, "+200 %")]
)
def test_changes_carry_their_sign(share: float, text: str) -> None:
    assert percentage(share) == text
