"""`sambench history`: what is accepted, what is refused, and where a trend breaks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.errors import InputError
from benchmark.history.accept import add_run
from benchmark.history.store import is_history, load_history, newest
from benchmark.history.trend import Condition, trend
from benchmark.results import Results, save_results
from tests.benchmark.conftest import Sambench
from tests.reports.report_factory import SPLEEN, build, cell, comparison

Edit = Callable[[Results], None]
BOX = Condition("pseudolabel", SPLEEN, "litemedsam", "box", "cpu")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A small run in which everything worked."""
    results = build(tmp_path_factory.mktemp("run"))
    lanes = ("pytorch", "onnxruntime")
    update = {
        "cells": [cell("pseudolabel", SPLEEN, "box", backend) for backend in lanes],
        "comparisons": [comparison("pseudolabel", SPLEEN, "box")],
        "pictures": [],
    }
    return results.model_copy(update=update, deep=True)


@pytest.fixture
def run(sound: Results, tmp_path: Path) -> Callable[..., Path]:
    """Writes a run of a day, changed by a function."""

    def write(day: int, edit: Edit = lambda results: None) -> Path:
        results = sound.model_copy(update={"created": f"2026-11-{day:02}T14:05:09+00:00"}, deep=True)
        edit(results)
        folder = tmp_path / f"run{day}"
        save_results(results, folder)
        return folder

    return write


def below_the_gate(results: Results) -> None:
    results.comparisons[0].gate = "fail"
    results.comparisons[0].reason = "Dice below 99.9 %"


def failed(results: Results) -> None:
    results.cells[1].status, results.cells[1].reason = "failed", "out of memory"


def slower(results: Results) -> None:
    compared = results.comparisons[0]
    assert compared.speedup is not None and compared.ci95 is not None
    compared.speedup /= 1.1
    compared.ci95 = (compared.ci95[0] / 1.1, compared.ci95[1] / 1.1)
    latency = results.cells[1].latency_ms
    assert latency is not None
    latency.samples = [1.1 * ms for ms in latency.samples]


def less_dice(results: Results) -> None:
    for entry in results.cells[1].dice_per_case:
        assert entry.dice is not None
        entry.dice -= 0.002


def gone(results: Results) -> None:
    results.cells.pop()


def other_cpu(results: Results) -> None:
    results.environment.cpu = "Another CPU"


def test_a_run_is_kept_byte_by_byte_and_only_once(tmp_path: Path, run: Callable[..., Path]) -> None:
    folder, place = tmp_path / "history", run(1)
    first, again = add_run(folder, place), add_run(folder, place / "results.json")
    assert first.run is not None
    assert first.run.path.read_bytes() == (place / "results.json").read_bytes()
    assert (first.known, again.known) == (False, True)
    assert [one.place for one in load_history(folder)] == [first.run.place]
    assert first.run.place.name.startswith("20261101T140509Z-abdomen-")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (below_the_gate, "below the gate: Dice below 99.9 %"),
        (failed, "failed: out of memory"),
        (slower, "latency +10.0 %"),
        (less_dice, "Dice −0.0020"),
        (gone, "the new run has no such cell"),
    ],
)
def test_a_bad_run_is_refused_and_becomes_the_baseline_only_with_a_reason(
    tmp_path: Path, run: Callable[..., Path], edit: Edit, words: str
) -> None:
    folder = tmp_path / "history"
    add_run(folder, run(1))
    decision = add_run(folder, run(2, edit))
    assert decision.run is None
    assert any(words in one for one in decision.objections), decision.objections
    assert newest(folder).results.created.startswith("2026-11-01")

    accepted = add_run(folder, run(2, edit), reason="known, and worth it")
    assert accepted.run is not None
    kept = newest(folder)
    assert (kept.acceptance.reason, tuple(kept.acceptance.objections)) == ("known, and worth it", decision.objections)


def test_a_run_like_the_last_is_accepted_without_a_word(tmp_path: Path, run: Callable[..., Path]) -> None:
    folder = tmp_path / "history"
    add_run(folder, run(1))
    decision = add_run(folder, run(2), reason="not needed")
    assert decision.run is not None
    assert (decision.objections, decision.notes, decision.run.acceptance.reason) == ((), (), None)


def test_a_late_run_is_held_against_the_one_before_it(tmp_path: Path, run: Callable[..., Path]) -> None:
    folder = tmp_path / "history"
    add_run(folder, run(3))
    decision = add_run(folder, run(1, slower))
    assert decision.run is not None, "nothing is older than it"
    assert newest(folder).results.created.startswith("2026-11-03")


def test_a_line_breaks_at_another_machine_and_an_upgrade_is_marked(tmp_path: Path, run: Callable[..., Path]) -> None:
    folder = tmp_path / "history"
    add_run(folder, run(1))
    add_run(folder, run(2, lambda results: results.environment.libraries.update(onnxruntime="1.24.0")))
    decision = add_run(folder, run(3, lambda results: (other_cpu(results), slower(results))))  # type: ignore[func-returns-value]
    assert decision.run is not None
    assert "not comparable" in decision.notes[0] and "Another CPU" in decision.notes[0]
    found = trend(load_history(folder))
    assert [[one.what for one in step.breaks] for step in found.steps] == [[], [], ["cpu"]]
    assert found.steps[1].upgrades[0].words == "onnxruntime: 1.23.2 → 1.24.0"
    points = [point for point in found.conditions[BOX] if point.lane == "onnxruntime"]
    assert [(point.run, point.line) for point in points] == [(0, 0), (1, 0), (2, 1)]
    assert [point.speedup for point in points] == pytest.approx([2.31, 2.31, 2.1])


def test_a_failed_cell_has_no_values_and_says_why(tmp_path: Path, run: Callable[..., Path]) -> None:
    add_run(tmp_path / "history", run(1, failed), reason="first attempt")
    point = trend(load_history(tmp_path / "history")).conditions[BOX][1]
    assert (point.speedup, point.p50_ms, point.dice, point.memory_mib) == (None, None, None, None)
    assert point.reason == "failed: out of memory"


def test_a_run_again_that_measured_nothing_anew_is_the_run_that_is_there(
    tmp_path: Path, run: Callable[..., Path]
) -> None:
    def restarted(results: Results) -> None:
        results.environment.busy = "something else"

    folder = tmp_path / "history"
    first = add_run(folder, run(1))
    again = add_run(folder, run(1, restarted))
    assert again.known and again.run is not None and first.run is not None
    assert again.run.place == first.run.place


def test_what_was_changed_since_is_noticed(tmp_path: Path, run: Callable[..., Path]) -> None:
    decision = add_run(tmp_path / "history", run(1))
    assert decision.run is not None
    path = decision.run.path
    path.write_text(path.read_text(encoding="utf-8").replace("0.93", "0.99"), encoding="utf-8")
    with pytest.raises(InputError, match="is not the file that was accepted"):
        load_history(tmp_path / "history")


def test_an_interrupted_copy_is_no_run(tmp_path: Path, run: Callable[..., Path]) -> None:
    decision = add_run(tmp_path / "history", run(1))
    assert decision.run is not None
    decision.run.place.rename(decision.run.place.with_name(f".123.{decision.run.place.name}"))
    assert not is_history(tmp_path / "history")
    assert load_history(tmp_path / "history") == []


def test_the_command_refuses_with_1_and_prints_the_baseline(
    tmp_path: Path, run: Callable[..., Path], sambench: Sambench
) -> None:
    folder = str(tmp_path / "history")
    assert sambench("history", folder, "--add", str(run(1)), "--format", "html", "--format", "md")[0] == 0
    page = (tmp_path / "history" / "history.html").read_text(encoding="utf-8")
    # The bundle of Vega holds words for elements that it never makes here.
    assert not re.search(r"<link|\bsrc=|href=.http", re.sub(r"(?s)<script.*?</script>", "", page))
    assert "2.31×" in (tmp_path / "history" / "history.md").read_text(encoding="utf-8")
    code, _, err = sambench("history", folder, "--add", str(run(2, failed)))
    assert code == 1
    assert "failed: out of memory" in err
    code, out, _ = sambench("history", folder, "--baseline")
    assert (code, Path(out.strip())) == (0, newest(tmp_path / "history").path)
    code, out, _ = sambench("history", folder, "--add", str(run(2, failed)), "--accept", "flaky driver")
    assert code == 0
    assert "flaky driver" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--baseline",), "no run was accepted there yet"),
        ((), "no run was accepted there yet"),
        (("--accept", "so"), "give --add RUN"),
        (("--add", "nowhere"), "no results there"),
        (("--baseline", "--add", "x"), "--baseline prints a path"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, sambench: Sambench, arguments: tuple[str, ...], words: str) -> None:
    code, _, err = sambench("history", str(tmp_path / "empty"), *arguments)
    assert code == 2
    assert words in err
    assert not (tmp_path / "empty").exists()


def test_compare_takes_a_history_for_its_newest_run(
    tmp_path: Path, run: Callable[..., Path], sambench: Sambench
) -> None:
    folder = tmp_path / "history"
    add_run(folder, run(1))
    add_run(folder, run(2, slower), reason="known")
    assert sambench("compare", folder, run(3, slower))[0] == 0
    assert sambench("compare", run(1), run(3, slower))[0] == 1
