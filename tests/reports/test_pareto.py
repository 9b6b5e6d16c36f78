"""The Pareto front holds the results that nothing beats in both time and Dice, and no other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from benchmark.results import Results
from reports.chart_pareto import pareto
from reports.charts import specification
from reports.pareto import pareto_front
from reports.view import View
from tests.reports.chart_data import rows

Point = tuple[float, float]
# Few values, so that ties are common.
points = st.lists(st.tuples(st.sampled_from([1.0, 2.0, 3.0, 5.0]), st.sampled_from([0.1, 0.5, 0.7, 0.9])), max_size=12)


def dominates(one: Point, other: Point) -> bool:
    return one[0] <= other[0] and one[1] >= other[1] and one != other


def test_the_front_of_a_case_by_hand() -> None:
    found = pareto_front([(5.0, 0.9), (1.0, 0.5), (2.0, 0.4), (2.0, 0.7), (7.0, 0.9)])
    assert found == (1, 3, 0)


def test_equal_points_do_not_beat_each_other() -> None:
    assert set(pareto_front([(1.0, 0.5), (1.0, 0.5), (1.0, 0.4)])) == {0, 1}


def test_nothing_has_no_front() -> None:
    assert pareto_front([]) == ()


@given(points)
def test_no_point_of_the_front_is_dominated_and_every_other_is(found: list[Point]) -> None:
    front = set(pareto_front(found))
    for index, point in enumerate(found):
        assert (index not in front) == any(dominates(other, point) for other in found)


@given(points)
def test_the_front_rises_in_time(found: list[Point]) -> None:
    times = [found[index][0] for index in pareto_front(found)]
    assert times == sorted(times)


def test_a_slower_backend_does_not_reach_the_front_by_a_dice_that_reads_the_same(results: Results) -> None:
    fast, slow = (
        cell
        for cell in results.cells
        if (cell.stage, cell.task, cell.prompt) == ("pseudolabel", "Task09_Spleen", "box")
    )
    if fast.backend == "pytorch":
        fast, slow = slow, fast
    slow = slow.model_copy(update={"dice": (fast.dice or 0) + 0.0001})
    (figure,) = pareto(View(results.model_copy(update={"cells": [slow, fast], "comparisons": []})), 480)
    _, others, front, _ = specification(figure)["layer"]
    assert [row["backend"] for row in rows(specification(figure), 1)] == ["PyTorch"]
    assert [row["backend"] for row in rows(specification(figure), 2)] == ["ONNX Runtime"]
    assert front["mark"]["filled"] and not others["mark"]["filled"]


def test_an_invalid_cell_is_no_point_of_the_chart(results: Results) -> None:
    drawn = [specification(figure) for figure in pareto(View(results), 480)]
    shown = sum(len(rows(spec, layer)) for spec in drawn for layer in (1, 2))
    assert shown == sum(cell.status == "ok" for cell in results.cells)


def test_the_backend_has_a_shape_and_not_a_colour_alone(results: Results) -> None:
    marks = specification(pareto(View(results), 480)[0])["layer"][2]["encoding"]
    assert marks["shape"]["field"] == marks["color"]["field"] == "backend"
    assert len(set(marks["shape"]["scale"]["range"])) == 2
