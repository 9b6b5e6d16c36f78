"""A lane in a worker process: what it is asked, and what it answers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from benchmark.lanes import Lane, LaneSettings, open_lanes
from benchmark.measure.energy import EnergyMeter, EnergyTally
from benchmark.measure.environment import steering_variables
from benchmark.measure.memory import MemoryWatch, reset_peak
from benchmark.measure.rate import find_rate, queries_within
from benchmark.measure.scenarios import offline
from benchmark.measure.server import Bound, serve
from benchmark.measure.steady import is_steady
from benchmark.measured import Attested, Energy, Memory, Server, ServerTrial, WorkerFacts
from benchmark.records import OfflineRecord
from benchmark.results import LaneKey
from benchmark.sections import ServerSpec
from benchmark.stages.base import Outcome, Pipeline, Unit
from runners.base import ModuleSource, Runner, Shapes
from runners.onnx_precision import file_precision
from runners.registry import import_backend

MOST_SET_UPS = 8
"""How often a turn's passes are repeated because the backend compiled within them; each kind of prompt may need it."""

UnitKey = tuple[str, int]
"""A case and the number of a unit in it."""


@dataclass(frozen=True)
class LaneRecipe:
    """All that a process needs to open a lane; it can be sent to one.

    Attributes:
        settings: of this one lane.
        sources: the stage's modules, each with its file of the lane's precision.
        pipeline: makes the stage's pipeline of their runners.
    """

    settings: LaneSettings
    sources: Sequence[ModuleSource]
    pipeline: Callable[[Sequence[Runner]], Pipeline]

    def __call__(self) -> LaneServer:
        """The server, its lane not opened yet."""
        return LaneServer(self)


@dataclass(frozen=True)
class Loaded:
    """What opening the lane gave.

    Attributes:
        attestation: one entry a runner.
        load_ms: loading all runners.
    """

    attestation: dict[str, Attested]
    load_ms: float


@dataclass(frozen=True)
class Warmed:
    """Untimed passes over the first unit.

    Attributes:
        samples_ms: of each, the very first call included.
        steady: whether the last of them are.
        seconds: in which the worker computed.
    """

    samples_ms: list[float]
    steady: bool
    seconds: float


@dataclass(frozen=True)
class ModuleCall:
    """One call of a module on the device-resident clock."""

    module: str
    shapes: Shapes
    milliseconds: float


@dataclass(frozen=True)
class TurnReply:
    """One turn.

    Attributes:
        outcomes: of each timed pass; only the first has label maps, and only if they were asked for.
        seconds: in which the worker computed, the untimed passes included.
        timed_s: of those, the timed passes'.
        calls: of the modules in the timed passes.
        first_shape_ms: shape → its first unit ever, so far.
        first_call_ms: of the first unit ever.
        kernel_share: of the CPU time so far.
    """

    outcomes: list[Outcome]
    seconds: float
    timed_s: float
    calls: list[ModuleCall] = field(default_factory=list)
    first_shape_ms: dict[str, float] = field(default_factory=dict)
    first_call_ms: float | None = None
    kernel_share: float | None = None


@dataclass(frozen=True)
class Look:
    """What a worker's process has come to so far.

    Attributes:
        attestation: one entry a runner, as it attests after its calls.
        notes: what the pipeline has to say of how it ran.
    """

    facts: WorkerFacts
    memory: Memory
    energy: Energy
    attestation: dict[str, Attested]
    notes: tuple[str, ...] = ()


class LaneServer:
    """Opens a lane, and runs units on it when told to. It keeps the last unit, so that it is sent once."""

    def __init__(self, recipe: LaneRecipe) -> None:
        self._recipe = recipe
        self._stack = ExitStack()
        self._lane: Lane | None = None
        self._held: tuple[UnitKey, Unit] | None = None
        self._calls: list[ModuleCall] = []
        self._watch = MemoryWatch(recipe.settings.device)
        self._energy = EnergyTally(EnergyMeter(recipe.settings.device))

    def load(self) -> Loaded:
        """Loads the lane's runners.

        Raises:
            RunnerError: the backend cannot be had on the device.
        """
        settings = self._recipe.settings
        (key,) = settings.lanes
        sources = {key.precision: self._recipe.sources}
        self._before_loading(key)
        lane = self._stack.enter_context(open_lanes(settings, sources, self._recipe.pipeline))[str(key)]
        for name, runner in lane.runners.items():
            runner.on_call = self._noting(name)
        self._lane = lane
        self._watch.loaded()
        return Loaded(dict(lane.attestation), lane.load_ms)

    def _before_loading(self, key: LaneKey) -> None:
        """What would pass for a model's memory: libraries, and what reading a file's precision leaves behind."""
        import_backend(key.backend)
        for source in self._recipe.sources:
            if source.onnx_path is not None and key.backend == "onnxruntime":
                file_precision(source.onnx_path)  # it is kept, and the runner asks for it again
        self._watch.before()
        reset_peak()

    def _noting(self, module: str) -> Callable[[Shapes, float], None]:
        return lambda shapes, milliseconds: self._calls.append(ModuleCall(module, shapes, milliseconds))

    def warm_up(self, key: UnitKey, unit: Unit, most: int, limit_s: float) -> Warmed:
        """Runs a unit until its times are steady, or so often, or so long."""
        self._held = (key, unit)
        started = time.perf_counter()
        samples: list[float] = []
        steady = False
        while not steady and len(samples) < most and (time.perf_counter() - started < limit_s or not samples):
            before = time.perf_counter()
            self._opened.process(unit)
            samples.append(1e3 * (time.perf_counter() - before))
            steady = is_steady(samples[1:])  # the first call sets the backend up, and is told apart
        return Warmed(samples, steady, time.perf_counter() - started)

    def turn(
        self, key: UnitKey, unit: Unit | None, untimed: int = 0, calls: int = 1, with_labels: bool = True
    ) -> TurnReply:
        """Runs a unit, untimed and then timed.

        Timed passes in which the backend prepared itself anew, as for a number of prompts that it had no code for, are
        no warm times: they are repeated.

        Args:
            key: of the unit.
            unit: None if the worker was given it in the last turn.
            untimed: passes before; one more where the unit has a shape that the lane has not met.
            calls: timed passes.
            with_labels: whether the label maps are wanted.
        """
        if unit is not None:
            self._held = (key, unit)
        if self._held is None or self._held[0] != key:
            raise ValueError(f"unit {key} was not sent")
        unit = self._held[1]
        lane = self._opened
        started = time.perf_counter()
        for _ in range(max(untimed, 0 if lane.knows(unit) else 1)):
            lane.process(unit)
        outcomes, timed_s = self._timed(lane, unit, calls)
        ended = time.perf_counter()
        light = [outcomes[0] if with_labels else _without_labels(outcomes[0]), *map(_without_labels, outcomes[1:])]
        return TurnReply(
            light,
            ended - started,
            timed_s,
            self._calls,
            dict(lane.first_shape_ms),
            lane.first_call_ms,
            lane.kernel_share,
        )

    def _timed(self, lane: Lane, unit: Unit, calls: int) -> tuple[list[Outcome], float]:
        """Passes without a set-up among them, and the seconds that they took."""
        for _ in range(MOST_SET_UPS + 1):
            self._calls = []
            known = partial(_stays, lane, lane.set_ups)
            with self._energy.of(calls, if_=known):
                started = time.perf_counter()
                outcomes = [lane.process(unit) for _ in range(calls)]
                seconds = time.perf_counter() - started
            if known():
                break
        return outcomes, seconds

    def offline(self, units: Sequence[Unit], most_s: float) -> OfflineRecord:
        """Runs units one after another, the next one's slice made ready meanwhile as `sambench label` does it.

        Args:
            units: of one case.
            most_s: the unit during which so many seconds have passed is the last.
        """
        pipeline: Any = self._opened.pipeline
        if hasattr(pipeline, "prepare"):
            done = offline(pipeline.finish, units, most_s, pipeline.prepare)
        else:
            done = offline(pipeline.process, units, most_s)
        self._calls = []
        slices = sum(len(unit.slices) for unit in units[: done.units])
        whole = done.units == len(units)
        return OfflineRecord(slices=slices, volumes=int(whole), seconds=done.seconds)

    def serve(self, units: Sequence[Unit], settings: ServerSpec, service_ms: float, seed: int) -> Server:
        """Finds the highest rate of Poisson arrivals at which the bound is kept.

        Args:
            units: that queries ask for.
            settings: bound, percentile and budget.
            service_ms: what a unit takes.
            seed: of arrivals.
        """
        bound = Bound(settings.bound_ms, settings.percentile)
        process = self._opened.process
        queries = queries_within(settings.budget_s, service_ms, bound)

        def trial(rate: float) -> ServerTrial:
            return serve(process, units, rate, queries, seed, bound)

        found = find_rate(trial, service_ms, settings.budget_s, bound, queries)
        self._calls = []
        return found

    def look(self) -> Look:
        """The process, as it sees itself so far."""
        affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        facts = WorkerFacts(affinity=affinity, variables=steering_variables())
        notes = getattr(self._opened.pipeline, "notes", ())
        return Look(facts, self._watch.memory(), self._energy.per_unit(), self._opened.attested_now(), notes)

    def close(self) -> None:
        """Frees the runners."""
        self._stack.close()

    @property
    def _opened(self) -> Lane:
        if self._lane is None:
            raise ValueError("load the lane before running it")
        return self._lane


def _stays(lane: Lane, set_ups: int) -> bool:
    return lane.set_ups == set_ups


def _without_labels(outcome: Outcome) -> Outcome:
    nothing: Any = np.zeros((0, 0, 0), np.uint8)
    return replace(outcome, labels=dict.fromkeys(outcome.labels, nothing))
