"""One lane a backend and precision: its runners loaded, its pipeline ready, and what loading and first call took."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from benchmark.measure.attest import attested
from benchmark.measured import Attested
from benchmark.results import LaneKey
from benchmark.sections import LaneSpec
from benchmark.stages.base import Outcome, Pipeline, Unit
from exporters.exportable import Exportable
from runners.base import ModuleSource, Options, Runner, Signature
from runners.device import Device
from runners.registry import make_runner

Sources = Mapping[str, Sequence[ModuleSource]]
"""precision → the modules of a stage, each with its file of that precision."""


@runtime_checkable
class LanePipeline(Protocol):
    """What makes a pipeline, and can make it with a batch of the lane's own."""

    def for_lane(self, own: LaneSpec) -> Callable[[Sequence[Runner]], Pipeline]:
        """The same for one lane."""
        ...


@dataclass(frozen=True)
class LaneSettings:
    """The lanes of a group, and what they have in common.

    Attributes:
        options: backend → what else it knows.
        own: the string form of a lane's key → what it gets instead.
    """

    lanes: tuple[LaneKey, ...]
    device: str
    threads: int
    options: Mapping[str, Options] = field(default_factory=dict)
    own: Mapping[str, LaneSpec] = field(default_factory=dict)

    def of(self, key: LaneKey) -> LaneSpec:
        """A lane's threads and options; batches stay as they are given for it, None where they are not."""
        own = self.own.get(str(key), LaneSpec())
        options = {**self.options.get(key.backend, {}), **own.options}
        return own.model_copy(update={"threads": own.threads or self.threads, "options": options})


@dataclass
class Lane:
    """A lane's pipeline and the facts about its start."""

    pipeline: Pipeline
    attestation: Mapping[str, Attested]
    load_ms: float
    first_call_ms: float | None = None
    first_shape_ms: dict[str, float] = field(default_factory=dict)
    runners: Mapping[str, Runner] = field(default_factory=dict)
    _user_s: float = 0.0
    _kernel_s: float = 0.0

    @property
    def kernel_share(self) -> float | None:
        """The share of this lane's CPU time that went to the kernel; None before there was any."""
        total = self._user_s + self._kernel_s
        return self._kernel_s / total if total else None

    @property
    def set_ups(self) -> int:
        """How often its backends prepared themselves within a call so far."""
        return sum(runner.set_ups for runner in self.runners.values())

    def attested_now(self) -> dict[str, Attested]:
        """What the runners attest after what they have run; some know their precision only then."""
        now = {
            name: attested(runner.attest(), runner.source.precision, self.attestation[name].requested_threads)
            for name, runner in self.runners.items()
        }
        return {**self.attestation, **now}

    def process(self, unit: Unit) -> Outcome:
        """Runs a unit, and keeps what the very first one and the first one of each shape took."""
        started, cpu = time.perf_counter(), os.times()
        outcome = self.pipeline.process(unit)
        after = os.times()
        self._user_s += after.user - cpu.user
        self._kernel_s += after.system - cpu.system
        milliseconds = 1e3 * (time.perf_counter() - started)
        if self.first_call_ms is None:
            self.first_call_ms = milliseconds
        self.first_shape_ms.setdefault(shape_name(unit), milliseconds)
        return outcome

    def knows(self, unit: Unit) -> bool:
        """Whether a unit of this shape was run before; a backend may set itself up for each new one."""
        return shape_name(unit) in self.first_shape_ms


def shape_name(unit: Unit) -> str:
    """`8×128×128`."""
    return "×".join(map(str, unit.shape))


class ModuleMaker:
    """Makes a module of its own for a runner, because moving a module to another device moves it for everybody.

    Here it copies the module that is in memory. In another process it makes the module anew from its weights, or, where
    it does not know how, takes the module with it.
    """

    def __init__(self, part: Exportable) -> None:
        self._module = part.module
        self._reload = part.reload

    def __call__(self) -> Any:
        """The module."""
        if self._module is None and self._reload is not None:
            return self._reload()
        return copy.deepcopy(self._module)

    def __getstate__(self) -> dict[str, Any]:
        return {"_module": None if self._reload else self._module, "_reload": self._reload}


def module_source(part: Exportable, folder: Path, precision: str = "fp32") -> ModuleSource:
    """A part and its verified ONNX file of this precision, in the form that runners load."""
    return ModuleSource(
        name=part.name,
        signature=Signature.of(part.inputs, part.outputs),
        torch_module=ModuleMaker(part),
        onnx_path=folder / f"{part.name}.onnx",
        precision=precision,
    )


@contextmanager
def open_lanes(
    settings: LaneSettings, sources: Sources, pipeline: Callable[[Sequence[Runner]], Pipeline]
) -> Iterator[dict[str, Lane]]:
    """Loads every lane's runners; leaving frees them.

    Args:
        settings: lanes, device, threads.
        sources: precision → the modules of the stage.
        pipeline: makes the stage's pipeline of the loaded runners, which come in the order of the modules.

    Returns:
        The string form of each lane's key → the lane.

    Raises:
        RunnerError: a backend cannot be had on the device.
    """
    from runners.pytorch import intra_op_threads

    device = Device.parse(settings.device)
    with ExitStack() as stack:
        # Pre- and postprocessing in one thread, for every backend: a second one would still spin when ONNX Runtime's
        # workers begin, and on two cores that slowed a small UNet by a third.
        stack.enter_context(intra_op_threads(1))
        lanes = {}
        for key in settings.lanes:
            started = time.perf_counter()
            own = settings.of(key)
            runners = [
                stack.enter_context(make_runner(key.backend, source, device, own.threads, own.options))
                for source in sources[key.precision]
            ]
            load_ms = 1e3 * (time.perf_counter() - started)
            told = {r.source.name: attested(r.attest(), r.source.precision, own.threads) for r in runners}
            named = {runner.source.name: runner for runner in runners}
            made = pipeline.for_lane(own) if isinstance(pipeline, LanePipeline) else pipeline
            lanes[str(key)] = Lane(made(runners), told, load_ms, runners=named)
        yield lanes
