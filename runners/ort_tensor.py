"""ONNX Runtime's tensors, shared with PyTorch by DLPack wherever they lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from runners.base import Array, DeviceTensor, Value, to_numpy

if TYPE_CHECKING:
    import torch


SHARES = hasattr(ort.OrtValue, "from_dlpack") and hasattr(ort.OrtValue, "__dlpack_device__")
"""Whether this version of ONNX Runtime shares tensors by DLPack."""

DLPACK_DEVICES = {"cpu": 1, "cuda": 2}
"""`kDLCPU` and `kDLCUDA` of dlpack.h."""


@dataclass(frozen=True)
class OrtTensor(DeviceTensor):
    """An OrtValue where ONNX Runtime computed it.

    Attributes:
        value: the OrtValue.
        borrowed: what owns the memory that the OrtValue borrows without keeping it alive: on the CPU, an array.
    """

    value: Any
    borrowed: Any = None

    @property
    def shape(self) -> tuple[int, ...]:  # noqa: D102
        return tuple(self.value.shape())

    @property
    def dtype(self) -> str:  # noqa: D102
        name = str(self.value.data_type()).removeprefix("tensor(").removesuffix(")")
        return {"float": "float32", "double": "float64"}.get(name, name)

    def numpy(self) -> Array:  # noqa: D102
        array: Array = self.value.numpy()
        return array

    def to_torch(self) -> torch.Tensor:
        """The values as a PyTorch tensor in the same memory, on the device or on the CPU.

        The OrtValue's memory lives as long as the tensor. What was borrowed is the caller's to keep. A version of ONNX
        Runtime without DLPack runs on only the CPU here, where an array shares the memory as well.
        """
        if not SHARES:
            return super().to_torch()
        import torch
        from torch.utils.dlpack import from_dlpack

        tensor = from_dlpack(self.value)
        # ONNX Runtime's DLPack has no truth values and gives them as bytes.
        return tensor.view(torch.bool) if self.dtype == "bool" else tensor

    def lies_on(self, kind: str, index: int) -> bool:
        """Whether the values are in the memory of this very device.

        Args:
            kind: `cpu` or `cuda`.
            index: of the GPU, 0 for the CPU.
        """
        return tuple(self.value.__dlpack_device__()) == (DLPACK_DEVICES[kind], index)

    @classmethod
    def of_torch(cls, tensor: torch.Tensor) -> OrtTensor:
        """An OrtValue in a PyTorch tensor's own memory, on the same device.

        Args:
            tensor: of numbers; one that is not contiguous is copied on its device first.
        """
        # DLPack hands out no tensor of an autograd graph, and ONNX Runtime takes none that is not contiguous.
        return cls(ort.OrtValue.from_dlpack(tensor.detach().contiguous()))


def placed_on(inputs: Mapping[str, Value], device: torch.device, wait: Callable[[], None]) -> dict[str, DeviceTensor]:
    """Inputs as OrtValues on a device: shared where they are there already, copied from host memory where not.

    Args:
        inputs: arrays, and tensors of any backend.
        device: where they shall be.
        wait: waits for all work on the device: for copies, and for what computes a tensor that is shared.
    """
    from runners.host_copies import to_device

    placed: dict[str, DeviceTensor] = {}
    hosts = {}
    for name, value in inputs.items():
        if isinstance(value, OrtTensor) and value.lies_on(device.type, device.index or 0):
            placed[name] = value
            continue
        tensor = value.to_torch() if isinstance(value, DeviceTensor) and not isinstance(value, OrtTensor) else None
        if tensor is not None and tensor.device == device:
            placed[name] = OrtTensor.of_torch(tensor)
        else:
            hosts[name] = to_numpy(value)
    wait()
    for name, tensor in to_device(hosts, device, device.type != "cpu", wait).items():
        placed[name] = OrtTensor.of_torch(tensor)
    return placed


def on_cpu(value: Value) -> OrtTensor:
    """A value in host memory, without PyTorch; an array's memory is borrowed."""
    if isinstance(value, OrtTensor):
        return value
    array = np.ascontiguousarray(to_numpy(value))
    return OrtTensor(ort.OrtValue.ortvalue_from_numpy(array), array)


def own(tensor: DeviceTensor) -> OrtTensor:
    """What a runner placed itself."""
    assert isinstance(tensor, OrtTensor)  # noqa: S101 - `_place` makes no other
    return tensor
