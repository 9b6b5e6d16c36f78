"""Where the numbers of a stage lie: PyTorch tensors beside the runner that made them, on the CPU as on a GPU.

Logits of a slice are 4 bytes a pixel for each prompt and stay on their device; what comes to the host is the label map,
one byte a pixel for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.utils.dlpack import from_dlpack

from runners.base import DeviceTensor, OutOfDeviceMemoryError, Value
from runners.device import Device
from runners.pytorch import TorchTensor

Wait = Callable[[], None]
"""Returns when the device has done all that it was given."""


def tensor_of(value: DeviceTensor) -> torch.Tensor:
    """A runner's output as an ordinary tensor in the same memory, where the backend can share it.

    PyTorch's own outputs are inference tensors, which refuse to be written to outside of inference mode, as MONAI does
    when it blends windows; the way through DLPack is free of that mark and of a copy.
    """
    tensor = value.to_torch()
    return from_dlpack(tensor) if tensor.is_inference() else tensor


def as_value(tensor: torch.Tensor) -> Value:
    """A tensor as a runner takes it: an array in host memory, or a tensor that stays where it is."""
    return tensor.numpy() if tensor.device.type == "cpu" else TorchTensor(tensor)


def torch_device(device: Device) -> torch.device:
    """Where PyTorch puts what lies beside a runner on this device."""
    return torch.device("cpu") if device.kind == "cpu" else torch.device(device.kind, device.index)


def waiting_for(device: Device) -> Wait:
    """What waits for PyTorch's work on the device; on a CPU there is nothing to wait for."""
    if device.kind == "cpu":
        return nothing
    return lambda: torch.cuda.synchronize(device.index)


def nothing() -> None:
    """Waits for nothing."""


@contextmanager
def device_memory() -> Iterator[None]:
    """Tells PyTorch's own want of device memory within as the runners tell theirs.

    Raises:
        OutOfDeviceMemoryError: an allocation on the device failed.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        first_line = (str(error).strip().splitlines() or ["no memory left"])[0]
        raise OutOfDeviceMemoryError(f"PyTorch: {first_line}") from None


def give_memory_back() -> None:
    """Lets the driver have what PyTorch keeps for later: another backend's allocator may want it now."""
    torch.cuda.empty_cache()  # does nothing where PyTorch has not used a GPU
