"""From host memory to a device: one wait for all copies, and none where nothing is copied."""

from __future__ import annotations

import numpy as np
import torch

from runners.host_copies import to_device


def test_on_the_cpu_nothing_is_copied_or_waited_for() -> None:
    array = np.arange(4, dtype=np.float32)
    waits: list[int] = []
    placed = to_device({"x": array}, torch.device("cpu"), False, lambda: waits.append(1))
    assert placed["x"].data_ptr() == array.ctypes.data
    assert not waits


def test_all_copies_to_a_device_are_waited_for_once() -> None:
    """PyTorch's `meta` device holds no values: here it stands for one that is not the CPU."""
    waits: list[int] = []
    arrays = {name: np.zeros((2, size), np.float32) for name, size in (("a", 3), ("b", 4))}
    placed = to_device(arrays, torch.device("meta"), False, lambda: waits.append(1))
    assert {name: (value.device.type, tuple(value.shape)) for name, value in placed.items()} == {
        "a": ("meta", (2, 3)),
        "b": ("meta", (2, 4)),
    }
    assert waits == [1]
    to_device({}, torch.device("meta"), False, lambda: waits.append(1))
    assert waits == [1], "nothing to copy"


def test_views_become_contiguous() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    placed = to_device({"x": array}, torch.device("cpu"), False, lambda: None)["x"]
    assert placed.is_contiguous() and placed.tolist() == array.tolist()
