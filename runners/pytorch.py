"""PyTorch eager: the reference backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from runners.base import (
    NO_GRAPH_CAPTURE,
    Array,
    Attestation,
    DeviceTensor,
    DeviceUnavailableError,
    Outputs,
    Runner,
    RunnerError,
    Value,
    to_numpy,
)
from runners.device import cuda_absence, cuda_driver
from runners.registry import PRECISIONS


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
    """The live module under `torch.inference_mode`, TF32 off as in every fp32 cell."""

    backend = "pytorch"
    precisions = PRECISIONS[backend]
    _module: nn.Module | None = None
    _threads_seen: int | None = None

    def _load(self) -> None:
        if self.source.torch_module is None:
            raise RunnerError(f"{self.source.name} has no PyTorch module; give its checkpoint")
        self._require_device()
        # TF32 keeps 10 bits of the mantissa and breaks parity with the other side; fp32 means fp32.
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        self._module = self.source.torch_module().to(self._torch_device()).eval()

    def _require_device(self) -> None:
        if self.device.kind != "cuda":
            return
        reason = cuda_absence(self.device.index)
        if reason is None and not torch.cuda.is_available():
            reason = f"this PyTorch ({torch.__version__}) cannot use the GPU; install a CUDA build that fits the driver"
        if reason is not None:
            raise DeviceUnavailableError(f"device {self.device} for pytorch: {reason}; use device cpu or mend that")

    def _torch_device(self) -> torch.device:
        return torch.device("cpu") if self.device.kind == "cpu" else torch.device("cuda", self.device.index)

    def _free(self) -> None:
        self._module = None
        if self.device.kind == "cuda":
            torch.cuda.empty_cache()

    def _place(self, inputs: Mapping[str, Value]) -> dict[str, DeviceTensor]:
        self._loaded()
        placed: dict[str, DeviceTensor] = {name: TorchTensor(self._tensor(value)) for name, value in inputs.items()}
        self._wait()
        return placed

    def _run(self, inputs: Mapping[str, DeviceTensor]) -> Outputs:
        module = self._loaded()
        with intra_op_threads(self.threads), torch.inference_mode():
            self._threads_seen = torch.get_num_threads()
            result = module(**{name: self._tensor(value) for name, value in inputs.items()})
        self._wait()
        values = (result,) if isinstance(result, torch.Tensor) else result
        names = (spec.name for spec in self.source.signature.outputs)
        return {name: TorchTensor(value) for name, value in zip(names, values, strict=True)}

    def _wait(self) -> None:
        if self.device.kind == "cuda":
            torch.cuda.synchronize(self.device.index)

    def _loaded(self) -> nn.Module:
        if self._module is None:
            raise RunnerError(f"{self.source.name}: enter the runner (`with runner:`) before running it")
        return self._module

    def _tensor(self, value: Value) -> torch.Tensor:
        if isinstance(value, TorchTensor):
            return value.tensor
        return torch.from_numpy(np.ascontiguousarray(to_numpy(value))).to(self._torch_device())

    def attest(self) -> Attestation:
        """Reads device and type off the module's own parameters, and the threads inside the latest run."""
        parameter = next(self._loaded().parameters())
        threads = self._threads_seen
        if threads is None:
            with intra_op_threads(self.threads):
                threads = torch.get_num_threads()
        on_cpu = parameter.device.type == "cpu"
        return Attestation(
            backend=self.backend,
            version=torch.__version__,
            device=parameter.device.type if on_cpu else str(self.device),
            precision=_PRECISION_OF[parameter.dtype],
            providers=(f"eager-{parameter.device.type}",),
            threads=threads,
            execution="eager",
            tf32=None if on_cpu else tf32_allowed(),
            graph_capture=NO_GRAPH_CAPTURE if on_cpu else "off",
            driver=None if on_cpu else cuda_driver(),
        )


_PRECISION_OF = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


def tf32_allowed() -> bool:
    """Whether PyTorch may round the inputs of fp32 products on a GPU to TF32, in matrix products or in cuDNN."""
    return torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
