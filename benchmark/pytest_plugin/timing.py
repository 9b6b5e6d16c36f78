"""How a test's model is timed: warmed up until steady, then in as many rounds as an interval needs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmark.measure.statistics import MARGIN, PAIRS_NEEDED, PAIRS_TO_STOP
from benchmark.measure.steady import is_steady
from benchmark.measured import WarmUp

MOST_ROUNDS = 2000
"""Of a call of microseconds more would only make files large."""

WARM_SHARE = 0.5
"""Of the time budget that a warm-up may take."""

MOST_WARM_UPS = 200
WINDOW = 10
"""The last warm-up times, of which the noise is estimated."""


@dataclass
class Times:
    """What timing gave.

    Attributes:
        result: what the last call returned.
        first_call_ms: before the warm-up.
        warmup: the untimed calls.
        host_ms: each timed call, inputs and outputs in host memory.
        device_ms: the same on the runners' device-resident clock.
    """

    result: Any
    first_call_ms: float
    warmup: WarmUp
    host_ms: list[float] = field(default_factory=list)
    device_ms: list[float] = field(default_factory=list)


def measure(
    call: Callable[[], Any], device_clock: Callable[[], float], budget_s: float, benchmark: Any = None
) -> Times:
    """Times a call.

    Args:
        call: what is timed; it waits for its device.
        device_clock: milliseconds on the device so far.
        budget_s: for warm-up and rounds together, but for the least rounds that an interval needs.
        benchmark: pytest-benchmark's fixture, which then makes the rounds; None makes them here. Where it is switched
            off it calls once, and nothing is timed.
    """
    _, first_ms = _timed(call)
    if benchmark is not None and benchmark.disabled:
        return Times(benchmark.pedantic(call), first_ms, WarmUp(samples_ms=[], steady=False, reason="not measured"))
    warmup = _warm_up(call, WARM_SHARE * budget_s)
    times = Times(None, first_ms, warmup)

    def timed() -> Any:
        on_device = device_clock()
        result, milliseconds = _timed(call)
        times.host_ms.append(milliseconds)
        times.device_ms.append(device_clock() - on_device)
        return result

    rounds = rounds_needed(warmup.samples_ms, budget_s)
    if benchmark is not None:
        times.result = benchmark.pedantic(timed, rounds=rounds)
        return times
    for _ in range(rounds):
        times.result = timed()
    return times


def rounds_needed(warm_ms: Sequence[float], budget_s: float) -> int:
    """How many rounds make the interval of the median about as narrow as half the margin, within the budget.

    The standard error of a normal sample's median is √(π/2) that of its mean; the noise is estimated from the last
    times of the warm-up. Planned beforehand, since to stop at a narrow interval would need a look after every round.

    Args:
        warm_ms: times of the warm-up, in order.
        budget_s: what all rounds may take; the least that an interval needs are made in any case.
    """
    window = np.asarray(warm_ms[-WINDOW:], dtype=float)
    middle = float(np.median(window))
    spread = 1.4826 * float(np.median(np.abs(window - middle))) / middle
    wanted = math.ceil((1.96 * math.sqrt(math.pi / 2) * spread / (math.log1p(MARGIN) / 2)) ** 2)
    affordable = int(1e3 * budget_s / middle)
    return max(PAIRS_NEEDED, min(max(wanted, PAIRS_TO_STOP), affordable, MOST_ROUNDS))


def _warm_up(call: Callable[[], Any], limit_s: float) -> WarmUp:
    samples: list[float] = []
    until = time.monotonic() + limit_s
    while not (steady := is_steady(samples)):
        if samples and (time.monotonic() > until or len(samples) >= MOST_WARM_UPS):
            break
        samples.append(_timed(call)[1])
    reason = None if steady else f"ended at its limit after {len(samples)} calls"
    return WarmUp(samples_ms=[round(sample, 4) for sample in samples], steady=steady, reason=reason)


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = call()
    return result, 1e3 * (time.perf_counter() - started)
