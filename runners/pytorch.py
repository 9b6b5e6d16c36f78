"""PyTorch eager: the reference backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from runners.base import (
    NO_GRAPH_CAPTURE,
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
    Value,
    to_numpy,
)
from runners.clock import EventClock, torch_events
from runners.device import Device, cuda_absence, cuda_driver
from runners.effective import effective_precision, products_note
from runners.host_copies import to_device
from runners.registry import PRECISIONS, precisions_on
from runners.torch_numerics import (
    ProductWatch,
    channels_last,
    channels_last_note,
    numerics,
    product_precision,
    put_channels_last,
)


@dataclass(frozen=True)
class TorchTensor(DeviceTensor):
    """A tensor where PyTorch computed it."""

    tensor: torch.Tensor

    @property
    def shape(self) -> tuple[int, ...]:  # noqa: D102
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> str:  # noqa: D102
        return str(self.tensor.dtype).removeprefix("torch.")

    def numpy(self) -> Array:  # noqa: D102
        return self.tensor.cpu().numpy()

    def to_torch(self) -> torch.Tensor:  # noqa: D102
        return self.tensor


@contextmanager
def intra_op_threads(count: int | None) -> Iterator[None]:
    """Gives PyTorch so many threads for the block; None leaves it as it is.

    PyTorch's threads belong to the process, and pre- and postprocessing use PyTorch too, with threads of their own.
    """
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class PyTorchRunner(Runner):
    """The live module under `torch.inference_mode`, TF32 off unless it is asked for.

    `bf16` and, on a GPU, `fp16` are PyTorch's autocast: products in it, what loses too much by it in fp32. The outputs
    have the signature's types in any case. Options: `channels_last` moves convolutions' weights and their inputs;
    `tf32` lets a GPU round the inputs of fp32 products, and means nothing on the CPU.
    """

    backend = "pytorch"
    precisions = PRECISIONS[backend]
    option_names = frozenset({"channels_last", "tf32"})
    _module: nn.Module | None = None
    _threads_seen: int | None = None
    _watch: ProductWatch | None = None
    _provider = "eager"

    def __init__(
        self, source: ModuleSource, device: Device, threads: int | None = None, options: Options = NO_OPTIONS
    ) -> None:
        super().__init__(source, device, threads, options)
        for name in ("channels_last", "tf32"):
            if not isinstance(options.get(name, False), bool):
                raise RunnerError(f"backend {self.backend}: option {name} is {options[name]!r}; give true or false")
        self._channels_last: bool = options.get("channels_last", False)
        self._tf32: bool = options.get("tf32", False)

    @classmethod
    def inapplicable(cls, device: Device, precision: str = "fp32", options: Options = NO_OPTIONS) -> str | None:
        """Autocast in fp16 on the CPU: processors have next to no fp16 arithmetic, and PyTorch's kernels are few."""
        if precision in cls.precisions and precision not in precisions_on(cls.backend, device.kind):
            return (
                f"precision {precision} of {cls.backend} is not applicable, because the device is a CPU: its autocast "
                f"in {precision} is for GPUs; use bf16 or fp32, or device cuda"
            )
        return None

    def _load(self) -> None:
        if self.source.torch_module is None:
            raise RunnerError(f"{self.source.name} has no PyTorch module; give its checkpoint")
        self._require_device()
        # TF32 keeps 10 bits of the mantissa and breaks parity with the other side; fp32 means fp32.
        on_gpu = self.device.kind == "cuda"
        allowed = self._tf32 and on_gpu
        torch.set_float32_matmul_precision("high" if allowed else "highest")
        torch.backends.cudnn.allow_tf32 = allowed
        if on_gpu:
            self.event_clock = EventClock(torch_events(torch.cuda.current_stream(self.device.index)))
        module = self.source.torch_module().to(self._torch_device()).eval()
        self._module = put_channels_last(module) if self._channels_last else module
        self._watch = self._make_watch(self._module)

    def _make_watch(self, module: nn.Module) -> ProductWatch | None:
        return ProductWatch(module)

    def _require_device(self) -> None:
        if self.device.kind != "cuda":
            return
        reason = cuda_absence(self.device.index)
        if reason is None and not torch.cuda.is_available():
            reason = f"this PyTorch ({torch.__version__}) cannot use the GPU; install a CUDA build that fits the driver"
        if reason is not None:
            raise DeviceUnavailableError(
                f"device {self.device} for {self.backend}: {reason}; use device cpu or mend that"
            )

    def _torch_device(self) -> torch.device:
        return torch.device("cpu") if self.device.kind == "cpu" else torch.device("cuda", self.device.index)

    def _free(self) -> None:
        self._module = self._watch = self.event_clock = None
        self._release_memory()

    def _release_memory(self) -> None:
        if self.device.kind == "cuda":
            torch.cuda.empty_cache()

    def _place(self, inputs: Mapping[str, Value]) -> dict[str, DeviceTensor]:
        self._loaded()
        device = self._torch_device()
        tensors = {name: value.to_torch() for name, value in inputs.items() if isinstance(value, DeviceTensor)}
        there = {name: tensor for name, tensor in tensors.items() if tensor.device == device}
        hosts = {name: to_numpy(value) for name, value in inputs.items() if name not in there}
        there.update(to_device(hosts, device, self.device.kind == "cuda", self._wait))
        placed: dict[str, DeviceTensor] = {name: TorchTensor(self._laid_out(there[name])) for name in inputs}
        self._wait()
        return placed

    def _run(self, inputs: Mapping[str, DeviceTensor]) -> Outputs:
        module = self._loaded()
        with intra_op_threads(self.threads), torch.inference_mode():
            self._threads_seen = torch.get_num_threads()
            tensors = {name: value.to_torch() for name, value in inputs.items()}
            with numerics(self.source.precision, self.device.kind):
                result = self._call(module, tensors)
            values = (result,) if isinstance(result, torch.Tensor) else result
            specs = self.source.signature.outputs
            outputs: Outputs = {
                spec.name: TorchTensor(value.to(getattr(torch, spec.dtype)))
                for spec, value in zip(specs, values, strict=True)
            }
        if self.event_clock is not None:
            self.event_clock.stop()
        self._wait()
        if self._watch is not None:
            self._watch.leave()
        return outputs

    def _call(self, module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor | tuple[torch.Tensor, ...]:
        result: torch.Tensor | tuple[torch.Tensor, ...] = module(**tensors)
        return result

    def _wait(self) -> None:
        if self.device.kind == "cuda":
            torch.cuda.synchronize(self.device.index)

    def _loaded(self) -> nn.Module:
        if self._module is None:
            raise RunnerError(f"{self.source.name}: enter the runner (`with runner:`) before running it")
        return self._module

    def _laid_out(self, tensor: torch.Tensor) -> torch.Tensor:
        return channels_last(tensor) if self._channels_last else tensor

    def attest(self) -> Attestation:
        """Reads the device off the module's own parameters, and threads and precision off its runs.

        The precision is that of the products in the first run; before it, that of a product of 1 × 1 of the parameters'
        type in the same context.
        """
        parameter = next(self._loaded().parameters())
        threads = self._threads_seen
        if threads is None:
            with intra_op_threads(self.threads):
                threads = torch.get_num_threads()
        on_cpu = parameter.device.type == "cpu"
        products = self._products()
        with numerics(self.source.precision, self.device.kind):
            precision = effective_precision(products) or product_precision(parameter)
        return Attestation(
            backend=self.backend,
            version=torch.__version__,
            device=parameter.device.type if on_cpu else str(self.device),
            precision=precision,
            providers=(f"{self._provider}-{parameter.device.type}",),
            threads=threads,
            execution=self._execution(),
            tf32=None if on_cpu else tf32_allowed(),
            tf32_asked=self._tf32 and not on_cpu,
            graph_capture=NO_GRAPH_CAPTURE if on_cpu else self._graph_capture(),
            driver=None if on_cpu else cuda_driver(),
            clocks=self.clocks(),
            notes=tuple(self._notes(products)),
        )

    def _products(self) -> Mapping[str, int]:
        """Precision → products that ran in it; empty before the first run."""
        return {} if self._watch is None else self._watch.seen

    def _execution(self) -> str:
        return "eager"

    def _graph_capture(self) -> str:
        return "off"

    def _notes(self, products: Mapping[str, int]) -> Iterator[str]:
        mixture = products_note(products)
        if mixture is not None:
            yield mixture
        if self._channels_last:
            yield channels_last_note(self._loaded())
        if self._tf32 and self.device.kind == "cpu":
            yield "option tf32 is for a GPU and means nothing on the CPU"


def tf32_allowed() -> bool:
    """Whether PyTorch may round the inputs of fp32 products on a GPU to TF32, in matrix products or in cuDNN."""
    return torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
