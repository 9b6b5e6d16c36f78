"""Device events around a call: where they are recorded, and what is added up."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from exporters.manifest import TensorSpec
from runners.base import Attestation, DeviceTensor, ModuleSource, Outputs, Runner, Signature, Value
from runners.clock import Clocks, EventClock
from runners.device import Device


class Stream:
    """A device whose time passes only when a test says so; events come out when they are waited for."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def event(self) -> FakeEvent:
        return FakeEvent(self)


class FakeEvent:
    def __init__(self, stream: Stream) -> None:
        self.stream, self.at, self.waited = stream, -1.0, False

    def record(self) -> None:
        self.at = self.stream.now
        self.stream.log.append("mark")

    def synchronize(self) -> None:
        self.waited = True

    def elapsed_time(self, end: FakeEvent) -> float:
        assert end.waited, "read before it happened"
        return end.at - self.at


@pytest.fixture
def stream() -> Stream:
    return Stream()


def test_only_what_lies_between_the_marks_counts_and_calls_add_up(stream: Stream) -> None:
    clock = EventClock(stream.event)
    for work in (3.0, 4.0):
        clock.start()
        stream.now += work
        clock.stop()
        stream.now += 100.0  # the host is slow to notice
        clock.collect()
    assert clock.milliseconds == 7.0


def test_the_first_stop_counts_and_a_missing_one_is_made_up_for(stream: Stream) -> None:
    clock = EventClock(stream.event)
    clock.start()
    stream.now += 1.0
    clock.stop()
    stream.now += 10.0
    clock.stop()
    clock.collect()
    assert clock.milliseconds == 1.0
    clock.start()
    stream.now += 2.0
    clock.collect()
    assert clock.milliseconds == 3.0


def test_a_call_that_failed_adds_nothing_to_the_next(stream: Stream) -> None:
    clock = EventClock(stream.event)
    clock.collect()  # nothing was started
    clock.start()
    clock.stop()
    stream.now += 50.0
    clock.start()
    stream.now += 2.0
    clock.stop()
    clock.collect()
    assert clock.milliseconds == 2.0


class OnStream(Runner):
    """A backend on the fake device."""

    backend = "pytorch"

    def __init__(self, source: ModuleSource, stream: Stream) -> None:
        super().__init__(source, Device("cpu"))
        self.stream = stream

    def _load(self) -> None:
        self.event_clock = EventClock(self.stream.event)

    def _free(self) -> None: ...

    def _place(self, inputs: Mapping[str, Value]) -> dict[str, DeviceTensor]:
        self.stream.now += 1000.0
        self.stream.log.append("place")
        return {}

    def _run(self, inputs: Mapping[str, DeviceTensor]) -> Outputs:
        self.stream.now += 5.0
        self.stream.log.append("run")
        assert self.event_clock is not None
        self.event_clock.stop()
        return {}

    def attest(self) -> Attestation:
        return Attestation(self.backend, "", "cpu", "fp32", (), clocks=self.clocks())


def test_a_runners_calls_are_bracketed_after_its_inputs_are_placed_and_both_sums_are_attested(stream: Stream) -> None:
    spec = TensorSpec(name="x", dims=("B",))
    runner = OnStream(ModuleSource("fake", Signature.of([spec], [])), stream)
    with runner:
        for _ in range(3):
            runner.run({"x": np.zeros(1, np.float32)})
        told = runner.attest().clocks
    assert stream.log == 3 * ["place", "mark", "run", "mark"]
    assert told == Clocks(calls=3, host_ms=runner.device_ms, event_ms=15.0)
