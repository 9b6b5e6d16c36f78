"""A user's model in the form that runners load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from benchmark.errors import InputError
from benchmark.pytest_plugin.sources import module_source_of, onnx_source
from benchmark.pytest_plugin.timing import rounds_needed
from runners.device import Device
from runners.registry import make_runner


def write_onnx(path: Path) -> Path:
    """answer = image + weight, with the weight listed among the inputs as old exporters do."""
    weight = helper.make_tensor("weight", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["image", "weight"], ["answer"])],
        "g",
        [value("image", TensorProto.FLOAT, ["n", 3]), value("weight", TensorProto.FLOAT, [3])],
        [value("answer", TensorProto.FLOAT, [None, 3])],
        [weight],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


def test_any_onnx_file_runs_with_the_signature_of_its_graph(tmp_path: Path) -> None:
    source = onnx_source(write_onnx(tmp_path / "sum.onnx"), "fp32")
    assert [(spec.name, spec.dims, spec.dtype) for spec in source.signature.inputs] == [("image", ("n", 3), "float32")]
    with make_runner("onnxruntime", source, Device("cpu"), 1) as runner:
        answer = runner.run({"image": np.ones((2, 3), np.float32)})["answer"].numpy()
    np.testing.assert_array_equal(answer, [[2, 3, 4], [2, 3, 4]])


def test_what_is_no_onnx_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"not a model")
    with pytest.raises(InputError, match="is no ONNX file"):
        onnx_source(tmp_path / "a.onnx", "fp32")
    with pytest.raises(InputError, match="cannot be read"):
        onnx_source(tmp_path / "b.onnx", "fp32")


def test_a_module_is_copied_and_its_outputs_are_counted() -> None:
    import torch

    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(2.0))

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.scale * image, image.sum()

    module = Two().train()
    source = module_source_of(module, {"image": np.ones((2, 2), np.float32)}, "fp32")
    with make_runner("pytorch", source, Device("cpu"), 1) as runner:
        found = runner.run({"image": np.ones((2, 2), np.float32)})
    assert {name: float(value.numpy().sum()) for name, value in found.items()} == {"output_0": 8.0, "output_1": 4.0}
    assert module.training, "the user's own module stays as it was"


def test_rounds_follow_noise_and_budget() -> None:
    calm = [10.0] * 10
    assert rounds_needed(calm, 10) == 40
    # By hand: a spread of 10 % needs (1.96 × 1.2533 × 0.1 / 0.0099)² ≈ 615 rounds for half a margin of 2 %.
    noisy = [9.0, 11.0] * 5
    assert 1200 < rounds_needed(noisy, 100) < 1500
    assert rounds_needed(noisy, 1) == 100
    assert rounds_needed([10_000.0] * 10, 1) == 16
