"""A backend with a programmable delay, noise, drift and failure: the measuring is tested without any model."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal, NoReturn

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runners.base import (
    NO_OPTIONS,
    Array,
    Attestation,
    DeviceTensor,
    DeviceUnavailableError,
    ModuleSource,
    Options,
    Outputs,
    Runner,
    RunnerError,
    Signature,
    Value,
    to_numpy,
)
from runners.device import Device
from runners.registry import PRECISIONS

VERSION = "1"
"""Of how the dummy takes its time."""

HEADROOM_MIB = 64
"""What `fails: memory` may still take before its limit stops it."""

_MIB = 1 << 20


class Program(BaseModel):
    """What the dummy does, one field an option."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    delay_ms: float = Field(default=1.0, ge=0, description="median of what a call takes without drift")
    kind: Literal["sleep", "spin"] = Field(default="sleep", description="an idle core meanwhile, or one that computes")
    noise: float = Field(default=0.0, ge=0, description="sigma of the lognormal factor on each call, as 0.05")
    seed: int | None = Field(
        default=None,
        ge=0,
        description="of the noise. Runners of one seed and module make the same noise, which pairing would cancel; "
        "without a seed each has its own",
    )
    drift: float = Field(default=0.0, gt=-1, description="0.3: calls take up to 30 % longer, see `drift_s`")
    drift_s: float = Field(
        default=30.0, gt=0, description="seconds from `epoch` to the slowest; after as many again it is back"
    )
    epoch: float = Field(default=0.0, description="when drift began, as `time.monotonic()` told it")
    fails: Literal["raise", "kill", "hang", "memory", "nan"] | None = Field(default=None, description="how it fails")
    fails_after: int = Field(default=0, ge=0, description="calls that succeed before")
    computes: bool = Field(default=False, description="answers with the PyTorch module's outputs, not with zeros")

    def call_ms(self, draw: float, now: float) -> float:
        """What a call takes in milliseconds.

        Drift is a squared sine: none at `epoch`, all of it `drift_s` later, none again as much later, and so on; it has
        no corner that an unlucky turn could fall on. `time.monotonic` is system-wide (Python's documentation says so
        since 3.5), so that workers given one `epoch` drift alike, as processes on one machine do; it is not where they
        live in containers with time namespaces of their own.

        Args:
            draw: from a standard normal distribution.
            now: `time.monotonic()` at the call's start.
        """
        ramp = math.sin(math.pi * (now - self.epoch) / (2 * self.drift_s)) ** 2
        return self.delay_ms * math.exp(self.noise * draw) * (1 + self.drift * ramp)


def program(options: Options) -> Program:
    """The program that the options write.

    Raises:
        RunnerError: an option has a wrong type or is out of its range.
    """
    try:
        return Program(**options)
    except ValidationError as error:
        first = error.errors()[0]
        name, given = first["loc"][0], first["input"]
        raise RunnerError(f"backend dummy: option {name} is {given!r}: {first['msg']}") from None


@dataclass(frozen=True)
class HostTensor(DeviceTensor):
    """An array in host memory."""

    array: Array

    @property
    def shape(self) -> tuple[int, ...]:  # noqa: D102
        return self.array.shape

    @property
    def dtype(self) -> str:  # noqa: D102
        return str(self.array.dtype)

    def numpy(self) -> Array:  # noqa: D102
        return self.array


def output_shapes(signature: Signature, inputs: Mapping[str, DeviceTensor]) -> dict[str, tuple[int, ...]]:
    """The shapes that the outputs have for these inputs.

    A dynamic dimension has the size it has in the inputs. SAM's decoder makes masks of a size that is not a shape but
    the two values of its input `orig_im_size`: two dimensions that no input has take those.

    Raises:
        RunnerError: a dimension of an output is told by nothing.
    """
    sizes: dict[str, int] = {}
    for spec in signature.inputs:
        sizes.update(
            {dim: size for dim, size in zip(spec.dims, inputs[spec.name].shape, strict=True) if isinstance(dim, str)}
        )
    named = dict.fromkeys(dim for spec in signature.outputs for dim in spec.dims if isinstance(dim, str))
    unknown = [dim for dim in named if dim not in sizes]
    if len(unknown) == 2 and "orig_im_size" in inputs:
        sizes.update(zip(unknown, map(int, inputs["orig_im_size"].numpy()), strict=True))
    elif unknown:
        raise RunnerError(f"backend dummy: no input tells the output's size {', '.join(unknown)}; set option computes")
    return {
        spec.name: tuple(dim if isinstance(dim, int) else sizes[dim] for dim in spec.dims) for spec in signature.outputs
    }


class DummyRunner(Runner):
    """Takes the time it is told to, and answers with zeros or with what the PyTorch module computes.

    A call that computes takes the module's own time if that is longer than the programmed one.
    """

    backend = "dummy"
    precisions = PRECISIONS[backend]
    option_names = frozenset(Program.model_fields)

    def __init__(
        self, source: ModuleSource, device: Device, threads: int | None = None, options: Options = NO_OPTIONS
    ) -> None:
        super().__init__(source, device, threads, options)
        self.program = program(options)
        # Encoder and decoder of one seed must not share their noise.
        seed = None if self.program.seed is None else (self.program.seed, zlib.crc32(source.name.encode()))
        self._rng = np.random.default_rng(seed)
        self._calls = 0
        self._loaded = False
        self._module: Runner | None = None
        self._stack = ExitStack()

    def _load(self) -> None:
        if self.device.kind != "cpu":
            raise DeviceUnavailableError(f"device {self.device} for dummy: it has only a CPU; use device cpu")
        if self.program.computes:
            from runners.pytorch import PyTorchRunner

            self._module = self._stack.enter_context(PyTorchRunner(self.source, self.device, self.threads))
        self._loaded = True

    def _free(self) -> None:
        self._stack.close()
        self._module, self._loaded = None, False

    def _place(self, inputs: Mapping[str, Value]) -> dict[str, DeviceTensor]:
        self._require_loaded()
        if self._module is not None:
            return self._module._place(inputs)
        return {
            name: value if isinstance(value, HostTensor) else HostTensor(to_numpy(value))
            for name, value in inputs.items()
        }

    def _run(self, inputs: Mapping[str, DeviceTensor]) -> Outputs:
        started = time.perf_counter()
        milliseconds = self.program.call_ms(self._rng.standard_normal(), time.monotonic())
        self._calls += 1
        failing = self.program.fails if self._calls > self.program.fails_after else None
        if failing is not None and failing != "nan":
            self._fail(failing)
        outputs = self._zeros(inputs) if self._module is None else self._module.run(inputs)
        if failing == "nan":
            outputs = {name: HostTensor(np.full(value.shape, np.nan, np.float32)) for name, value in outputs.items()}
        _pass(started + milliseconds / 1e3, self.program.kind)
        return outputs

    def _zeros(self, inputs: Mapping[str, DeviceTensor]) -> Outputs:
        shapes = output_shapes(self.source.signature, inputs)
        return {
            spec.name: HostTensor(np.zeros(shapes[spec.name], spec.dtype)) for spec in self.source.signature.outputs
        }

    def _fail(self, how: str) -> NoReturn:
        name = self.source.name
        if how == "kill":
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))  # Windows knows the second alone
        if how == "memory":
            exhaust_memory(name)
        while how in ("hang", "kill"):  # a signal may arrive a moment later
            time.sleep(1)
        raise RunnerError(f"{name}: the dummy fails at call {self._calls}, as its option fails tells it to")

    def _require_loaded(self) -> None:
        if not self._loaded:
            raise RunnerError(f"{self.source.name}: enter the runner (`with runner:`) before running it")

    def attest(self) -> Attestation:
        """It has no threads of its own and tells the number it was given; its notes hold what was programmed."""
        self._require_loaded()
        asked = ", ".join(f"{name}={value}" for name, value in self.program.model_dump(exclude_unset=True).items())
        return Attestation(
            backend=self.backend,
            version=VERSION,
            device=str(self.device),
            precision=self.source.precision,
            providers=("dummy-cpu",),
            threads=self.threads,
            notes=(f"no real backend; {asked or 'as it is by default'}",),
        )


def _pass(until: float, kind: str) -> None:
    """Lets time pass until `time.perf_counter()` is there.

    A spin ends at a time and not after an amount of work: that would have to be found anew in every worker, and the
    error made there would be a difference between workers that were meant to be alike.
    """
    if kind == "spin":
        square = np.ones((32, 32))  # too small for a library to share it among threads; microseconds each
        while time.perf_counter() < until:
            square @ square
        return
    while (left := until - time.perf_counter()) > 0:
        time.sleep(left)


def exhaust_memory(name: str) -> NoReturn:
    """Takes address space until there is no more, under a limit of its own, and gives all of it back.

    The limit keeps the machine's memory out of it. It holds for the whole process and for a moment. A system without
    such limits, or one that does not enforce them, gives the same error.

    Args:
        name: of the module, for the message.

    Raises:
        MemoryError: always.
    """
    if sys.platform == "linux":
        _fill_address_space()
    raise MemoryError(f"{name}: no memory left, as the dummy's option fails tells it to")


def _fill_address_space() -> bool:
    """Whether an allocation was refused, before far more than the limit was granted.

    Mapped memory is always new address space; what the C library hands out may be memory that it still holds.
    """
    import mmap
    import resource

    import psutil

    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = psutil.Process().memory_info().vms + HEADROOM_MIB * _MIB
    if before[0] != resource.RLIM_INFINITY:
        limit = min(limit, before[0])
    held: list[mmap.mmap] = []
    refused = False
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        while len(held) < 4 * HEADROOM_MIB:
            held.append(mmap.mmap(-1, _MIB))
    except (MemoryError, OSError):
        refused = True
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        for block in held:
            block.close()
    return refused
