"""A file's precision is read off its operators and weights, whatever anybody calls it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runners.onnx_precision import file_precision

FLOAT, HALF = np.float32, np.float16


def save(path: Path, operators: list[str], *weights: np.ndarray, inside_if: bool = False) -> Path:
    """A file with these operators and weights. It is read and never run, so that the wiring may be nonsense."""
    nodes = [helper.make_node(name, ["x"], [f"y{number}"]) for number, name in enumerate(operators)]
    tensors = [numpy_helper.from_array(value, f"w{number}") for number, value in enumerate(weights)]
    inner = helper.make_graph(nodes, "inner", [], [], tensors)
    if inside_if:
        inner = helper.make_graph([helper.make_node("If", ["x"], ["y"], then_branch=inner)], "outer", [], [])
    onnx.save(helper.make_model(inner), path)
    return path


@pytest.mark.parametrize(
    ("operators", "precision"),
    [
        (["MatMul", "Softmax"], "fp32"),
        (["MatMul", "DynamicQuantizeLinear"], "int8"),
        (["MatMulInteger"], "int8"),
        (["ConvInteger"], "int8"),
        (["DynamicQuantizeMatMul"], "int8"),
        (["QuantizeLinear", "DequantizeLinear", "MatMul"], "int8-static"),
        (["DequantizeLinear"], "int8-static"),
        (["QLinearMatMul"], "int8-static"),
        (["QLinearConv"], "int8-static"),
        # Ranges found at run time decide: such a file has no need of calibration.
        (["DynamicQuantizeLinear", "MatMulInteger", "DequantizeLinear"], "int8"),
    ],
)
def test_quantised_operators_tell_int8_and_when_its_ranges_are_found(
    operators: list[str], precision: str, tmp_path: Path
) -> None:
    assert file_precision(save(tmp_path / "m.onnx", operators, np.zeros(4, FLOAT))) == precision
    assert file_precision(save(tmp_path / "m.onnx", operators, np.zeros(4, FLOAT), inside_if=True)) == precision


@pytest.mark.parametrize(
    ("weights", "precision"),
    [
        ([], "fp32"),
        ([np.zeros(10, FLOAT)], "fp32"),
        ([np.zeros(10, HALF)], "fp16"),
        # Normalisations stay in fp32, which does not make the file fp32; nor do a few halves make it fp16.
        ([np.zeros(60, HALF), np.zeros(40, FLOAT)], "fp16"),
        ([np.zeros(40, HALF), np.zeros(60, FLOAT)], "fp32"),
        ([np.zeros(50, HALF), np.zeros(50, FLOAT)], "fp32"),
        ([np.zeros((10, 6), HALF), np.zeros((8, 5), FLOAT)], "fp16"),
        # Shapes and indices are no weights.
        ([np.zeros(10, HALF), np.zeros(1000, np.int64)], "fp16"),
    ],
)
def test_more_than_half_of_the_weights_in_half_precision_make_a_file_fp16(
    weights: list[np.ndarray], precision: str, tmp_path: Path
) -> None:
    assert file_precision(save(tmp_path / "m.onnx", ["MatMul"], *weights)) == precision
    assert file_precision(save(tmp_path / "m.onnx", ["MatMul"], *weights, inside_if=True)) == precision


def test_weights_beside_the_file_need_not_be_read(tmp_path: Path) -> None:
    """Gigabytes of them; and a count of elements needs none of their values."""
    model = onnx.load(save(tmp_path / "m.onnx", ["MatMul"], np.ones(5000, HALF)))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    (tmp_path / "m.data").unlink()
    assert file_precision(tmp_path / "m.onnx") == "fp16"


def test_operators_of_the_models_own_functions_count(tmp_path: Path) -> None:
    model = onnx.load(save(tmp_path / "m.onnx", ["MatMul"], np.ones(4, FLOAT)))
    node = helper.make_node("MatMulInteger", ["a", "b"], ["c"])
    opset = [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("mine", "Product", ["a", "b"], ["c"], [node], opset))
    onnx.save(model, tmp_path / "m.onnx")
    assert file_precision(tmp_path / "m.onnx") == "int8"


def test_a_type_beyond_floats_is_no_float_weight(tmp_path: Path) -> None:
    graph = helper.make_graph([], "g", [], [], [helper.make_tensor("w", TensorProto.STRING, [1], [b"x"])])
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    assert file_precision(tmp_path / "m.onnx") == "fp32"
