"""Time that passes only when somebody sleeps or works: hours of queueing in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator


class Virtual:
    """A clock, and a worker whose calls take the times given."""

    def __init__(self, service_s: Iterator[float], oversleep_s: float = 0.0) -> None:
        self.now = 1000.0
        self.service_s, self.oversleep_s = service_s, oversleep_s
        self.begun: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds + self.oversleep_s

    def process(self, unit: object) -> None:
        self.begun.append(self.now)
        self.now += next(self.service_s)
