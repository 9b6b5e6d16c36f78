"""The table by prompt strategy and the sentence say what a box buys, in numbers worked out by hand."""

from __future__ import annotations

from benchmark.results import CaseDice, Cell, Results
from exporters.manifest import RANDOM_WEIGHTS
from reports.effort import effort_sentences, prompt_tables
from reports.summary import summarize
from reports.table import Table, Value
from reports.view import View
from tests.reports.report_factory import ABDOMEN, HOSTILE, without_dice
from tests.reports.strategy_factory import strategy_cell

BOX, POINT = (0.0, 1.0), (1.0, 0.0)


def view_of(results: Results, *cells: Cell) -> View:
    return View(results.model_copy(update={"cells": list(cells), "comparisons": []}))


def column(table: Table, title: str) -> list[str]:
    index = [column.title for column in table.columns].index(title)
    return [row[index].text for row in table.rows]


def three() -> list[Cell]:
    return [
        strategy_cell("box", BOX, {"liver": 0.9, "aorta": 0.8}),
        strategy_cell("box+point", (1.0, 1.0), {"liver": 0.9001, "aorta": 0.7}),
        strategy_cell("point", POINT, {"liver": 0.4, "aorta": 0.1}),
    ]


def test_rows_go_from_the_least_effort_up_and_each_column_marks_its_best(results: Results) -> None:
    (table,) = prompt_tables(view_of(results, *three()))
    assert (table.key, table.title) == ("prompts", "Dice by prompt strategy")
    assert column(table, "strategy") == ["point", "box", "box+point"]
    assert column(table, "effort") == ["1.0", "2.0", "3.0"]
    assert column(table, "boxes") == ["0", "1.0", "1.0"]
    assert column(table, "clicks") == ["1.0", "0", "1.0"]
    # 0.9 and 0.9001 read the same, so that a star on one alone would look arbitrary.
    assert column(table, "liver") == ["0.400", "★ 0.900", "★ 0.900"]
    assert column(table, "aorta") == ["0.100", "★ 0.800", "0.700"]
    assert column(table, "all labels") == ["0.250", "★ 0.850", "0.800"]


def test_the_caption_says_what_changes_every_row(results: Results) -> None:
    """A box for each of three components is no dearer a box: without this line its effort would look wrong."""
    changed = results.model_copy(update={"spec": {**results.spec, "sam": {"per": "component", "masks": "three"}}})
    (table,) = prompt_tables(view_of(changed, *three()))
    assert "Every connected component has a prompt of its own." in table.about
    assert "Of three masks, the one with the best predicted IoU." in table.about
    (table,) = prompt_tables(view_of(results, *three()))
    assert "component" not in table.about and "three masks" not in table.about


def test_the_caption_says_which_lane_and_how_a_box_counts(results: Results) -> None:
    (table,) = prompt_tables(view_of(results, *three()))
    assert "PyTorch fp32 on cpu" in table.about and "a box counts as two, one a corner" in table.about


def test_a_single_label_needs_no_mean_of_labels_beside_it(results: Results) -> None:
    cells = [strategy_cell("box", BOX, {"spleen": 0.9}), strategy_cell("point", POINT, {"spleen": 0.4})]
    (table,) = prompt_tables(view_of(results, *cells))
    assert [column.title for column in table.columns] == ["strategy", "effort", "boxes", "clicks", "spleen"]


def test_a_case_without_dice_is_left_out_and_said(results: Results) -> None:
    entries = [
        CaseDice(case="a", label="liver", dice=0.8),
        CaseDice(case="b", label="liver", dice=None, reason="absent from prediction and reference"),
        CaseDice(case="a", label="aorta", dice=0.6),
    ]
    box = strategy_cell("box", BOX, {"liver": 0.8, "aorta": 0.6}, dice_per_case=entries)
    (table,) = prompt_tables(view_of(results, box, three()[2]))
    assert table.rows[1][5] == Value("★ 0.800", "1 of 2 cases left out: absent from prediction and reference", "good")


def test_a_strategy_without_a_recorded_effort_stands_last_with_the_reason(results: Results) -> None:
    box, both, point = three()
    (table,) = prompt_tables(view_of(results, point.model_copy(update={"effort": None}), box, both))
    assert column(table, "strategy")[-1] == "point"
    assert table.rows[-1][1] == Value("–", "no effort was recorded")


def test_random_weights_have_an_effort_a_reason_and_no_sentence(results: Results) -> None:
    view = view_of(results, *without_dice(three()))
    (table,) = prompt_tables(view)
    assert column(table, "effort") == ["1.0", "2.0", "3.0"]
    assert {value for row in table.rows for value in row[4:]} == {Value("–", RANDOM_WEIGHTS)}
    assert effort_sentences(view) == ()


def test_a_run_without_effort_has_no_such_table(results: Results) -> None:
    assert summarize(results).prompts == ()


def test_each_task_has_a_table_with_its_own_labels(results: Results) -> None:
    other = [one.model_copy(update={"task": HOSTILE}) for one in three()]
    first, second = prompt_tables(view_of(results, *three(), *other))
    assert (first.title, second.title) == (
        f"Dice by prompt strategy – {ABDOMEN}",
        f"Dice by prompt strategy – {HOSTILE}",
    )
    assert (first.key, second.key) == ("prompts", "prompts-2")


def test_the_sentence_sets_a_box_against_the_best_points(results: Results) -> None:
    cells = [
        strategy_cell("box", BOX, {"liver": 0.86}),
        strategy_cell("point", POINT, {"liver": 0.12}),
        strategy_cell("points3+neg3", (5.8, 0.0), {"liver": 0.21}),
    ]
    assert effort_sentences(view_of(results, *cells)) == (
        "A box (2 clicks per object and slice) reaches Dice 0.860; the best point strategy, points3+neg3 (5.8 clicks),"
        " 0.210.",
    )


def test_the_sentence_names_what_is_better_than_either(results: Results) -> None:
    (said,) = effort_sentences(view_of(results, *three(), strategy_cell("box+points3", (3.0, 1.0), {"liver": 0.95})))
    assert said == (
        "A box (2 clicks per object and slice) reaches Dice 0.850; a point (1 click), 0.250; the best of all,"
        " box+points3 (5 clicks), 0.950."
    )


def test_without_a_plain_box_the_best_of_its_kind_speaks(results: Results) -> None:
    cells = [
        strategy_cell("box-margin5", BOX, {"liver": 0.8}),
        strategy_cell("box-jitter10", BOX, {"liver": 0.7}),
        strategy_cell("point", POINT, {"liver": 0.3}),
    ]
    assert effort_sentences(view_of(results, *cells)) == (
        "The best box strategy, box-margin5 (2 clicks per object and slice), reaches Dice 0.800; a point (1 click),"
        " 0.300.",
    )


def test_one_kind_alone_is_summed_up_by_its_best_and_its_cheapest(results: Results) -> None:
    point = strategy_cell("point", POINT, {"liver": 0.3})
    dear = strategy_cell("points3", (3.0, 0.0), {"liver": 0.5})
    assert effort_sentences(view_of(results, point, dear)) == (
        "Of 2 prompt strategies, points3 (3 clicks per object and slice) reaches the highest Dice, 0.500; the cheapest,"
        " point (1 click), 0.300.",
    )
    # What costs more and brings nothing that one could read is not the best.
    dear = strategy_cell("points3", (3.0, 0.0), {"liver": 0.3001})
    assert effort_sentences(view_of(results, point, dear)) == (
        "Of 2 prompt strategies, point (1 click per object and slice) asks for the fewest clicks and none reaches more"
        " than its Dice of 0.300.",
    )


def test_the_sentence_stands_in_the_verdict_of_its_task(results: Results) -> None:
    other = [one.model_copy(update={"task": HOSTILE}) for one in three()]
    run = results.model_copy(update={"cells": [*three(), *other], "comparisons": []})
    said = summarize(run).verdict.more
    assert said[0].startswith(f"{ABDOMEN}: a box (2 clicks") and said[1].startswith(f"{HOSTILE}: a box (2 clicks")
