from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.measure import turns
from benchmark.measure.turns import take_turns, turn_order

Lanes = dict[str, Callable[[int], str]]


def talking(*names: str, log: list[str] | None = None) -> Lanes:
    def lane(name: str) -> Callable[[int], str]:
        def process(unit: int) -> str:
            if log is not None:
                log.append(f"{name}{unit}")
            return f"{name}{unit}"

        return process

    return {name: lane(name) for name in names}


def order(lanes: Lanes, count: int, first: int = 0) -> list[str]:
    return [f"{turn.lane}{turn.unit}" for turn in take_turns(lanes, range(count), first=first)]


def test_two_lanes_go_a_b_then_b_a() -> None:
    assert order(talking("A", "B"), 4) == ["A0", "B0", "B1", "A1", "A2", "B2", "B3", "A3"]


def test_the_next_repeat_begins_with_the_other_lane() -> None:
    assert order(talking("A", "B"), 2, first=1) == ["B0", "A0", "A1", "B1"]


@given(st.integers(1, 5), st.integers(0, 6), st.integers(1, 4))
def test_every_lane_takes_every_unit_once_and_each_begins_equally_often(lanes: int, first: int, rounds: int) -> None:
    names = "ABCDE"[:lanes]
    taken = list(take_turns(talking(*names), range(lanes * rounds), first=first))
    assert Counter((turn.lane, turn.unit) for turn in taken) == Counter(
        (name, unit) for name in names for unit in range(lanes * rounds)
    )
    begins = Counter(taken[start].lane for start in range(0, len(taken), lanes))
    assert set(begins.values()) == {rounds}
    assert [turn.unit for turn in taken] == sorted(turn.unit for turn in taken)


def test_a_turn_holds_what_the_lane_returned() -> None:
    turn = next(take_turns(talking("A"), [7]))
    assert (turn.lane, turn.index, turn.unit, turn.outcome, turn.error) == ("A", 0, 7, "A7", None)


def failing(at: int, error: Exception) -> Callable[[int], str]:
    def process(unit: int) -> str:
        if unit == at:
            raise error
        return f"F{unit}"

    return process


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_lane_that_fails_says_so_once_and_the_others_go_on(at: int) -> None:
    lanes = {**talking("A", "B"), "F": failing(at, RuntimeError("out of\n  memory"))}
    taken = list(take_turns(lanes, range(5)))
    errors = [turn for turn in taken if turn.error is not None]
    assert [(turn.lane, turn.unit, turn.outcome, turn.error) for turn in errors] == [
        ("F", at, None, "RuntimeError: out of memory")
    ]
    assert [turn.unit for turn in taken if turn.lane == "F"] == list(range(at + 1))
    for name in "AB":
        assert [turn.outcome for turn in taken if turn.lane == name] == [f"{name}{unit}" for unit in range(5)]


def test_when_every_lane_has_failed_there_are_no_more_turns() -> None:
    lanes = {name: failing(1, ValueError()) for name in "AB"}
    taken = list(take_turns(lanes, range(9)))
    assert [turn.error for turn in taken] == [None, None, "ValueError", "ValueError"]


def test_an_endless_error_is_cut() -> None:
    (turn,) = take_turns({"F": failing(0, RuntimeError("x" * 10_000))}, [0])
    assert turn.error is not None and len(turn.error) < 400


def test_an_interrupt_from_the_keyboard_ends_the_run() -> None:
    def interrupted(_: int) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(take_turns({"A": interrupted}, [0]))


def test_the_warm_up_is_not_a_turn_and_comes_before_the_lanes_first_one() -> None:
    log: list[str] = []
    taken = list(
        take_turns(talking("A", "B", log=log), range(2), warmup=lambda lane, index, unit: 2 if index == 0 else 0)
    )
    assert log == ["A0", "A0", "A0", "B0", "B0", "B0", "B1", "A1"]
    assert len(taken) == 4


def test_a_lane_that_fails_while_warming_up_takes_no_turn() -> None:
    taken = list(
        take_turns(
            {"F": failing(0, RuntimeError("cold")), **talking("A")},
            range(2),
            warmup=lambda lane, index, unit: 1 if index == 0 else 0,
        )
    )
    assert [(turn.lane, turn.error) for turn in taken] == [("F", "RuntimeError: cold"), ("A", None), ("A", None)]


def test_units_are_made_and_worked_on_only_when_asked_for() -> None:
    """A case's units may not fit into memory together, and results must be handed on as they come."""
    made: list[int] = []
    log: list[str] = []

    def units() -> Iterator[int]:
        for unit in range(3):
            made.append(unit)
            yield unit

    generator = take_turns(talking("A", "B", log=log), units())
    assert (made, log) == ([], [])
    next(generator)
    assert (made, log) == ([0], ["A0"])
    next(generator)
    assert (made, log) == ([0], ["A0", "B0"])
    next(generator)
    assert (made, log) == ([0, 1], ["A0", "B0", "B1"])


def test_every_turn_is_preceded_by_a_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    monkeypatch.setattr(turns.time, "sleep", lambda seconds: log.append(f"rest {seconds}"))
    list(take_turns(talking("A", "B", log=log), [0], pause_s=0.005))
    assert log == ["rest 0.005", "A0", "rest 0.005", "B0"]
    log.clear()
    list(take_turns(talking("A", log=log), [0]))
    assert log == ["A0"]


def test_no_lanes_and_no_units_are_no_turns() -> None:
    assert list(take_turns({}, range(3))) == []
    assert list(take_turns(talking("A"), [])) == []


def test_three_lanes_go_round_one_way_and_then_the_other() -> None:
    orders = ["".join(turn_order(["A", "B", "C"], index)) for index in range(7)]
    assert orders == ["ABC", "BCA", "CAB", "ACB", "BAC", "CBA", "ABC"]


@pytest.mark.parametrize("lanes", [2, 3, 4, 5])
def test_no_lane_follows_another_more_often_than_it_goes_before_it(lanes: int) -> None:
    """What heats the machine or fills its caches must not always fall on the same neighbour."""
    names = list("ABCDE"[:lanes])
    orders = [turn_order(names, index) for index in range(2 * lanes)]
    for one, other in combinations(names, 2):
        assert sum(order.index(one) < order.index(other) for order in orders) == lanes
