"""From host memory to a device: through pinned memory, all arrays under way together, and one wait.

A copy from ordinary memory makes the driver copy it into pinned memory piece by piece while the caller waits; a copy
from pinned memory runs on its own. On the CPU nothing is pinned and nothing copied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from runners.base import Array


def to_device(
    arrays: Mapping[str, Array], device: torch.device, pinned: bool, wait: Callable[[], None]
) -> dict[str, torch.Tensor]:
    """Arrays as tensors on a device, contiguous, when all copies are done.

    Args:
        arrays: in host memory.
        device: where they go; on the CPU the tensors share the arrays' memory.
        pinned: whether they go through pinned host memory, which needs CUDA.
        wait: waits for the device; called once, where there was something to copy.
    """
    hosts = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    if device.type == "cpu":
        return hosts
    # PyTorch takes no pinned memory back before the copies out of it have run, so that nothing holds it here.
    sources = {name: host.pin_memory() if pinned else host for name, host in hosts.items()}
    placed = {name: source.to(device, non_blocking=pinned) for name, source in sources.items()}
    if placed:
        wait()
    return placed
