"""Who gets a turn on a case, how long it is, when there are enough, and what the pairs of a comparison are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmark.measure.bench import WARM_UPS, Bench
from benchmark.measure.statistics import PAIRS_TO_STOP
from benchmark.records import LaneRecord
from tests.benchmark.measure.fake_lanes import Fake, FakeLanes, by_batch, make_slices, measure_on, spec

NO_LABELS: dict[int, str] = {}
"""Turns are the same whatever is scored."""


def turns(bench: Bench, depth: int = 5, number: int = 0, **changes: Any) -> dict[str, LaneRecord]:
    record, _ = measure_on(bench, make_slices(depth), number=number, labels=NO_LABELS, **changes)
    return record.lanes


def wild_ms(call: int) -> float:
    """0 to 40 ms, at random, alike in every run."""
    return float(np.random.default_rng(call).uniform(0, 40))


def samples(record: LaneRecord) -> int:
    return len(record.unit_ms["box"])


def test_a_pair_is_one_round_beside_the_reference(lanes: FakeLanes) -> None:
    bench = lanes.bench(spec(repeats=2), pytorch=Fake(ms=10.0), onnxruntime=Fake(ms=2.0))
    found = turns(bench, depth=3)
    assert found["pytorch"].pairs == {}
    assert found["onnxruntime"].pairs == {"box": [(13.0, 5.0)] * 6}
    assert bench.watches["onnxruntime"]["box"].pairs == [(13.0, 5.0)] * 6
    assert "pytorch" not in bench.watches


def test_each_variant_has_pairs_of_its_own(lanes: FakeLanes) -> None:
    variants = ("box", "point")
    bench = lanes.bench(spec(), pytorch=Fake(variants=variants), onnxruntime=Fake(ms=2.0, variants=variants))
    found = turns(bench, depth=2, variants=variants)
    assert found["onnxruntime"].pairs == {"box": [(13.0, 5.0)] * 2, "point": [(15.0, 7.0)] * 2}


def test_a_pair_is_the_mean_of_each_turns_passes(lanes: FakeLanes) -> None:
    """The first turn does not know how short a unit of 4 and 6 ms in turns is; then two or three make 10 ms."""
    fast = Fake(ms=lambda call: 1.0 if call % 2 else 3.0)
    bench = lanes.bench(spec(block_ms=10, samples=999), pytorch=Fake(), onnxruntime=fast)
    found = turns(bench, depth=4)["onnxruntime"]
    # A pass untimed, one of 4 ms, then three, since two of 4 ms would last 8; then two, since the mean was above 5 ms.
    assert found.unit_ms["box"] == [4.0, 6.0, 4.0, 6.0, 4.0, 6.0, 4.0, 6.0]
    expected = [4.0, 16 / 3, 5.0, 5.0]
    assert [ms for _, ms in found.pairs["box"]] == pytest.approx(expected)
    assert [ms for ms, _ in found.pairs["box"]] == [13.0] * 4


def test_a_turn_is_repeated_only_while_more_needs_to_be_known(lanes: FakeLanes) -> None:
    """Of 4 ms a block of 50 ms holds 13. The first turn is of one call, the next of 13, and then there are 10."""
    bench = lanes.bench(spec(block_ms=50, samples=10, repeats=3), pytorch=Fake(ms=1.0))
    found = turns(bench, depth=4)["pytorch"]
    assert samples(found) == 1 + 13 + 10
    assert found.timed_slices == 24, "each pass is over a slice, also where a turn has several"
    assert found.volume_ms == {"box": [16.0] * 3}, "a volume's time holds each unit once"
    assert bench.samples == {"pytorch": 24}


def test_turns_are_equally_long_for_all_by_the_fastest(lanes: FakeLanes) -> None:
    bench = lanes.bench(spec(block_ms=50, samples=999), pytorch=Fake(ms=97.0), onnxruntime=Fake(ms=7.0))
    found = turns(bench, depth=2)
    assert samples(found["pytorch"]) == samples(found["onnxruntime"]) == 1 + 5


def test_passes_are_added_until_there_are_samples_enough(lanes: FakeLanes) -> None:
    found = turns(lanes.bench(spec(samples=12, budget_s=600), pytorch=Fake()))["pytorch"]
    assert samples(found) == 12
    assert found.volume_ms == {"box": [65.0] * 2}, "the third pass ended within the case and is no volume's time"
    found = turns(lanes.bench(spec(samples=5, budget_s=600), pytorch=Fake()))["pytorch"]
    assert samples(found) == 5


def test_samples_are_asked_for_in_even_shares_of_the_cases(lanes: FakeLanes) -> None:
    bench = lanes.bench(spec(samples=20, budget_s=600), cases=4, pytorch=Fake())
    counts = [samples(turns(bench, depth=2, number=number)["pytorch"]) for number in range(4)]
    assert counts == [5, 5, 5, 5]


def test_measuring_stops_when_the_interval_is_narrow(lanes: FakeLanes) -> None:
    """Constant times give an interval of no width, which counts from so many pairs on; it is looked at now and then."""
    bench = lanes.bench(spec(budget_s=600), pytorch=Fake(), onnxruntime=Fake(ms=2.0))
    found = turns(bench)["onnxruntime"]
    assert PAIRS_TO_STOP <= len(found.pairs["box"]) <= PAIRS_TO_STOP + 8
    assert not bench.watches["onnxruntime"]["box"].wide()


def test_measuring_goes_on_while_the_interval_is_wide_and_stops_when_the_budget_is_spent(lanes: FakeLanes) -> None:
    """Rounds of 13 ms beside 3 to 43 ms: the ratio is anybody's guess, and a second holds some 28 of them."""
    wild = Fake(ms=wild_ms)
    bench = lanes.bench(spec(budget_s=1), pytorch=Fake(), onnxruntime=wild)
    found = turns(bench)["onnxruntime"]
    assert bench.watches["onnxruntime"]["box"].wide()
    assert 1.0 <= bench.spent_s < 1.0 + 0.056, "no further round begins, and the last one is finished"
    assert len(found.pairs["box"]) > 24


def test_the_passes_asked_for_are_made_whatever_the_budget(lanes: FakeLanes) -> None:
    found = turns(lanes.bench(spec(repeats=3, samples=999, budget_s=0), pytorch=Fake()), depth=2)["pytorch"]
    assert samples(found) == 6


def test_further_turns_go_to_lanes_that_are_still_open_and_to_the_reference_beside_them(lanes: FakeLanes) -> None:
    wild = Fake(ms=wild_ms)
    pipelines = {"pytorch": Fake(), "onnxruntime": Fake(ms=2.0), "onnxruntime int8": wild}
    bench = lanes.bench(spec(budget_s=4), **pipelines)
    found = turns(bench)
    settled, open_lane = found["onnxruntime"], found["onnxruntime int8"]
    assert PAIRS_TO_STOP <= samples(settled) <= PAIRS_TO_STOP + 8
    assert samples(open_lane) > PAIRS_TO_STOP + 8
    assert samples(found["pytorch"]) == samples(open_lane) == len(open_lane.pairs["box"])


def test_a_settled_verdict_of_earlier_cases_takes_no_further_turn(lanes: FakeLanes) -> None:
    bench = lanes.bench(spec(budget_s=600), cases=2, pytorch=Fake(), onnxruntime=Fake(ms=2.0))
    assert len(turns(bench)["onnxruntime"].pairs["box"]) >= 20
    assert len(turns(bench, number=1)["onnxruntime"].pairs["box"]) == 5


def test_the_budget_is_shared_evenly_and_what_a_case_leaves_the_next_one_has(lanes: FakeLanes) -> None:
    bench = lanes.bench(spec(budget_s=60), cases=3, pytorch=Fake())
    assert [bench.budget_s(number) for number in range(3)] == [20, 40, 60]
    bench.spent_s = 5
    assert bench.budget_s(1) == 35
    bench.spent_s = 50
    assert bench.budget_s(1) == -10, "a long case is not paid for by the ones after it alone"


def test_without_a_reference_only_samples_are_waited_for(lanes: FakeLanes) -> None:
    wild = Fake(ms=wild_ms)
    found = turns(lanes.bench(spec(budget_s=600, samples=7), onnxruntime=wild))["onnxruntime"]
    assert samples(found) == 7


def test_a_worker_is_warmed_up_once_until_its_times_are_steady(lanes: FakeLanes) -> None:
    """A first call of 100 ms, then 70 ms, 40 ms and from then on 13 ms: the falling ones are no samples."""
    fake = Fake(ms=lambda call: max(10.0, 97.0 - 30 * call))
    bench = lanes.bench(spec(warmup=1), cases=2, pytorch=fake)
    found = turns(bench)["pytorch"]
    assert found.warmup is not None and found.warmup.steady and found.warmup.reason is None
    count = len(found.warmup.samples_ms)
    assert 5 <= count < WARM_UPS
    assert found.warmup.samples_ms[:3] == pytest.approx([70.0, 40.0, 13.0])
    assert fake.calls == 1 + count + 5, "the first shape is known by then"
    assert found.unit_ms == {"box": [13.0] * 5}
    before = fake.calls
    again = turns(bench, number=1)["pytorch"]
    assert fake.calls == before + 1 + 5, "a further case begins with the untimed units of `warmup`"
    assert samples(again) == 5


def test_a_warm_up_that_does_not_end_is_ended_and_says_so(lanes: FakeLanes) -> None:
    """Each pass is faster than the last, without an end."""
    fake = Fake(ms=lambda call: 1000 * 0.7**call)
    found = turns(lanes.bench(spec(warmup=1, warmup_limit_s=2), pytorch=fake))["pytorch"]
    assert found.warmup is not None and not found.warmup.steady
    # 1003 + 703 + 493 ms; the first is the first call.
    assert found.warmup.samples_ms == pytest.approx([703.0, 493.0])
    assert found.warmup.reason == "ended at its limit after 2 s and 2 passes beside the first call"


def test_without_a_warm_up_only_a_first_shape_is_run_untimed(lanes: FakeLanes) -> None:
    fake = Fake()
    bench = lanes.bench(spec(), cases=2, pytorch=fake)
    assert turns(bench)["pytorch"].warmup is None
    turns(bench, number=1)
    assert fake.calls == 1 + 2 * 5


def test_a_case_without_work_is_not_passed_over_again_and_again(lanes: FakeLanes) -> None:
    asked: list[int] = []
    bench = lanes.bench(spec(samples=64, budget_s=600), pytorch=Fake())
    record, _ = measure_on(bench, [], lambda chosen: asked.append(1) or by_batch(chosen), labels=NO_LABELS)
    assert len(asked) == 1 and record.slices == 0


def test_lanes_rest_before_each_turn(lanes: FakeLanes) -> None:
    """Threads of the one before would still spin. It is no work of theirs, so it is in the wall time alone."""
    bench = lanes.bench(spec(pause_ms=5), pytorch=Fake(), onnxruntime=Fake())
    record, _ = measure_on(bench, make_slices(3), labels=NO_LABELS)
    # Of each lane an untimed pass and three timed ones of 13 ms.
    assert record.seconds.busy == pytest.approx(2 * 4 * 0.013)
    assert record.seconds.wall == pytest.approx(record.seconds.busy + 6 * 0.005)
