"""What lies where: no copy that nobody asked for, and the same numbers on the device as NumPy has on the host."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmark.stages.on_device import as_value, device_memory, nothing, tensor_of, torch_device, waiting_for
from benchmark.stages.unet_input import winners
from exporters.parity import masks_on_slice, tensor_on_slice
from runners.base import OutOfDeviceMemoryError
from runners.device import Device
from runners.pytorch import TorchTensor
from tests.benchmark.stages.copies import counting_copies

FEW = st.sampled_from([-3e38, -2.0, -0.0, 0.0, 0.5, 1.0, 3e38])
"""Few levels, so that equal logits are common."""


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=3, max_dims=5, max_side=4), elements=FEW))
def test_the_channel_with_the_largest_logit_is_numpys_of_equals_the_first(logits: np.ndarray) -> None:
    found = winners(torch.from_numpy(logits))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, logits.argmax(axis=1))


@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_masks_come_to_the_slice_alike_from_arrays_and_from_tensors(fit: str) -> None:
    low = np.random.default_rng(0).normal(size=(3, 2, 8, 8)).astype(np.float32)
    outputs = {"masks": low, "low_res_masks": low}
    there = tensor_on_slice(torch.from_numpy(low), (11, 7), fit)  # type: ignore[arg-type]
    np.testing.assert_array_equal(masks_on_slice(outputs, (11, 7), fit), there.numpy())  # type: ignore[arg-type]


def test_what_is_on_a_device_goes_back_to_a_runner_as_it_is_and_what_is_on_the_host_as_an_array() -> None:
    host = torch.ones(2, 3)
    array = as_value(host)
    assert isinstance(array, np.ndarray) and np.shares_memory(array, host.numpy())
    elsewhere = torch.ones(2, 3, device="meta")  # a device whose tensors cannot be copied at all
    value = as_value(elsewhere)
    assert isinstance(value, TorchTensor) and value.tensor is elsewhere


def test_pytorchs_own_outputs_can_be_written_to_and_are_not_copied() -> None:
    """MONAI weighs the network's answer in place, which an inference tensor refuses."""
    with torch.inference_mode():
        output = torch.ones(4) * 2
    tensor = tensor_of(TorchTensor(output))
    tensor *= 3
    assert tensor.tolist() == [6] * 4 and tensor.data_ptr() == output.data_ptr()


def test_a_gpu_is_waited_for_and_a_cpu_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[int] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    assert waiting_for(Device("cpu")) is nothing
    waiting_for(Device("cuda", 1))()
    assert waited == [1]
    assert torch_device(Device("cuda", 1)) == torch.device("cuda:1")
    assert torch_device(Device("cpu")) == torch.device("cpu")


def test_pytorchs_want_of_memory_is_told_as_a_runners() -> None:
    with pytest.raises(OutOfDeviceMemoryError, match=r"^PyTorch: CUDA out of memory\. Tried 2 GiB$"), device_memory():
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried 2 GiB\nSee documentation")


def test_what_counts_the_copies_on_a_gpu_counts() -> None:
    """On a CPU every operation stays on the host, so that each one counts as having come there."""
    host = torch.ones(2, 3)
    with counting_copies("cpu") as copies:
        host.to(torch.uint8)
    assert [(one.dtype, one.shape) for one in copies] == [("float32", (2, 3))]
    with pytest.raises(AssertionError, match="float32"):
        copies.require_only({"uint8"})
    with counting_copies("meta") as copies:
        host.cpu()
    assert copies == []
    with pytest.raises(AssertionError, match="no copy"):
        copies.require_only({"uint8"})
