"""Time that passes only where a test lets it pass, so that no machine is too slow or too busy for the test."""

from __future__ import annotations


class Clock:
    """In the place of the module `time`.

    Args:
        step: seconds that pass at each look. With some, a busy wait ends and nothing takes no time at all.
    """

    def __init__(self, step: float = 0.0) -> None:
        self.now = 100.0
        self.step = step
        self.slept: list[float] = []

    def perf_counter(self) -> float:
        self.now += self.step
        return self.now

    monotonic = perf_counter

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
