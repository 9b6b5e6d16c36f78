"""Device events around a call: what the device itself says that the call took, beside the host's clock.

The host's clock stops when the host has noticed that the device is done; the two differ by that notice, and by what the
device did not have to wait for. Where they differ much, one of them is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch


class Event(Protocol):
    """A mark on a device's stream, as `torch.cuda.Event` is."""

    def record(self) -> None: ...  # noqa: D102
    def synchronize(self) -> None: ...  # noqa: D102
    def elapsed_time(self, end: Any) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class Clocks:
    """What the calls so far took on the two clocks.

    Attributes:
        calls: how many.
        host_ms: their sum by the host's clock, inputs and outputs on the device.
        event_ms: their sum by device events.
    """

    calls: int
    host_ms: float
    event_ms: float


class EventClock:
    """Brackets calls with a pair of events each and adds up what lies between them.

    Args:
        make_event: an event for the stream that the calls run on.

    Attributes:
        milliseconds: the sum over all calls that were collected.
    """

    def __init__(self, make_event: Callable[[], Event]) -> None:
        self._make_event = make_event
        self._started: Event | None = None
        self._stopped: Event | None = None
        self.milliseconds = 0.0

    def start(self) -> None:
        """Marks the stream before a call's work; what an earlier call left unfinished is forgotten."""
        self._stopped = None
        self._started = self._make_event()
        self._started.record()

    def stop(self) -> None:
        """Marks the stream after a call's work and before the host waits for it; only the first one counts."""
        if self._started is not None and self._stopped is None:
            self._stopped = self._make_event()
            self._stopped.record()

    def collect(self) -> None:
        """Adds the call to the sum. It waits for the second mark, so that it belongs after the host's clock."""
        self.stop()
        if self._started is not None and self._stopped is not None:
            self._stopped.synchronize()
            self.milliseconds += self._started.elapsed_time(self._stopped)
        self._started = self._stopped = None


def torch_events(stream: torch.cuda.Stream) -> Callable[[], Event]:
    """Makes PyTorch's timing events, which are recorded on a stream of its own or of another library.

    Args:
        stream: that the calls run on.
    """
    return lambda: _OnStream(stream)


class _OnStream:
    def __init__(self, stream: torch.cuda.Stream) -> None:
        import torch

        self._event, self._stream = torch.cuda.Event(enable_timing=True), stream  # type: ignore[no-untyped-call]

    def record(self) -> None:
        self._event.record(self._stream)

    def synchronize(self) -> None:
        self._event.synchronize()

    def elapsed_time(self, end: _OnStream) -> float:
        return float(self._event.elapsed_time(end._event))
