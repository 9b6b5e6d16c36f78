"""Charts show the numbers of the run, tell things apart by shape or word, and stay of a size one can look at."""

from __future__ import annotations

import io
import json
from typing import Any

import altair as alt
import pytest
from PIL import Image

from benchmark.results import Results
from reports.chart_accuracy import loss
from reports.chart_effort import effort, side_by_side
from reports.chart_speed import speedup
from reports.charts import figures, png, principal, specification
from reports.view import View
from tests.reports.chart_data import rows
from tests.reports.many_factory import build_many
from tests.reports.report_factory import ABDOMEN, without_dice
from tests.reports.strategy_factory import STRATEGIES, strategy_cell


def test_the_speedup_chart_shades_what_counts_as_equivalent(results: Results) -> None:
    figure = speedup(View(results), 640)
    assert figure is not None and "the margin around it" in figure.alt
    spec = specification(figure)
    assert spec["layer"][0]["mark"]["type"] == "rect"
    (band,) = rows(spec, 0)
    assert (band["from"], band["to"]) == pytest.approx((1 / 1.02, 1.02))


@pytest.mark.parametrize("margins", [(None,), (0.02, 0.05)])
def test_without_one_margin_for_all_comparisons_no_band_is_drawn(results: Results, margins: tuple[float, ...]) -> None:
    compared = [
        one.model_copy(update={"margin": margin}) for one in results.comparisons[: len(margins)] for margin in margins
    ]
    figure = speedup(View(results.model_copy(update={"comparisons": compared})), 640)
    assert figure is not None and "margin" not in figure.alt
    assert "rect" not in {layer["mark"]["type"] for layer in specification(figure)["layer"]}


def test_the_effort_chart_has_a_named_point_for_each_strategy_and_a_faint_one_for_each_label(wide: Results) -> None:
    (figure,) = effort(View(wide), 640)
    spec = specification(figure)
    _, labels, _, strategies, names = spec["layer"]
    assert {row["strategy"] for row in rows(spec, 3)} == set(STRATEGIES)
    assert len(rows(spec, 1)) == 12 * 8
    assert names["encoding"]["text"]["field"] == "strategy"
    assert labels["mark"]["size"] < strategies["mark"]["size"] and labels["mark"]["opacity"] < 0.5


def test_the_effort_chart_is_a_picture_for_markdown_too(wide: Results) -> None:
    (figure,) = effort(View(wide), 640)
    with Image.open(io.BytesIO(png(figure))) as image:
        assert image.format == "PNG" and image.width > 640


def test_the_kind_of_a_strategy_has_a_shape_and_not_a_colour_alone(wide: Results) -> None:
    (figure,) = effort(View(wide), 640)
    marks = specification(figure)["layer"][3]["encoding"]
    assert marks["shape"]["field"] == marks["color"]["field"] == "kind"
    assert len(set(marks["shape"]["scale"]["range"])) == 4
    titles = {one["title"] for one in marks["tooltip"]}
    assert titles == {"strategy", "label", "Dice", "effort", "clicks", "boxes"}


def test_the_dashed_line_is_the_best_dice_for_an_effort_or_less(results: Results) -> None:
    cells = [
        strategy_cell("point", (1.0, 0.0), {"liver": 0.4}),
        strategy_cell("box", (0.0, 1.0), {"liver": 0.9}),
        strategy_cell("points5", (5.0, 0.0), {"liver": 0.5}),
    ]
    (figure,) = effort(View(results.model_copy(update={"cells": cells, "comparisons": []})), 640)
    steps = [(row["place"], row["dice"]) for row in rows(specification(figure), 0)]
    assert steps == [(1.0, 0.4), (2.0, 0.9), (5.0, 0.9), (5.4, 0.9)]


def test_equal_efforts_stand_side_by_side_around_their_value() -> None:
    assert side_by_side([0.5, 2.0, 2.0, 2.0, 3.0], 0.1) == pytest.approx([0.5, 1.9, 2.0, 2.1, 3.0])
    assert side_by_side([1.0, 2.0], 0.1) == [1.0, 2.0]


def test_without_dice_or_effort_there_is_no_effort_chart(wide: Results, results: Results) -> None:
    assert effort(View(results), 640) == ()
    assert effort(View(wide.model_copy(update={"cells": without_dice(wide.cells)})), 640) == ()


def test_no_chart_of_a_wide_run_outgrows_a_screen_or_two(wide: Results) -> None:
    drawn = {figure.key: specification(figure) for figure in figures(View(wide), 640)}
    assert {"speedup", "effort", "dice-pseudolabel", "dice-segment"} <= set(drawn)
    assert all(spec["height"] <= 1000 for spec in drawn.values())


def test_many_prompts_have_a_line_each_by_name_because_colours_run_out(wide: Results, results: Results) -> None:
    drawn = {figure.key: specification(figure) for figure in figures(View(wide), 640)}
    shown = rows(drawn["dice-pseudolabel"], 1)
    assert len(shown) == 12 * 2 and {row["what"] for row in shown} == set(STRATEGIES)
    marks = drawn["dice-pseudolabel"]["layer"][1]
    assert marks["encoding"]["shape"]["field"] == "backend"
    few = {figure.key: specification(figure) for figure in figures(View(results), 640)}
    assert few["dice-pseudolabel"]["layer"][1]["encoding"]["color"]["field"] == "condition"


def test_a_task_that_goes_without_saying_is_not_repeated_on_every_line(wide: Results, results: Results) -> None:
    assert not any(ABDOMEN in View(wide).label(cell) for cell in wide.cells)
    assert all(cell.task in View(results).label(cell) for cell in results.cells)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return build_many(tmp_path_factory.mktemp("many"), models=4, strategies=8, tasks=2)


def _sources(spec: object) -> list[str]:
    if isinstance(spec, dict):
        own = [spec["data"]["name"]] if isinstance(spec.get("data"), dict) else []
        return own + [name for key, value in spec.items() if key != "datasets" for name in _sources(value)]
    return [name for one in spec for name in _sources(one)] if isinstance(spec, list) else []


@pytest.mark.parametrize("run", ["results", "wide", "many"])
def test_every_chart_keeps_to_the_schema_and_has_all_its_data(run: str, request: pytest.FixtureRequest) -> None:
    drawn = figures(View(request.getfixturevalue(run)), 480)
    assert len({figure.key for figure in drawn}) == len(drawn)
    for figure in drawn:
        spec = specification(figure)
        # Charts are made without checking, which takes longer than all else; this is the check.
        alt.Chart.from_dict(spec, validate=True)
        assert set(_sources(spec)) == set(spec["datasets"])
        json.dumps(spec, allow_nan=False)


def test_of_many_conditions_the_most_telling_are_drawn_and_the_title_says_so(many: Results) -> None:
    drawn = {figure.key: figure for figure in figures(View(many), 480)}
    speed = drawn["speedup"]
    assert "10 of 64 shown" in speed.title
    assert all(specification(figure)["height"] <= 1100 for figure in drawn.values())
    for figure in drawn.values():
        assert sum(map(len, specification(figure)["datasets"].values())) <= 7000, figure.key
    assert len(drawn) < 40


def test_a_backend_has_the_same_colour_in_every_chart(many: Results) -> None:
    seen: dict[str, set[str]] = {}
    for figure in figures(View(many), 480):
        for layer in specification(figure).get("layer", []):
            colour = layer["encoding"].get("color", {})
            if colour.get("field") == "backend" and "scale" in colour:
                for name, hue in zip(colour["scale"]["domain"], colour["scale"]["range"], strict=True):
                    # The legend of drift says the number behind the name.
                    seen.setdefault(name.split(":")[0], set()).add(hue)
    assert set(seen) == {"PyTorch", "ONNX Runtime", "OpenVINO", "PyTorch (compiled)"}
    assert all(len(hues) == 1 for hues in seen.values())


def test_comparisons_of_a_condition_share_a_row_and_are_told_apart_by_name(many: Results) -> None:
    figure = speedup(View(many), 480)
    assert figure is not None
    spec = specification(figure)
    names = [row["shown"] for layer in spec["layer"] if layer["mark"]["type"] == "text" for row in _of(spec, layer)]
    assert len(names) == 30 and {name.split(" ", 1)[1] for name in names} == {
        "ONNX Runtime",
        "OpenVINO",
        "PyTorch (compiled)",
    }


def _of(spec: dict[str, Any], layer: dict[str, Any]) -> list[dict[str, Any]]:
    return list(spec["datasets"][layer["data"]["name"]])


def test_pictures_are_of_the_first_chart_of_each_kind(many: Results) -> None:
    drawn = figures(View(many), 480)
    first = [figure.key for figure in principal(drawn)]
    assert "pareto-1" in first and "pareto-2" not in first
    assert {"latency-pseudolabel", "latency-segment", "amortised-slice"} <= set(first)
    assert {figure.section for figure in principal(drawn)} == {figure.section for figure in drawn}


def test_no_legend_relies_on_a_stroke_of_the_libraries_default_because_that_is_black(results: Results) -> None:
    figure = loss(View(results), 480)
    assert figure is not None
    spec = specification(figure)
    assert spec["config"]["legend"]["symbolBaseStrokeColor"] != "black"
    line = spec["layer"][0]["encoding"]
    # One legend for both: what differs would make two, of which the one of dashes has no colour.
    assert line["color"]["legend"] == line["strokeDash"]["legend"]
    assert line["color"]["scale"]["domain"] == line["strokeDash"]["scale"]["domain"]
