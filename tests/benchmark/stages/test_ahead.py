"""Items made in another thread: in order, a bounded number of them, and nothing left running or alive."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.stages.ahead import ahead

WAIT_S = 300.0
"""Only what is broken takes so long."""


class Item:
    def __init__(self, number: int) -> None:
        self.number = number


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "sambench-ahead"]


def until(true: Callable[[], bool]) -> bool:
    """Waits for it; whether it came true."""
    started = time.monotonic()
    while not true() and time.monotonic() - started < WAIT_S:
        time.sleep(0.001)
    return true()


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 30), depth=st.integers(1, 8))
def test_all_items_come_in_their_order(count: int, depth: int) -> None:
    assert list(ahead(range(count), depth)) == list(range(count))
    assert not threads()


@settings(max_examples=40, deadline=None)
@given(good=st.integers(0, 12), depth=st.integers(1, 5))
def test_an_error_comes_in_its_turn_after_what_was_ready_before_it(good: int, depth: int) -> None:
    def items() -> Iterator[int]:
        yield from range(good)
        raise ValueError("case 7 is damaged")

    seen = []
    with pytest.raises(ValueError, match="case 7 is damaged"):
        for item in ahead(items(), depth):
            seen.append(item)
    assert seen == list(range(good))
    assert not threads()


def test_what_is_no_exception_comes_through_too() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(ahead(items(), 1))


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_no_more_than_depth_items_wait_and_one_is_held(depth: int) -> None:
    made = 0

    def items() -> Iterator[int]:
        nonlocal made
        for number in range(100):
            made += 1
            yield number

    with closing(ahead(items(), depth)) as ready:
        for taken in range(1, 4):
            next(ready)
            assert until(lambda taken=taken: made == taken + depth + 1)
            time.sleep(0.02)
            assert made == taken + depth + 1


@pytest.mark.parametrize("depth", [0, -1])
def test_a_depth_without_bound_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match="depth must be 1 or more"):
        next(ahead(range(3), depth))
    assert not threads()


def test_leaving_early_stops_the_thread_and_closes_what_it_iterates() -> None:
    closed_in: list[str] = []

    def items() -> Iterator[int]:
        try:
            number = 0
            while True:
                yield number
                number += 1
        finally:
            closed_in.append(threading.current_thread().name)

    with closing(ahead(items(), 2)) as ready:
        assert [next(ready), next(ready)] == [0, 1]
    assert not threads()
    assert closed_in == ["sambench-ahead"]


def test_an_error_of_who_takes_the_items_stops_the_thread() -> None:
    def take() -> None:
        with closing(ahead(iter(int, 1), 1)) as ready:
            next(ready)
            raise RuntimeError("the encoder failed")

    with pytest.raises(RuntimeError, match="the encoder failed"):
        take()
    assert not threads()


def test_nothing_runs_before_the_first_item_is_asked_for() -> None:
    ahead(iter(int, 1), 1).close()
    assert not threads()


@pytest.mark.parametrize("depth", [1, 3])
def test_items_are_released_once_they_are_used(depth: int) -> None:
    alive: list[weakref.ref[Item]] = []

    def items() -> Iterator[Item]:
        for number in range(20):
            item = Item(number)
            alive.append(weakref.ref(item))
            yield item
            del item

    most = 0
    for item in ahead(items(), depth):
        # Those that wait, one that the thread holds, and this one.
        most = max(most, sum(ref() is not None for ref in alive))
        assert alive[item.number]() is item
        del item
    assert most <= depth + 2
    assert until(lambda: all(ref() is None for ref in alive))
