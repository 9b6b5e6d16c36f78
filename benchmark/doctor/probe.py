"""What runs in the doctor's worker processes: the facts are gathered and every check is made there.

A driver or a library that crashes or hangs takes its process with it and no more. Heavy imports stay inside the
methods, so that each loads only what it is about.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.doctor.schema import State

if TYPE_CHECKING:
    from runners.base import Runner

TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 1e-1, "int8": 3e-1, "int8-static": 3e-1}
"""Of the largest output of PyTorch in fp32: the share of it that an answer may differ by. A backend that computes
something else is far beyond; a run holds its masks to the gate besides."""

LOOSEST = max(TOLERANCE.values())

THREADS = 1


@dataclass(frozen=True)
class Tried:
    """What became of a check.

    Attributes:
        largest_error: absolute, over all outputs and inputs; None where it did not run.
        instead: the precision that it ran in, where that is another one than was asked for.
    """

    state: State
    reason: str | None = None
    largest_error: float | None = None
    tolerance: float | None = None
    seconds: float | None = None
    instead: str | None = None


class Preparation:
    """Makes what the checks need."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def answer(self) -> None:
        """Writes PyTorch's fp32 answers, with which all is compared."""
        from benchmark.doctor.tiny import references

        for number, outputs in enumerate(references()):
            np.savez(_reference(self._folder, number), allow_pickle=False, **outputs)

    def export(self) -> dict[str, str]:
        """Writes the network's ONNX files; returns the precisions without one, with the reason."""
        from benchmark.doctor.tiny import write_files

        return write_files(self._folder)


class Checks:
    """Tries a backend on a device, one precision a call."""

    def __init__(self, backend: str, device: str, folder: Path) -> None:
        self._backend = backend
        self._device = device
        self._folder = folder

    def check(self, precision: str) -> Tried:
        """Loads the network, runs every input twice, and holds the answers against PyTorch's."""
        from benchmark.doctor.tiny import tiny_source
        from runners.base import DeviceUnavailableError, RunnerError
        from runners.device import Device
        from runners.registry import import_backend, make_runner

        device = Device.parse(self._device)
        try:
            absent = import_backend(self._backend).absence(device)
        except (RunnerError, ImportError) as error:  # its package, or a library that the package loads
            absent = str(error)
        if absent:
            return Tried("unavailable", absent)
        source = tiny_source(self._folder, precision)
        try:
            runner = make_runner(self._backend, source, device, THREADS)
        except RunnerError as error:  # before it loads anything: it does not do this here
            return Tried("unavailable", str(error))
        try:
            return self._run(runner, precision)
        except DeviceUnavailableError as error:
            return Tried("unavailable", str(error))
        except RunnerError as error:
            return Tried("failed", str(error))

    def _run(self, runner: Runner, precision: str) -> Tried:
        from benchmark.doctor.tiny import feeds
        from benchmark.measure.attest import attested, mismatch

        started = time.perf_counter()
        worst = largest = 0.0
        with runner:
            for number, feed in enumerate(feeds()):
                expected = np.load(_reference(self._folder, number))
                runner.run(feed)
                # The second call: of CUDA graphs and of engines it is the first that is replayed.
                answer = runner.run(feed)
                for name in expected.files:
                    difference = np.abs(answer[name].numpy().astype(np.float64) - expected[name])
                    worst = float(np.maximum(worst, difference.max()))  # keeps NaN
                    largest = max(largest, float(np.abs(expected[name]).max()))
            told = runner.attest()
        otherwise = mismatch(self._device, precision, {"network": attested(told, precision, None)})
        instead = None if told.precision == precision or told.device != self._device else told.precision
        allowed = TOLERANCE.get(precision, LOOSEST) * largest
        state, reason = judge(worst, allowed, otherwise)
        finite = worst if np.isfinite(worst) else None
        return Tried(state, reason, finite, allowed, round(time.perf_counter() - started, 2), instead)


def judge(error: float, allowed: float, otherwise: str | None) -> tuple[State, str | None]:
    """Whether an answer is right.

    Args:
        error: the largest absolute difference; NaN where an answer is not finite.
        allowed: the largest accepted.
        otherwise: how what ran differs from what was asked for; None if it does not.
    """
    if otherwise is not None:
        return "wrong", otherwise
    if not error <= allowed:  # also NaN, which compares false with everything
        told = f"{error:.2g}" if np.isfinite(error) else "a value that is not finite"
        return "wrong", f"its answer differs from PyTorch's by {told}; {allowed:.2g} is accepted"
    return "works", None


def _reference(folder: Path, number: int) -> Path:
    return folder / f"reference-{number}.npz"
