"""One lane a backend: its runners loaded, its pipeline ready, and what its loading and first call took."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmark.results import Attested
from benchmark.stages.base import Outcome, Pipeline, Unit
from exporters.base import Exportable
from runners.base import Attestation, ModuleSource, Runner, Signature
from runners.device import Device
from runners.registry import make_runner


@dataclass(frozen=True)
class LaneSettings:
    """What every lane of a group has in common."""

    backends: tuple[str, ...]
    device: str
    precision: str
    threads: int


@dataclass
class Lane:
    """A backend's pipeline and the facts about its start."""

    pipeline: Pipeline
    attestation: Mapping[str, Attested]
    load_ms: float
    first_call_ms: float | None = None
    _user_s: float = 0.0
    _kernel_s: float = 0.0

    @property
    def kernel_share(self) -> float | None:
        """The share of this lane's CPU time that went to the kernel; None before there was any."""
        total = self._user_s + self._kernel_s
        return self._kernel_s / total if total else None

    def process(self, unit: Unit) -> Outcome:
        """Runs a unit, and keeps what the very first one took."""
        started, cpu = time.perf_counter(), os.times()
        outcome = self.pipeline.process(unit)
        after = os.times()
        self._user_s += after.user - cpu.user
        self._kernel_s += after.system - cpu.system
        if self.first_call_ms is None:
            self.first_call_ms = 1e3 * (time.perf_counter() - started)
        return outcome


def module_source(part: Exportable, folder: Path) -> ModuleSource:
    """A part and its verified ONNX file, in the form that runners load."""
    return ModuleSource(
        name=part.name,
        signature=Signature.of(part.inputs, part.outputs),
        # A copy, because moving a module to another device moves it for everybody.
        torch_module=lambda: copy.deepcopy(part.module),
        onnx_path=folder / f"{part.name}.onnx",
    )


@contextmanager
def open_lanes(
    settings: LaneSettings, sources: Sequence[ModuleSource], pipeline: Callable[[Sequence[Runner]], Pipeline]
) -> Iterator[dict[str, Lane]]:
    """Loads every backend's runners; leaving frees them.

    Args:
        settings: backends, device, precision, threads.
        sources: the modules of the stage.
        pipeline: makes the stage's pipeline of the loaded runners, which come in the order of `sources`.

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
        for backend in settings.backends:
            started = time.perf_counter()
            runners = [
                stack.enter_context(make_runner(backend, source, device, settings.precision, settings.threads))
                for source in sources
            ]
            load_ms = 1e3 * (time.perf_counter() - started)
            attested = {runner.source.name: _attested(runner.attest()) for runner in runners}
            lanes[backend] = Lane(pipeline(runners), attested, load_ms)
        yield lanes


def _attested(attestation: Attestation) -> Attested:
    nodes = attestation.nodes_per_provider
    return Attested(
        backend=attestation.backend,
        version=attestation.version,
        device=attestation.device,
        precision=attestation.precision,
        providers=list(attestation.providers),
        nodes_per_provider=dict(nodes) if nodes is not None else None,
        threads=attestation.threads,
        notes=list(attestation.notes),
    )
