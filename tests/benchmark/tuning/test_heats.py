"""Races without a machine: turns take what was planted, on a clock that only they move."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from benchmark.measure.workers import WorkerError
from benchmark.sections import MeasureSpec
from benchmark.tuning.candidates import Candidate
from benchmark.tuning.heats import BUDGET_SPENT, Racing, entrants, waiting_for
from benchmark.tuning.race import RUNGS
from benchmark.tuning.records import HeatRecord, Left, Screening


class FakeStable:
    """Processes whose turns take `ms` of a clock; `fails` raise in their third turn."""

    def __init__(self, ms: dict[str, float], fails: tuple[str, ...] = ()) -> None:
        self.ms, self.fails = ms, fails
        self.now = 0.0
        self.lanes: dict[str, Any] = {}
        self.opened: list[str] = []
        self.turns: dict[str, int] = {}
        self.untimed: dict[str, int] = {}
        self.measure = MeasureSpec(pause_ms=0, block_ms=0)
        self.workload = SimpleNamespace(units=("first", "second"))
        self.works: list[str] = []

    def open(self, candidate: Candidate, progress: Any, limit_s: float) -> None:
        self.opened.append(candidate.backend)
        self.lanes[candidate.backend] = object()

    def close(self, name: str) -> None:
        self.lanes.pop(name, None)

    def keep(self, wanted: list[str]) -> None:
        pass

    def turn(self, name: str, work: str, calls: int, untimed: int = 0) -> float:
        self.turns[name] = self.turns.get(name, 0) + 1
        self.untimed[name] = self.untimed.get(name, 0) + untimed
        self.works.append(work)
        if name in self.fails and self.turns[name] == 3:
            raise WorkerError("out of memory")
        self.now += self.ms[name] / 1e3
        return self.ms[name] * (1.5 if work == "second" else 1.0)


Make = Callable[..., tuple[Racing, FakeStable]]


def racing(
    ms: dict[str, float], budget_s: float = 1e9, fails: tuple[str, ...] = (), record: HeatRecord | None = None,
    start_s: float = 0.0, pinned: frozenset[str] = frozenset(),
) -> tuple[Racing, FakeStable]:  # fmt: skip
    stable = FakeStable(ms, fails)
    saved: list[HeatRecord] = []
    made = Racing(
        record=record or HeatRecord(number=1, entrants=list(ms)),
        stable=stable,  # type: ignore[arg-type]
        candidates={name: Candidate(backend=name) for name in ms},
        screenings={name: Screening(name=name, unit_ms=value, start_s=start_s) for name, value in ms.items()},
        margin=0.02,
        left_s=lambda: budget_s - stable.now,
        progress=None,  # type: ignore[arg-type]
        save=saved.append,
        pinned=pinned,
    )
    return made, stable


def reasons(record: HeatRecord) -> dict[str, str]:
    return {left.name: left.reason for left in record.left}


def test_with_time_enough_the_fastest_is_left_and_slower_ones_get_fewer_turns() -> None:
    made, stable = racing({"a": 100.0, "b": 110.0, "c": 150.0, "d": 200.0})
    record = made.race()
    assert record.racing == ["a"] and record.ended == "one is left"
    assert reasons(record)["d"].startswith("surely slower: 0.500×")
    assert stable.turns["d"] == stable.turns["c"] == RUNGS[0] < stable.turns["b"]
    assert [left.name for left in record.left] == ["d", "c", "b"]
    assert all(not left.forced for left in record.left)


def test_processes_of_those_who_left_are_closed_but_for_those_that_the_final_wants() -> None:
    made, stable = racing({"a": 100.0, "b": 110.0, "c": 150.0, "d": 200.0}, pinned=frozenset({"d"}))
    made.race()
    assert set(stable.lanes) == {"a", "d"}


def test_equals_end_together_and_every_unit_has_its_turn() -> None:
    made, stable = racing({"a": 100.0, "b": 100.5})
    record = made.race()
    assert record.racing == ["a", "b"] and record.ended == "those left are equally fast within the margin"
    assert set(stable.works) == {"first", "second"}
    assert stable.untimed == {"a": 1, "b": 1}, "the first turn of each is warmed up"


def test_who_fails_leaves_and_the_others_pairs_stay_pairs() -> None:
    made, stable = racing({"a": 100.0, "b": 90.0, "c": 150.0}, fails=("b",))
    record = made.race()
    assert reasons(record)["b"] == "failed in round 3: out of memory"
    assert next(left for left in record.left if left.name == "b").failed
    assert record.racing == ["a"]
    assert len(record.times["a"]) >= len(record.times["c"]) == RUNGS[0]
    assert "b" not in stable.lanes


def test_a_small_budget_forces_the_slower_half_out_and_says_so() -> None:
    ms = {"a": 100.0, "b": 101.0, "c": 102.0, "d": 103.0}
    made, stable = racing(ms, budget_s=6 * 0.3)
    record = made.race()
    forced = [left for left in record.left if left.forced]
    assert {left.name for left in forced} == {"c", "d"}
    assert all(left.reason.startswith("the budget has no time for its turns: 0.9") for left in forced)
    assert "of the fastest's speed when screened" in forced[0].reason
    assert record.racing[0] == "a" and stable.now <= 6 * 0.3


def test_without_any_time_nothing_is_measured_and_nothing_hangs() -> None:
    made, stable = racing({"a": 100.0, "b": 200.0}, budget_s=0)
    record = made.race()
    assert (record.ended, record.rounds, stable.turns) == (BUDGET_SPENT, 0, {})


def test_who_cannot_be_started_in_time_is_told() -> None:
    made, stable = racing({"a": 100.0, "b": 200.0}, budget_s=10, start_s=60)
    stable.lanes["a"] = object()
    record = made.race()
    assert reasons(record) == {"b": "the budget has no time for it: its start takes 60 s and 10 s are left"}
    assert record.racing == ["a"]


def test_a_race_that_was_kept_goes_on_with_its_rounds_and_one_that_ended_starts_no_process() -> None:
    before = HeatRecord(number=1, entrants=["a", "b"], times={"a": [100.0] * 3, "b": [140.0] * 3})
    made, stable = racing({"a": 100.0, "b": 140.0}, record=before)
    assert made.race().times["a"][:3] == [100.0] * 3
    assert stable.turns == {"a": RUNGS[0] - 3, "b": RUNGS[0] - 3}
    made, stable = racing({"a": 100.0, "b": 140.0}, record=before.model_copy(update={"ended": "one is left"}))
    made.race()
    assert stable.opened == []


def test_an_interrupt_keeps_what_was_measured() -> None:
    made, stable = racing({"a": 100.0, "b": 140.0})
    saved: list[HeatRecord] = []
    made.save = saved.append
    turn = stable.turn

    def interrupted(name: str, *rest: Any, **more: Any) -> float:
        if sum(stable.turns.values()) == 5:
            raise KeyboardInterrupt
        return turn(name, *rest, **more)

    stable.turn = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        made.race()
    assert saved[-1].rounds == 2 and saved[-1].ended is None


def test_the_final_ends_when_intervals_are_narrow_and_nobody_leaves() -> None:
    made, stable = racing({"a": 100.0, "b": 140.0, "c": 300.0})
    record = made.final("a")
    assert record.ended == "every interval is narrow enough" and record.left == []
    assert len(record.times["a"]) >= len(record.times["c"]) >= 40
    assert stable.turns["c"] <= stable.turns["a"]


def test_the_final_ends_with_the_budget_and_with_the_winner() -> None:
    made, _ = racing({"a": 100.0, "b": 140.0}, budget_s=1.0)
    assert made.final("a").ended == BUDGET_SPENT
    made, _ = racing({"a": 100.0, "b": 140.0}, fails=("a",))
    record = made.final("a")
    assert record.ended == "the winner failed" and [left.name for left in record.left] == ["a"]


def test_the_winner_so_far_races_the_fastest_who_wait() -> None:
    assert entrants(None, ["a", "b", "c"], 2) == ["a", "b"]
    assert entrants("k", ["a", "b", "k", "c"], 3) == ["k", "a", "b"]


def test_whoever_the_budget_sent_away_waits_again_and_whoever_was_slower_does_not() -> None:
    first = HeatRecord(
        number=1, entrants=["a", "b", "c"],
        left=[Left(name="b", reason="slow"), Left(name="c", reason="no time", forced=True)],
    )  # fmt: skip
    assert waiting_for(["a", "b", "c", "d"], [first]) == ["c", "d"]
    second = HeatRecord(number=2, entrants=["a", "c"], left=[Left(name="c", reason="slow")])
    assert waiting_for(["a", "b", "c", "d"], [first, second]) == ["d"]
