"""Decisions of the race on times whose truth is planted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from benchmark.measure.statistics import PAIRS_NEEDED
from benchmark.tuning.race import (
    FEWEST_PAIRS,
    RUNGS,
    Standing,
    after_rung,
    against,
    choose,
    forced_out,
    next_rung,
    overtaken_by,
    standings,
)

MARGIN = 0.02


def planted(ms: Sequence[float], rounds: int, noise: float = 0.0, seed: int = 0) -> dict[str, list[float]]:
    """Candidates a, b, … with these true times, on a machine whose rounds differ by a factor of up to 2."""
    rng = np.random.default_rng(seed)
    machine = rng.uniform(1, 2, rounds)
    return {
        chr(ord("a") + place): list(value * machine * np.exp(noise * rng.standard_normal(rounds)))
        for place, value in enumerate(ms)
    }


def names(order: Sequence[Standing]) -> list[str]:
    return [standing.name for standing in order]


def test_the_order_is_the_planted_one_and_ratios_are_speeds_against_the_leader() -> None:
    order = standings(planted([30, 10, 20], 6), ["a", "b", "c"])
    assert names(order) == ["b", "c", "a"]
    assert [standing.ratio for standing in order] == pytest.approx([1, 1 / 2, 1 / 3])


def test_a_slow_round_of_the_machine_does_not_change_the_leader() -> None:
    times = planted([10, 11], 7)
    for name in times:
        times[name][0] *= 50
    assert standings(times, ["a", "b"])[0].name == "a"


def test_fewer_than_six_pairs_give_no_interval_and_nobody_leaves() -> None:
    times = planted([10, 40, 50, 60], FEWEST_PAIRS - 1)
    assert against(times["a"], times["b"])[1] is None
    decision = after_rung(standings(times, list(times)), MARGIN)
    assert decision.leaving == () and not decision.decided


def test_the_interval_of_a_few_pairs_is_their_range_and_of_many_the_bootstraps() -> None:
    leader, own = [10.0] * 6, [11.0, 12.0, 13.0, 14.0, 15.0, 20.0]
    assert against(leader, own)[1] == pytest.approx((10 / 20, 10 / 11))
    times = planted([10, 12], PAIRS_NEEDED, noise=0.05)
    _, interval, _ = against(times["a"], times["b"])
    ratios = np.array(times["a"]) / np.array(times["b"])
    assert interval is not None and ratios.min() < interval[0] < interval[1] < ratios.max()


def test_the_range_of_six_pairs_holds_the_true_ratio_as_often_as_claimed() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(2000):
        own = list(10 * 1.3 * np.exp(0.1 * rng.standard_normal(FEWEST_PAIRS)))
        interval = against([10.0] * FEWEST_PAIRS, own)[1]
        assert interval is not None
        hits += interval[0] <= 1 / 1.3 <= interval[1]
    assert hits / 2000 == pytest.approx(1 - 2 / 2**FEWEST_PAIRS, abs=0.012)


def test_at_most_the_slower_half_leaves_and_the_slowest_of_it_first() -> None:
    decision = after_rung(standings(planted([10, 40, 50, 60, 70], 6), list("abcde")), MARGIN)
    assert names(decision.leaving) == ["e", "d"]
    assert not decision.decided, "b and c are behind and still there"


def test_whose_interval_reaches_the_leader_does_not_leave() -> None:
    order = [
        Standing("a", 1.0, (1.0, 1.0), 16),
        Standing("b", 0.97, (0.90, 1.01), 16),
        Standing("c", 0.80, (0.70, 0.985), 16),
        Standing("d", 0.70, (0.60, 0.80), 16),
    ]
    assert names(after_rung(order, MARGIN).leaving) == ["d"], "0.985 is within the margin of 2 %"


def test_ties_are_decided_when_all_are_surely_within_the_margin() -> None:
    times = planted([10, 10.02, 9.99], 16)
    decision = after_rung(standings(times, list(times)), MARGIN)
    assert decision.leaving == () and decision.decided
    noisy = planted([10, 10, 10], 16, noise=0.3)
    assert not after_rung(standings(noisy, list(noisy)), MARGIN).decided


def test_one_alone_is_decided() -> None:
    assert after_rung(standings({"a": [1.0]}, ["a"]), MARGIN).decided


@given(
    ms=st.lists(st.floats(1, 1000), min_size=2, max_size=9),
    rounds=st.sampled_from(RUNGS[:3]),
    margin=st.sampled_from([0.01, 0.02, 0.1]),
)
def test_without_noise_the_fastest_never_leaves_and_every_rung_comes_to_an_end(
    ms: list[float], rounds: int, margin: float
) -> None:
    assume(not any(abs(one / other / (1 + margin) - 1) < 1e-6 for one in ms for other in ms))
    times = planted(ms, rounds)
    racing = list(times)
    fastest = racing[int(np.argmin(ms))]
    for _ in range(len(ms)):
        decision = after_rung(standings(times, racing), margin)
        assert fastest not in names(decision.leaving)
        assert len(decision.leaving) <= len(racing) // 2
        racing = [name for name in racing if name not in names(decision.leaving)]
        if decision.decided:
            break
    assert decision.decided
    assert all(ms[list(times).index(name)] <= min(ms) * (1 + margin) * (1 + 1e-9) for name in racing)


def test_with_noise_the_fastest_by_a_margin_wins_nearly_always() -> None:
    won = 0
    for seed in range(60):
        times = planted([10, 11, 12, 15, 20, 30], RUNGS[2], noise=0.1, seed=seed)
        racing = list(times)
        for rung in RUNGS[:3]:
            seen = {name: times[name][:rung] for name in racing}
            leaving = names(after_rung(standings(seen, racing), MARGIN).leaving)
            racing = [name for name in racing if name not in leaving]
        won += "a" in racing
    assert won >= 58


def test_rungs_grow_and_end() -> None:
    assert next_rung(0) == FEWEST_PAIRS and next_rung(FEWEST_PAIRS) == PAIRS_NEEDED and next_rung(RUNGS[-1]) is None


def test_the_budget_forces_the_slower_half_out_again_and_again_but_two_stay() -> None:
    order = standings(planted([10, 11, 12, 13, 14, 15, 16, 17], 6), list("abcdefgh"))
    turns = dict.fromkeys("abcdefgh", 1.0)
    assert forced_out(order, turns, rounds=10, left_s=80) == []
    assert names(forced_out(order, turns, rounds=10, left_s=79)) == ["e", "f", "g", "h"]
    assert names(forced_out(order, turns, rounds=10, left_s=0)) == ["c", "d", "e", "f", "g", "h"]
    assert forced_out(order[:2], turns, rounds=10, left_s=0) == []


LEVEL = (0.99, 1.01)


def test_of_equals_the_least_memory_is_taken_then_the_fewest_settings() -> None:
    order = [Standing("a", 1.0, (1.0, 1.0), 40), Standing("b", 1.0, LEVEL, 40), Standing("c", 0.995, LEVEL, 40)]
    changes = {"a": 2, "b": 1, "c": 0}
    small = choose(order, MARGIN, {"a": 900.0, "b": 500.0, "c": 800.0}, changes)
    assert small.name == "b" and "least memory" in small.why and set(small.level) == {"a", "c"}
    simple = choose(order, MARGIN, {"a": 500.0, "b": 510.0, "c": 515.0}, changes)
    assert simple.name == "c" and "fewest settings" in simple.why
    unknown = choose(order, MARGIN, {"a": None, "b": 510.0, "c": None}, changes)
    assert unknown.name == "b"


def test_who_is_not_told_apart_is_named_and_does_not_win_by_its_memory() -> None:
    order = [Standing("a", 1.0, (1.0, 1.0), 6), Standing("b", 0.97, (0.8, 1.1), 6), Standing("c", 0.5, (0.4, 0.6), 6)]
    choice = choose(order, MARGIN, {"a": 900.0, "b": 100.0, "c": 100.0}, {"a": 3, "b": 0, "c": 0})
    assert (choice.name, choice.open, choice.level) == ("a", ("b",), ())


def test_a_default_that_is_surely_faster_overtakes_and_one_that_may_be_does_not() -> None:
    times = planted([10.0, 9.9, 9.5], 16)
    assert overtaken_by(times, "a", ["b", "c"]) == "c", "however little the lead, and the fastest of them"
    assert overtaken_by(times, "c", ["a", "b"]) is None
    noisy = planted([10.0, 9.9], 16, noise=0.3)
    assert overtaken_by(noisy, "a", ["b"]) is None
    assert overtaken_by(times, "a", ["z"]) is None, "one that could not be measured overtakes nobody"
