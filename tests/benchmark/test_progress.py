"""The time that is left of a whole demo, by a clock of the test's own."""

from __future__ import annotations

from typing import Any

import pytest

from benchmark.progress import PRIOR_S, TimeLeft, progress_bars

STEPS = (("export", 60.0), ("train", 30.0), ("train", 30.0))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_before_anything_was_seen_the_expected_seconds_are_told() -> None:
    assert TimeLeft(STEPS, Clock()).words() == "about 2 min left"


def test_a_slow_machine_shows_in_what_comes_and_a_step_that_overruns_is_not_counted_below_nothing() -> None:
    clock = Clock()
    left = TimeLeft(STEPS, clock)
    left.start("export litemedsam to ONNX")
    clock.now += 40
    assert left.seconds() == pytest.approx(80)
    clock.now += 110
    assert left.seconds() == pytest.approx(60), "the export takes longer than expected, the rest is still to come"
    left.start("train on box labels")
    pace = (150 + PRIOR_S) / (60 + PRIOR_S)
    assert left.seconds() == pytest.approx(60 * pace)
    left.start("train on reference labels")
    clock.now += 1000
    assert left.seconds() == 0
    assert left.words() == "about 10 s left"


def test_a_step_that_was_skipped_is_over_when_a_later_one_begins() -> None:
    left = TimeLeft(STEPS, Clock())
    left.start("train on box labels")
    left.start("something of which nobody knows")
    assert left.seconds() < 60


def test_a_log_gets_a_line_a_step_with_the_time_left(capsys: Any) -> None:
    with progress_bars(STEPS) as bars:
        advance = bars.start("export litemedsam to ONNX", 1)
        advance(1, "")
    assert capsys.readouterr().err == "export litemedsam to ONNX (about 2 min left)\n"


def test_where_the_steps_are_not_known_nothing_is_said_of_the_time(capsys: Any) -> None:
    with progress_bars() as bars:
        bars.start("export litemedsam to ONNX", 1)
    assert capsys.readouterr().err == "export litemedsam to ONNX\n"
