"""Tensors shared between ONNX Runtime and PyTorch: no copy, and no memory that is gone."""

from __future__ import annotations

import gc

import numpy as np
import onnxruntime as ort
import pytest
import torch

from runners.base import ModuleSource, to_numpy
from runners.device import Device
from runners.onnxruntime import OnnxRuntimeRunner
from runners.ort_tensor import OrtTensor, placed_on
from runners.pytorch import PyTorchRunner, TorchTensor
from tests.runners.conftest import feed

CPU, HERE = Device("cpu"), torch.device("cpu")


def test_an_output_is_shared_with_pytorch_and_outlives_its_ort_value_and_its_session(source: ModuleSource) -> None:
    with OnnxRuntimeRunner(source, CPU, 1) as runner:
        output = runner.run(feed())["features"]
        expected = output.numpy().copy()
        tensor = output.to_torch()
        assert tensor.data_ptr() == output.value.data_ptr()  # type: ignore[attr-defined]
        del output
        for seed in range(5):  # takes freed memory
            runner.run(feed(seed=seed))
    del runner
    gc.collect()
    np.testing.assert_array_equal(tensor.numpy(), expected)


def test_where_values_lie_is_asked_of_the_value() -> None:
    value = OrtTensor.of_torch(torch.ones(1))
    assert value.lies_on("cpu", 0) and not value.lies_on("cuda", 0)


def test_an_older_version_without_dlpack_shares_through_an_array(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runners.ort_tensor.SHARES", False)
    array = np.arange(3, dtype=np.float32)
    tensor = OrtTensor(ort.OrtValue.ortvalue_from_numpy(array), array).to_torch()
    assert tensor.tolist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.uint8, np.bool_])
def test_every_type_comes_out_as_itself(dtype: type) -> None:
    array = np.array([[0, 1, 1]], dtype=dtype)
    tensor = OrtTensor(ort.OrtValue.ortvalue_from_numpy(array), array).to_torch()
    assert str(tensor.dtype) == f"torch.{np.dtype(dtype).name}"
    assert tensor.tolist() == array.tolist()


def test_a_pytorch_tensor_goes_in_as_it_lies_and_is_kept_alive() -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    address = tensor.data_ptr()
    value = OrtTensor.of_torch(tensor)
    del tensor
    gc.collect()
    [torch.full((2, 3), torch.nan) for _ in range(8)]  # takes freed memory
    assert value.value.data_ptr() == address
    assert value.numpy().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_what_dlpack_or_onnx_runtime_refuses_is_made_to_fit() -> None:
    assert OrtTensor.of_torch(torch.arange(6.0).reshape(2, 3).T).numpy().tolist() == [[0, 3], [1, 4], [2, 5]]
    assert OrtTensor.of_torch(torch.ones(2, requires_grad=True)).numpy().tolist() == [1, 1]
    with torch.inference_mode():
        inferred = torch.ones(2)
    assert OrtTensor.of_torch(inferred).shape == (2,)


def test_what_is_on_the_device_is_shared_and_only_arrays_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of a GPU, with the CPU for its device."""
    there, array = torch.ones(3), np.zeros(2, np.float32)
    own = OrtTensor(ort.OrtValue.ortvalue_from_numpy(array), array)
    waits: list[int] = []
    monkeypatch.setattr(TorchTensor, "numpy", lambda self: pytest.fail("it went through host memory"))
    placed = placed_on({"own": own, "torch": TorchTensor(there), "host": array}, HERE, lambda: waits.append(1))
    assert placed["own"] is own
    assert placed["torch"].value.data_ptr() == there.data_ptr()  # type: ignore[attr-defined]
    assert placed["host"].numpy().tolist() == [0, 0]
    assert waits == [1], "what PyTorch computes on its own stream must be there"


def test_pytorchs_output_feeds_onnx_runtime_on_the_device_without_host_memory(
    source: ModuleSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PyTorchRunner(source, CPU, 1) as first, OnnxRuntimeRunner(source, CPU, 1) as second:
        passed = first.run(feed())["features"]
        expected = second.run({**feed(), "image": to_numpy(passed)})["features"].numpy()
        monkeypatch.setattr(TorchTensor, "numpy", lambda self: pytest.fail("it went through host memory"))
        outputs = second._run(placed_on({**feed(), "image": passed}, HERE, lambda: None))
    np.testing.assert_array_equal(outputs["features"].numpy(), expected)
