"""Offline: every unit once, in order, without a pause, over the wall time of the whole."""

from __future__ import annotations

import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.measure.scenarios import Offline, offline


class Time:
    """Passes when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_wall_time_of_the_whole_counts_and_not_the_sum_of_calls() -> None:
    """A generator that reads a volume between two units is part of an offline job."""
    time = Time()

    def units() -> object:
        for unit in range(3):
            time.now += 0.5
            yield unit

    def process(unit: int) -> None:
        time.now += 2.0

    assert offline(process, units(), 60.0, clock=time) == Offline(3, 7.5)  # type: ignore[arg-type]


@given(times=st.lists(st.floats(0.01, 5), min_size=1, max_size=30), most_s=st.floats(0.01, 60))
def test_the_unit_during_which_the_time_is_up_is_the_last(times: list[float], most_s: float) -> None:
    time, seen = Time(), []

    def process(unit: int) -> None:
        seen.append(unit)
        time.now += times[unit]

    told = offline(process, range(len(times)), most_s, clock=time)
    assert seen == list(range(told.units))
    assert told.seconds == pytest.approx(sum(times[: told.units]))
    assert told.units == len(times) or told.seconds >= most_s
    assert sum(times[: told.units - 1]) < most_s + 1e-9  # the clock does not begin at 0, and rounds


def test_no_unit_takes_no_time() -> None:
    assert offline(lambda unit: None, [], 1.0) == Offline(0, 0.0)


def test_what_is_prepared_comes_in_order_and_no_more_than_a_few_ahead() -> None:
    """The thread must not read a whole data set into memory, nor go on after the end."""
    prepared: list[int] = []
    finished: list[str] = []
    most_ahead = 0

    def prepare(unit: int) -> str:
        prepared.append(unit)
        return f"ready {unit}"

    def finish(unit: str) -> None:
        nonlocal most_ahead
        finished.append(unit)
        most_ahead = max(most_ahead, len(prepared) - len(finished))

    told = offline(finish, range(50), 1e9, prepare)
    assert told.units == 50
    assert finished == [f"ready {unit}" for unit in range(50)]
    assert most_ahead <= 2


def test_preparation_runs_while_a_unit_runs() -> None:
    """Without that, the first `finish` would wait for ever for the second `prepare`."""
    second = threading.Event()

    def prepare(unit: int) -> int:
        if unit == 1:
            second.set()
        return unit

    overlapped: list[bool] = []
    offline(lambda unit: overlapped.append(second.wait(300)), range(3), 1e9, prepare)
    assert overlapped == [True, True, True]


def test_endless_units_end_with_the_time_and_take_the_thread_along() -> None:
    before = threading.active_count()
    time = Time()

    def finish(unit: int) -> None:
        time.now += 1.0

    assert offline(finish, itertools.count(), 5.0, lambda unit: unit, clock=time) == Offline(5, 5.0)
    assert threading.active_count() == before


@pytest.mark.parametrize("ahead", [False, True])
def test_what_a_unit_raises_is_raised(ahead: bool) -> None:
    def process(unit: int) -> int:
        raise RuntimeError(f"unit {unit} is broken")

    with pytest.raises(RuntimeError, match="unit 0 is broken"):
        if ahead:
            offline(lambda unit: None, range(3), 1.0, process)
        else:
            offline(process, range(3), 1.0)
