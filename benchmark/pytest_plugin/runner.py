"""What the fixture `sambench_runner` is: it loads a model, measures it, and keeps what was measured."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmark.errors import InputError
from benchmark.measure.attest import attested, mismatch
from benchmark.measure.environment import available_cores
from benchmark.measure.memory import resident_mib
from benchmark.measure.statistics import summarise
from benchmark.measured import Attested
from benchmark.pytest_plugin.measured import Measured
from benchmark.pytest_plugin.schema import Measurement
from benchmark.pytest_plugin.sources import artifact_source, module_source_of, onnx_source
from benchmark.pytest_plugin.timing import Times, measure
from exporters.manifest import ExportError
from runners.base import Array, ModuleSource, Runner, RunnerError
from runners.device import Device
from runners.registry import BACKENDS, make_runner

if TYPE_CHECKING:
    from torch import nn

    from benchmark.pytest_plugin.session import SambenchSession

BUDGET_S = 10.0


class SambenchRunner:
    """The fixture's value: called with a model it measures it; `pipeline` measures several models in one call.

    Args:
        item: the test.
        session: keeps the measurements.
        benchmark: pytest-benchmark's fixture, where that is installed.
    """

    def __init__(self, item: pytest.Item, session: SambenchSession, benchmark: Any) -> None:
        self._item = item
        self._session = session
        self._benchmark = benchmark

    def __call__(
        self,
        backend: str,
        *,
        inputs: Mapping[str, Any],
        onnx: str | os.PathLike[str] | None = None,
        module: nn.Module | None = None,
        artifact: str | os.PathLike[str] | None = None,
        part: str = "",
        source: ModuleSource | None = None,
        device: str = "cpu",
        precision: str = "fp32",
        threads: int | None = None,
        options: Mapping[str, Any] | None = None,
        budget_s: float = BUDGET_S,
        name: str = "",
    ) -> Measured:
        """Measures one model.

        Args:
            backend: `pytorch`, `onnxruntime`, …
            inputs: name → array, as the model's inputs are called.
            onnx: an ONNX file.
            module: a PyTorch module whose forward takes the inputs by name.
            artifact: a folder that `sambench export` wrote.
            part: the module of the artifact: `encoder`, `decoder`, `unet`.
            source: a module as sambench's runners load it, in place of all these.
            device: `cpu`, `cuda`, `cuda:1`; where it does not run there the test fails.
            precision: what the model should have; where it has another the test fails.
            threads: CPU threads inside an operator; None takes the cores that this process may use.
            options: what else the backend knows.
            budget_s: seconds for warming up and timing.
            name: tells the measurements of a test apart that makes several.
        """
        arrays = {key: np.asarray(value) for key, value in inputs.items()}
        given = [onnx is not None, module is not None, artifact is not None, source is not None]
        if sum(given) != 1:
            pytest.fail("sambench_runner: give the model as one of onnx=, module=, artifact= or source=", pytrace=False)
        with _plain_mistakes():
            if onnx is not None:
                source = onnx_source(Path(onnx), precision)
            elif module is not None:
                source = module_source_of(module, arrays, precision)
            elif artifact is not None:
                source = artifact_source(Path(artifact), part)
        assert source is not None  # noqa: S101 - one of the four was given
        return self.pipeline(
            backend,
            [source],
            lambda runners: partial(runners[0].run, arrays),
            inputs={key: array.shape for key, array in arrays.items()},
            device=device,
            precision=precision,
            threads=threads,
            options=options,
            budget_s=budget_s,
            name=name,
        )

    def pipeline(
        self,
        backend: str,
        sources: Sequence[ModuleSource],
        make: Callable[[Sequence[Runner]], Callable[[], Any]],
        *,
        inputs: Mapping[str, Sequence[int]],
        device: str = "cpu",
        precision: str = "fp32",
        threads: int | None = None,
        options: Mapping[str, Any] | None = None,
        budget_s: float = BUDGET_S,
        name: str = "",
    ) -> Measured:
        """Measures a call that uses several models, as an encoder and a decoder.

        Args:
            backend: of all of them.
            sources: the models.
            make: makes the call of their loaded runners, which come in the order of the sources.
            inputs: name → shape of what goes in; a measurement of other shapes is not compared with this one.
            device: see `__call__`, as all that follows.
            precision: as in `__call__`.
            threads: as in `__call__`.
            options: as in `__call__`.
            budget_s: as in `__call__`.
            name: as in `__call__`.
        """
        if backend not in BACKENDS:
            pytest.fail(f"sambench_runner: no backend {backend!r}; choose from {', '.join(BACKENDS)}", pytrace=False)
        with _plain_mistakes():
            where = Device.parse(device)
        threads = threads or available_cores()
        before = resident_mib()
        with _plain_mistakes(), ExitStack() as stack:
            runners = [
                stack.enter_context(make_runner(backend, one, where, threads, dict(options or {}))) for one in sources
            ]
            times = measure(make(runners), lambda: sum(one.device_ms for one in runners), budget_s, self._fresh())
            parts = {one.source.name: attested(one.attest(), one.source.precision, threads) for one in runners}
            wrong = mismatch(device, precision, parts)
            if wrong is not None:
                pytest.fail(f"sambench: {wrong}", pytrace=False)
            measured = Measured(times.result, outputs_of(times.result), parts)
            added = resident_mib() - before
        latency = summarise(times.host_ms)
        if latency is None:
            self._session.not_measured(self._named(name), "pytest-benchmark is switched off")
            return measured
        measured.measurement = Measurement(
            test=self._named(name),
            group=group_of(self._item, backend, name),
            backend=backend,
            device=device,
            precision=precision,
            threads=threads,
            inputs={key: list(shape) for key, shape in inputs.items()},
            latency_ms=latency,
            device_latency_ms=summarise(times.device_ms),
            first_call_ms=times.first_call_ms,
            warmup=times.warmup,
            memory_mib=added if added > 0 else None,
            memory_reason=None if added > 0 else "the process gave back more than the model took",
            attestation=parts,
        )
        self._session.keep(measured.measurement)
        self._tell_benchmark(measured, times)
        return measured

    def _named(self, name: str) -> str:
        return f"{self._item.nodeid}::{name}" if name else self._item.nodeid

    def _fresh(self) -> Any:
        """pytest-benchmark's fixture the first time: it can be used once, and further measurements do without."""
        return None if self._benchmark is None or self._benchmark._mode else self._benchmark

    def _tell_benchmark(self, measured: Measured, times: Times) -> None:
        """Our metrics beside pytest-benchmark's own; what the test records later joins them."""
        if self._benchmark is None or self._benchmark.extra_info:
            return
        found = measured.measurement
        assert found is not None  # noqa: S101 - it was just made
        measured.told = self._benchmark.extra_info
        self._benchmark.extra_info.update(
            found.model_dump(include={"backend", "device", "precision", "threads", "inputs", "first_call_ms"}),
            p50_ms=found.latency_ms.p50,
            p90_ms=found.latency_ms.p90,
            percentiles_reason=found.latency_ms.reason,
            device_p50_ms=found.device_latency_ms.p50 if found.device_latency_ms else None,
            memory_mib=found.memory_mib,
            steady=times.warmup.steady,
            attestation={key: told_of(what) for key, what in found.attestation.items()},
        )


@contextmanager
def _plain_mistakes() -> Iterator[None]:
    """What the user can mend fails the test with its sentence, not with a traceback through this package."""
    try:
        yield
    except (InputError, RunnerError, ExportError, ValueError) as error:
        pytest.fail(f"sambench_runner: {error}", pytrace=False)


def told_of(what: Attested) -> dict[str, Any]:
    """What of an attestation pytest-benchmark's file keeps."""
    return what.model_dump(include={"version", "providers", "nodes_per_provider", "precision", "threads", "driver"})


def outputs_of(result: Any) -> dict[str, Array]:
    """A runner's outputs in host memory; empty where a pipeline answered with something else."""
    if not isinstance(result, Mapping):
        return {}
    return {key: value.numpy() if hasattr(value, "numpy") else np.asarray(value) for key, value in result.items()}


def group_of(item: pytest.Item, backend: str, name: str) -> str:
    """The test without its backend: its parameters but for those that are the backend's name."""
    place = item.nodeid.partition("[")[0]
    params: Mapping[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    others = [f"{key}={value!r}" for key, value in sorted(params.items()) if value != backend]
    return "::".join([place, *others, *([name] if name else [])])
