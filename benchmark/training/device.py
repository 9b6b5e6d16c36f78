"""Where a training runs, and whether in mixed precision."""

from __future__ import annotations

from benchmark.sections import AUTO_DEVICE
from runners.device import Device, cuda_absence


def training_device(wanted: str) -> Device:
    """The device of a training: the one that is named, else the first GPU where PyTorch can use it, else the CPU."""
    if wanted != AUTO_DEVICE:
        return Device.parse(wanted)
    return Device("cuda") if _gpu_is_usable() else Device("cpu")


def _gpu_is_usable() -> bool:
    import torch

    return cuda_absence() is None and torch.cuda.is_available()


def mixed_precision(device: Device, amp: bool) -> bool:
    """Whether the forward pass runs in fp16 where that is safe: on a GPU alone. The CPU trains in fp32."""
    return amp and device.kind == "cuda"
