"""Strategies are compared within one lane, and what they cost is what a person did."""

from __future__ import annotations

import pytest

from benchmark.results import Cell, Results
from reports.lineup import Strategy, lineups, main_lineups, whereabouts
from reports.view import View
from tests.reports.report_factory import ABDOMEN, FAILED, cell
from tests.reports.strategy_factory import strategy_cell

BOX, POINT = (0.0, 1.0), (1.0, 0.0)


def view_of(results: Results, *cells: Cell) -> View:
    return View(results.model_copy(update={"cells": list(cells), "comparisons": []}))


def both(backend: str = "pytorch", **changes: object) -> list[Cell]:
    dice = {"liver": 0.8, "aorta": 0.6}
    return [
        strategy_cell("box", BOX, dice, backend=backend, **changes),
        strategy_cell("point", POINT, dice, backend=backend, **changes),
    ]


def test_a_box_costs_two_clicks_and_the_cheapest_strategy_comes_first(results: Results) -> None:
    dice = {"liver": 0.8}
    cells = [
        strategy_cell("points3+neg3", (6.0, 0.0), dice),
        strategy_cell("box+point", (1.0, 1.0), dice),
        strategy_cell("box", BOX, dice),
        strategy_cell("box-every3", (0.0, 0.25), dice),
        strategy_cell("point", POINT, dice),
    ]
    (lineup,) = lineups(view_of(results, *cells))
    assert [(s.name, s.effort) for s in lineup.strategies] == [
        ("box-every3", 0.5),
        ("point", 1.0),
        ("box", 2.0),
        ("box+point", 3.0),
        ("points3+neg3", 6.0),
    ]


@pytest.mark.parametrize(
    ("name", "cost", "kind"),
    [
        ("box-margin5", BOX, "box"),
        ("points3+neg3", (5.8, 0.0), "point"),
        ("box+point", (1.0, 1.0), "box+point"),
        ("iterative5", (4.9, 0.0), "iterative"),
    ],
)
def test_the_kind_of_a_strategy_is_what_a_person_does(name: str, cost: tuple[float, float], kind: str) -> None:
    assert Strategy(strategy_cell(name, cost, {"liver": 0.8})).kind == kind


def test_the_reference_lane_is_shown_wherever_it_stands_in_the_run(results: Results) -> None:
    cells = [*both("onnxruntime"), *both("pytorch", precision="fp16"), *both("pytorch")]
    (lineup,) = lineups(view_of(results, *cells))
    assert str(lineup.lane) == "pytorch"


def test_a_reference_lane_that_failed_gives_way_to_the_first_that_did_not(results: Results) -> None:
    broken = [one.model_copy(update=FAILED | {"effort": None}) for one in both("pytorch")]
    (lineup,) = lineups(view_of(results, *broken, *both("onnxruntime"), *both("onnxruntime", precision="int8")))
    assert str(lineup.lane) == "onnxruntime"
    assert len(lineup.measured) == 2


def test_one_strategy_or_none_with_an_effort_is_nothing_to_compare(results: Results) -> None:
    box, point = both()
    assert lineups(view_of(results, box)) == ()
    assert lineups(view_of(results, box, *both("onnxruntime")[:1])) == ()
    free = [one.model_copy(update={"effort": None}) for one in (box, point)]
    assert lineups(view_of(results, *free)) == ()
    trained = [cell("segment", ABDOMEN, labels, "pytorch") for labels in ("box", "point")]
    assert lineups(view_of(results, *trained)) == ()


def test_each_device_has_a_line_up_but_one_speaks_for_the_task(results: Results) -> None:
    view = view_of(results, *both(), *both(device="cuda"))
    assert whereabouts(lineups(view)) == ("cpu", "cuda")
    assert [lineup.device for lineup in main_lineups(view)] == ["cpu"]


def test_an_invalid_cell_keeps_its_effort_but_has_no_dice_to_boast_of(results: Results) -> None:
    box, point = both()
    (lineup,) = lineups(
        view_of(results, box, point.model_copy(update={"status": "invalid", "reason": "below the gate"}))
    )
    cheap = lineup.strategies[0]
    assert (cheap.name, cheap.effort, cheap.dice, cheap.label_dice("liver")) == ("point", 1.0, None, None)
    assert len(lineup.measured) == 1 and main_lineups(view_of(results, box)) == ()
