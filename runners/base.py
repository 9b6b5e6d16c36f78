"""What a backend must be able to do: hold one module and run it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from runners.attestation import NO_GRAPH_CAPTURE as NO_GRAPH_CAPTURE  # noqa: PLC0414 - given on to the backends
from runners.attestation import Attestation as Attestation  # noqa: PLC0414
from runners.clock import Clocks, EventClock
from runners.device import Device
from runners.out_of_memory import advice, is_out_of_memory

if TYPE_CHECKING:
    import torch
    from torch import nn

Array = NDArray[Any]


class RunnerError(Exception):
    """A backend cannot do what was asked; the message says why and what to do."""


class DeviceUnavailableError(RunnerError):
    """The device asked for is not there. There is no quiet fallback to another one."""


class NotApplicableError(DeviceUnavailableError):
    """A precision or an option's value makes no sense on this device, on any machine; another device has it."""


class OutOfDeviceMemoryError(RunnerError):
    """The device's memory does not hold what a call needs. Fewer prompts or windows at once may fit."""


class SignatureError(RunnerError):
    """An input's name, shape or type differs from the module's signature."""


class TensorSpec(Protocol):
    """One named input or output. A dimension is a size, or the name of a dynamic one."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def dtype(self) -> str: ...  # noqa: D102
    @property
    def dims(self) -> tuple[int | str, ...]: ...  # noqa: D102


class DeviceTensor(ABC):
    """An output that stays where the backend computed it until its numbers are asked for."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The sizes along each axis."""

    @property
    @abstractmethod
    def dtype(self) -> str:
        """NumPy's name of the element type."""

    @abstractmethod
    def numpy(self) -> Array:
        """The values in host memory, copied only if they are elsewhere."""

    def to_torch(self) -> torch.Tensor:
        """The values as a PyTorch tensor, in the same memory where the backend can share it.

        What is written into it may be written into the backend's own memory.
        """
        import torch

        return torch.from_numpy(self.numpy())


Value = Array | DeviceTensor
_Result = TypeVar("_Result")
Outputs = dict[str, DeviceTensor]
Shapes = dict[str, tuple[int, ...]]
OnCall = Callable[[Shapes, float], None]
Options = Mapping[str, Any]
NO_OPTIONS: Options = {}


@dataclass(frozen=True)
class Signature:
    """The named inputs and outputs of a module, in order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @classmethod
    def of(cls, inputs: Iterable[TensorSpec], outputs: Iterable[TensorSpec]) -> Signature:
        """A signature from any sequences of tensor specifications."""
        return cls(tuple(inputs), tuple(outputs))

    def check(self, values: Mapping[str, Value]) -> None:
        """Holds the inputs against the signature; a dynamic dimension must have one size wherever its name stands.

        Raises:
            SignatureError: a name, shape or type differs.
        """
        expected = {spec.name for spec in self.inputs}
        if set(values) != expected:
            raise SignatureError(f"inputs are {sorted(values)}, the module takes {sorted(expected)}")
        sizes: dict[str, int] = {}
        for spec in self.inputs:
            value = values[spec.name]
            if str(value.dtype) != spec.dtype:
                raise SignatureError(f"input {spec.name} is {value.dtype}, the module takes {spec.dtype}")
            if not _fits(tuple(value.shape), spec.dims, sizes):
                raise SignatureError(f"input {spec.name} has shape {tuple(value.shape)}, the module takes {spec.dims}")


def _fits(shape: tuple[int, ...], dims: tuple[int | str, ...], sizes: dict[str, int]) -> bool:
    if len(shape) != len(dims):
        return False
    return all(
        size == (dim if isinstance(dim, int) else sizes.setdefault(dim, size))
        for size, dim in zip(shape, dims, strict=True)
    )


@dataclass(frozen=True)
class ModuleSource:
    """One module in the forms that backends load: the live PyTorch module, its ONNX file, or both.

    Attributes:
        name: `encoder`, `decoder`, `unet`.
        signature: its inputs and outputs.
        torch_module: makes the module.
        onnx_path: its export.
        precision: what it should be. Whether it is, the runner that loaded it attests.
    """

    name: str
    signature: Signature
    torch_module: Callable[[], nn.Module] | None = None
    onnx_path: Path | None = None
    precision: str = "fp32"


class Runner(AbstractContextManager["Runner"], ABC):
    """One module, loaded by one backend on one device.

    Entering loads the module; leaving frees it. A runner is used by one thread.

    Args:
        source: the module in the forms a backend may load.
        device: where it runs; an absent device is an error, never a fallback.
        threads: CPU threads inside an operator; None leaves the backend's default.
        options: what else this backend knows, by name.

    Attributes:
        device_ms: spent in all calls so far with inputs and outputs on the device: the device-resident clock.
        calls: how many that were.
        event_clock: the same calls by device events, on a device that has them; `_load` makes it, and `_run` stops it
            before it waits for the device.
        on_call: told the input shapes and the milliseconds of each call on that clock.
        set_ups: how often the backend prepared itself within a call so far, as by compiling for new shapes. What such a
            call took is no warm time.

    Raises:
        RunnerError: the backend does not run the module's precision, or does not know an option.
    """

    backend: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    option_names: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self, source: ModuleSource, device: Device, threads: int | None = None, options: Options = NO_OPTIONS
    ) -> None:
        if source.precision not in self.precisions:
            raise RunnerError(
                f"{source.name}: precision {source.precision} is not supported; use {', '.join(self.precisions)}"
            )
        unknown = sorted(set(options) - self.option_names)
        if unknown:
            known = ", ".join(sorted(self.option_names)) or "none"
            raise RunnerError(f"backend {self.backend}: does not know option {', '.join(unknown)}; it knows {known}")
        self.source = source
        self.device = device
        self.threads = threads
        self.options = options
        self.device_ms = 0.0
        self.calls = 0
        self.event_clock: EventClock | None = None
        self.on_call: OnCall | None = None
        self.set_ups = 0

    @classmethod
    def absence(cls, device: Device) -> str | None:
        """Why this backend cannot run on a device here, and what to do, as far as it can be told before loading.

        Args:
            device: where it should run.
        """
        return None

    @classmethod
    def inapplicable(cls, device: Device, precision: str = "fp32", options: Options = NO_OPTIONS) -> str | None:
        """Why this precision or an option's value makes no sense on a device, and what to do; None if it does.

        Other than `absence`, it holds on every machine. Asked before anything is loaded.

        Args:
            device: where it should run.
            precision: of the module.
            options: of the backend.
        """
        return None

    def __enter__(self) -> Runner:
        reason = self.inapplicable(self.device, self.source.precision, self.options)
        if reason is not None:
            raise NotApplicableError(reason)
        self._minding_memory({}, self._load)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._free()

    def run(self, inputs: Mapping[str, Value]) -> Outputs:
        """Runs the module once and waits for the device.

        The inputs are on the device before the device-resident clock starts, and the outputs are still there when it
        stops; every backend waits for its device at both ends.

        Args:
            inputs: one array per input of the signature. A `DeviceTensor` of the same backend is used where it is;
                any other is copied through host memory.

        Raises:
            SignatureError: a name, shape or type differs from the signature.
            OutOfDeviceMemoryError: the call needs more memory than the device has left.
        """
        self.source.signature.check(inputs)
        shapes: Shapes = {name: tuple(value.shape) for name, value in inputs.items()}
        return self._minding_memory(shapes, lambda: self._timed(shapes, self._place(inputs)))

    def _timed(self, shapes: Shapes, placed: Mapping[str, DeviceTensor]) -> Outputs:
        clock = self.event_clock
        started = time.perf_counter()
        if clock is not None:
            clock.start()
        outputs = self._run(placed)
        milliseconds = 1e3 * (time.perf_counter() - started)
        if clock is not None:
            clock.collect()
        self.device_ms += milliseconds
        self.calls += 1
        if self.on_call is not None:
            self.on_call(shapes, milliseconds)
        return outputs

    def _minding_memory(self, shapes: Shapes, work: Callable[[], _Result]) -> _Result:
        """Does the work; memory that ran out meanwhile becomes an error of its own, which a caller may act on."""
        try:
            return work()
        except OutOfDeviceMemoryError:
            raise
        except Exception as error:  # the libraries raise classes of their own that share no base but Exception
            if not is_out_of_memory(error):
                raise
            told = advice(self.source.name, str(self.device), shapes, error)
        # Raised out here, because an error keeps the frames of the one it was raised in, and those hold the tensors.
        self._release_memory()
        raise OutOfDeviceMemoryError(told)

    def _release_memory(self) -> None:
        """Gives back what the library keeps for later calls, after memory ran out."""

    def clocks(self) -> Clocks | None:
        """The calls so far on both clocks, for `attest`; None where there are no device events."""
        return None if self.event_clock is None else Clocks(self.calls, self.device_ms, self.event_clock.milliseconds)

    @abstractmethod
    def _place(self, inputs: Mapping[str, Value]) -> dict[str, DeviceTensor]:
        """The inputs on the device, when their copies are done. One that is there already stays as it is."""

    @abstractmethod
    def _load(self) -> None: ...

    @abstractmethod
    def _free(self) -> None: ...

    @abstractmethod
    def _run(self, inputs: Mapping[str, DeviceTensor]) -> Outputs: ...

    @abstractmethod
    def attest(self) -> Attestation:
        """What really runs: providers, nodes per provider, precision, threads.

        Asked of the backend or of the file that it loaded, not of our settings.
        """


def to_numpy(value: Value) -> Array:
    """The value in host memory."""
    return value.numpy() if isinstance(value, DeviceTensor) else np.asarray(value)
