"""Which errors mean that memory ran out, and what a user is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from exporters.manifest import TensorSpec
from runners.base import DeviceUnavailableError, ModuleSource, OutOfDeviceMemoryError, RunnerError, Signature
from runners.device import Device
from runners.onnxruntime import OnnxRuntimeRunner
from runners.out_of_memory import advice, is_out_of_memory
from runners.pytorch import PyTorchRunner
from tests.runners.conftest import feed

ARENA = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node. Name:'/c' "
    "Status Message: \n/onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* AllocateRawInternal(size_t) "
    "Failed to allocate memory for requested buffer of size 4585490524"
)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(ARENA),
        RuntimeError("bfc_arena.cc:358 Available memory of 1024 is smaller than requested bytes of 4096"),
        RuntimeError("CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc((void**)&p, size);"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4503599627 bytes."
        ),
        RuntimeError("Status Message: std::bad_alloc"),
        RuntimeError(
            "[TensorRT EP] IExecutionContext::enqueueV3: Error Code 2: OutOfMemory (Requested size was 9 bytes.)"
        ),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79 GiB"),
    ],
    ids=lambda error: str(error)[:30],
)
def test_memory_that_ran_out_is_told_apart(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA failure 900: operation not permitted when stream is capturing"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDNN_STATUS_NOT_SUPPORTED"),
        RuntimeError("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: image"),
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
        MemoryError(),  # of the host, outside the libraries
        DeviceUnavailableError("device cuda: no NVIDIA driver on this machine"),
    ],
)
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    """A caller halves its batch on this error; on any other that would hide the cause."""
    assert not is_out_of_memory(error)


def test_the_module_the_call_and_what_to_lower_are_named_in_one_line() -> None:
    told = advice("decoder", "cuda:1", {"point_coords": (64, 2, 2), "orig_im_size": (2,)}, RuntimeError(ARENA))
    assert told.startswith(
        "decoder: the memory of device cuda:1 does not hold a call with point_coords 64 × 2 × 2, orig_im"
    )
    assert "requested buffer of size 4585490524" in told and "lower prompts_per_call or windows_per_batch" in told
    assert "\n" not in told
    assert "does not hold its weights (std::bad_alloc); use a smaller model" in advice(
        "unet", "cuda", {}, RuntimeError("std::bad_alloc")
    )


def test_onnx_runtimes_own_arena_that_ran_out_is_the_error_that_a_caller_may_act_on(tmp_path: Path) -> None:
    """The real library: an answer of 2⁴⁷ numbers, which no machine holds."""
    path = tmp_path / "huge.onnx"
    graph = helper.make_graph(
        [helper.make_node("ConstantOfShape", ["size"], ["zeros"])],
        "huge",
        [helper.make_tensor_value_info("size", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("zeros", TensorProto.FLOAT, ["B"])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    size, zeros = TensorSpec(name="size", dims=(1,), dtype="int64"), TensorSpec(name="zeros", dims=("B",))
    with OnnxRuntimeRunner(
        ModuleSource("huge", Signature.of([size], [zeros]), onnx_path=path), Device("cpu")
    ) as runner:
        with pytest.raises(
            OutOfDeviceMemoryError, match=r"huge: the memory of device cpu does not hold a call with size"
        ):
            runner.run({"size": np.array([2**47])})
        assert runner.run({"size": np.array([3])})["zeros"].shape == (3,), "the session lives on"


def test_pytorchs_error_is_turned_and_its_tensors_are_let_go(
    source: ModuleSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[int] = []

    def failing(self: PyTorchRunner, *_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with PyTorchRunner(source, Device("cpu"), 1) as runner:
        monkeypatch.setattr(PyTorchRunner, "_release_memory", lambda self: released.append(1))
        with monkeypatch.context() as patched, pytest.raises(OutOfDeviceMemoryError, match="tiny: ") as caught:
            patched.setattr(PyTorchRunner, "_call", failing)
            runner.run(feed())
        assert released == [1]
        assert caught.value.__context__ is None, "it would hold the frames, and they the tensors"
        runner.run(feed())


def test_other_errors_of_a_call_pass_unchanged(source: ModuleSource, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: PyTorchRunner, *_: object) -> None:
        raise ZeroDivisionError("1/0")

    monkeypatch.setattr(PyTorchRunner, "_call", failing)
    with PyTorchRunner(source, Device("cpu"), 1) as runner, pytest.raises(ZeroDivisionError):
        runner.run(feed())
    assert issubclass(OutOfDeviceMemoryError, RunnerError)
