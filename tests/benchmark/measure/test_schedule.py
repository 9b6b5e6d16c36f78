from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.measure.schedule import Schedule, calls_per_turn

names = st.lists(st.text("abcdef", min_size=1, max_size=3), min_size=1, max_size=6, unique=True)
seeds = st.integers(0, 2**32 - 1)


@given(names, seeds)
def test_over_two_rounds_each_lane_goes_before_any_other_as_often_as_after_it(lanes: list[str], seed: int) -> None:
    schedule = Schedule(lanes, seed)
    for _ in range(5):
        first, second = schedule.round(lanes), schedule.round(lanes)
        assert sorted(first) == sorted(lanes)
        assert second == first[::-1]


@given(names, seeds, st.data())
def test_lanes_may_drop_out_at_any_time(lanes: list[str], seed: int, data: st.DataObject) -> None:
    """Every round holds the lanes alive, each once; those alive for a permutation and its reverse stay balanced."""
    schedule, alive = Schedule(lanes, seed), list(lanes)
    orders = []
    for _ in range(8):
        order = schedule.round(alive)
        assert sorted(order) == sorted(alive)
        orders.append(order)
        alive = [lane for lane in alive if data.draw(st.integers(0, 9)) > 1]
    for first, second in zip(orders[::2], orders[1::2], strict=True):
        for one, other in combinations(second, 2):
            assert first.index(one) > first.index(other)


@given(names, seeds)
def test_the_same_seed_gives_the_same_orders_whatever_order_the_living_are_named_in(
    lanes: list[str], seed: int
) -> None:
    one, other = Schedule(lanes, seed), Schedule(lanes, seed)
    assert [one.round(lanes) for _ in range(6)] == [other.round(lanes[::-1]) for _ in range(6)]


def test_orders_are_random_and_each_is_drawn_about_equally_often() -> None:
    """Of 600 permutations of three lanes, 100 each are expected, with a standard deviation of 9."""
    schedule = Schedule(["A", "B", "C"], 1)
    drawn = ["".join(schedule.round("ABC")) for _ in range(1200)][::2]
    counts = [drawn.count(order) for order in ("ABC", "ACB", "BAC", "BCA", "CAB", "CBA")]
    assert sum(counts) == 600
    assert min(counts) > 60 and max(counts) < 140


def test_another_seed_gives_other_orders() -> None:
    lanes = list("ABCDEFGH")
    assert Schedule(lanes, 1).round(lanes) != Schedule(lanes, 2).round(lanes)


def test_one_that_comes_back_begins_a_new_permutation() -> None:
    """There is nothing to reverse for it; what follows is a permutation and its reverse again."""
    schedule = Schedule(["A", "B", "C"], 3)
    assert sorted(schedule.round(["A", "B"])) == ["A", "B"]
    there, back = schedule.round(["A", "B", "C"]), schedule.round(["A", "B", "C"])
    assert sorted(there) == ["A", "B", "C"]
    assert back == there[::-1]


def test_nobody_alive_is_an_empty_round() -> None:
    schedule = Schedule(["A", "B"], 0)
    assert schedule.round([]) == []
    assert sorted(schedule.round(["A", "B"])) == ["A", "B"]


def test_what_the_caller_does_with_an_order_does_not_change_the_next() -> None:
    schedule = Schedule(["A", "B", "C"], 0)
    first = schedule.round("ABC")
    expected = first[::-1]
    first.clear()
    assert schedule.round("ABC") == expected


def test_unknown_and_repeated_lanes_are_refused() -> None:
    with pytest.raises(ValueError, match="lane X is not one of A, B"):
        Schedule(["A", "B"], 0).round(["A", "X"])
    with pytest.raises(ValueError, match="one turn a round"):
        Schedule(["A", "A"], 0)


@pytest.mark.parametrize(
    ("fastest_ms", "calls"),
    [(0.0, 16), (0.1, 16), (3.125, 16), (3.2, 16), (10.0, 5), (11.0, 5), (49.0, 2), (50.0, 1), (4000.0, 1)],
)
def test_a_turn_lasts_as_long_as_asked_by_hand(fastest_ms: float, calls: int) -> None:
    assert calls_per_turn(fastest_ms) == calls


@given(st.floats(0, 1e6), st.floats(1, 1e3), st.integers(1, 64))
def test_a_turn_is_long_enough_or_as_many_calls_as_allowed_and_no_longer_than_needed(
    fastest_ms: float, block_ms: float, most: int
) -> None:
    calls = calls_per_turn(fastest_ms, block_ms, most)
    assert 1 <= calls <= most
    assert calls == most or calls * fastest_ms >= block_ms * (1 - 1e-12)
    assert calls == 1 or (calls - 1) * fastest_ms < block_ms


@pytest.mark.parametrize("broken", [-1.0, float("nan")])
def test_a_time_that_no_clock_shows_is_refused(broken: float) -> None:
    with pytest.raises(ValueError, match="which no clock shows"):
        calls_per_turn(broken)
