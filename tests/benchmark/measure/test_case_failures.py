"""A lane that fails on a case: what it leaves, what the others keep, and what later cases say of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmark.measure.workers import WorkerError
from benchmark.stages.base import NotFiniteError, Outcome, Unit, require_finite
from tests.benchmark.measure.fake_lanes import Fake, FakeLanes, make_slices, measure_on, spec


@pytest.mark.parametrize("at", [0, 2])
def test_a_backend_that_fails_gives_nothing_and_the_other_is_whole(lanes: FakeLanes, at: int) -> None:
    bench = lanes.bench(spec(), pytorch=Fake(), onnxruntime=Fake(fails_at=at))
    record, predictions = measure_on(bench, make_slices())
    broken, whole = record.lanes["onnxruntime"], record.lanes["pytorch"]
    assert broken.failed == "RuntimeError: no memory"
    assert (broken.unit_ms, broken.volume_ms, broken.phase_ms, broken.dice, broken.parity) == ({}, {}, {}, {}, {})
    assert (broken.pairs, broken.modules, broken.offline) == ({}, {}, None)
    assert broken.load_ms == 7.0 and set(broken.attestation) == {"encoder"}, "what is known of its start stays"
    assert whole.failed is None
    assert whole.unit_ms == {"box": [13.0] * 5}
    assert whole.dice["box"]["organ"] == 1.0
    assert list(predictions["box"]) == ["pytorch"]
    assert record.slices == 5, "what one backend did not do is not missing from the other's"


def test_a_backend_that_fails_in_a_later_pass_gets_no_further_turn(lanes: FakeLanes) -> None:
    fake = Fake(fails_at=3)
    bench = lanes.bench(spec(repeats=4), pytorch=Fake(), onnxruntime=fake)
    record, _ = measure_on(bench, make_slices(2))
    assert fake.calls == 4
    assert record.lanes["onnxruntime"].failed
    assert (record.slices, record.passes) == (2, 4)
    assert len(record.lanes["pytorch"].unit_ms["box"]) == 8


def test_later_cases_say_in_which_one_it_failed_and_do_not_call_it(lanes: FakeLanes) -> None:
    fake = Fake(fails_at=2)
    bench = lanes.bench(spec(), cases=2, pytorch=Fake(), onnxruntime=fake)
    measure_on(bench, make_slices())
    record, predictions = measure_on(bench, make_slices(), number=1)
    assert fake.calls == 3
    assert record.lanes["onnxruntime"].failed == "not measured after it failed in case c1: RuntimeError: no memory"
    assert record.lanes["pytorch"].unit_ms == {"box": [13.0] * 5}
    assert list(predictions["box"]) == ["pytorch"]


def test_a_lane_that_fails_in_the_warm_up_has_failed(lanes: FakeLanes) -> None:
    """Its answers of the passes before are never seen."""
    bench = lanes.bench(spec(warmup=1), pytorch=Fake(), onnxruntime=Fake(fails_at=1))
    record, _ = measure_on(bench, make_slices())
    assert record.lanes["onnxruntime"].failed == "RuntimeError: no memory"
    assert record.lanes["pytorch"].warmup is not None and record.lanes["pytorch"].failed is None


def test_a_lane_that_fails_in_the_offline_pass_has_failed_though_its_turns_were_good(lanes: FakeLanes) -> None:
    """A pass untimed and three timed ones are its turns; the offline pass is next."""
    how = spec(scenarios=("single-stream", "offline"))
    bench = lanes.bench(how, pytorch=Fake(), onnxruntime=Fake(fails_at=4))
    record, predictions = measure_on(bench, make_slices(3))
    assert record.lanes["onnxruntime"].failed == "RuntimeError: no memory"
    assert record.lanes["onnxruntime"].unit_ms == {}
    assert record.lanes["pytorch"].offline is not None
    assert list(predictions["box"]) == ["pytorch"]


def test_a_reference_that_fails_takes_parity_and_pairs_with_it_and_the_others_go_on(lanes: FakeLanes) -> None:
    bench = lanes.bench(spec(samples=8, budget_s=600), pytorch=Fake(fails_at=3), onnxruntime=Fake())
    record, predictions = measure_on(bench, make_slices())
    other = record.lanes["onnxruntime"]
    assert record.lanes["pytorch"].failed == "RuntimeError: no memory"
    assert other.failed is None and other.parity == {}
    assert len(other.unit_ms["box"]) == 8, "samples are still worth having; verdicts no longer wait for anything"
    assert list(predictions["box"]) == ["onnxruntime"]
    later, _ = measure_on(bench, make_slices(), number=1)
    assert later.lanes["onnxruntime"].failed is None
    assert (later.lanes["onnxruntime"].pairs, later.lanes["onnxruntime"].parity) == ({}, {})


def test_when_every_backend_failed_the_case_ends(lanes: FakeLanes) -> None:
    bench = lanes.bench(spec(samples=64, budget_s=600, repeats=3), pytorch=Fake(fails_at=0))
    record, predictions = measure_on(bench, make_slices(2))
    assert record.lanes["pytorch"].failed
    assert predictions == {"box": {}}


def test_an_answer_that_is_no_number_fails_and_is_no_mask(lanes: FakeLanes) -> None:
    class Nan(Fake):
        def process(self, unit: Unit) -> Outcome:
            require_finite(np.array([0.0, np.nan]))
            return super().process(unit)

    record, _ = measure_on(lanes.bench(spec(), pytorch=Fake(), onnxruntime=Nan()), make_slices())
    assert record.lanes["onnxruntime"].failed == "NotFiniteError: its output holds NaN or infinity"
    with pytest.raises(NotFiniteError):
        require_finite(np.array([np.inf]))


def test_a_lane_that_cannot_be_loaded_is_told_by_its_worker(lanes: FakeLanes) -> None:
    with pytest.raises(WorkerError, match="RuntimeError: no such provider"):
        lanes.bench(spec(), pytorch=RuntimeError("no such provider"))


def test_a_worker_that_died_is_asked_nothing_more(lanes: FakeLanes) -> None:
    """A call of a dead process would fail again, and hide why it died."""
    bench = lanes.bench(spec(), cases=2, pytorch=Fake(), onnxruntime=Fake())
    asked: list[str] = []

    def dead(method: str, *_: Any, **__: Any) -> None:
        asked.append(method)
        raise WorkerError("the worker was killed (SIGKILL), as the system does when memory runs out")

    bench.lanes["onnxruntime"].worker.call = dead  # type: ignore[method-assign,assignment]
    record, _ = measure_on(bench, make_slices())
    measure_on(bench, make_slices(), number=1)
    assert asked == ["turn"]
    assert record.lanes["onnxruntime"].failed == (
        "the worker was killed (SIGKILL), as the system does when memory runs out"
    )
