"""A graph says the same with other operators: what ONNX Runtime computes does not change by a bit."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from exporters.rewrite import with_fast_operators

SCOPE = "pkg.torch.onnx.name_scopes"


def graph(slope: np.ndarray, constant: bool = True) -> onnx.ModelProto:
    """y = PRelu(x, slope) between two other nodes."""
    node = helper.make_node("PRelu", ["before", "slope"], ["after"], name="activation")
    node.metadata_props.add(key=SCOPE, value="['', 'network']")
    nodes = [helper.make_node("Identity", ["x"], ["before"]), node, helper.make_node("Neg", ["after"], ["y"])]
    shape = [1, 3, 4, 4]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    if not constant:
        inputs.append(helper.make_tensor_value_info("slope", TensorProto.FLOAT, slope.shape))
    return helper.make_model(
        helper.make_graph(
            nodes, "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(slope, "slope")] if constant else [],
        ),
        opset_imports=[helper.make_opsetid("", 20)], ir_version=10,
    )  # fmt: skip


def rewritten(model: onnx.ModelProto) -> onnx.ModelProto:
    proto: onnx.ModelProto = onnx_ir.to_proto(with_fast_operators(onnx_ir.from_proto(model)))
    onnx.checker.check_model(proto, full_check=True)
    return proto


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def answer(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"x": x})[0]
    return found


def normalised(shape: list[int]) -> onnx.ModelProto:
    """y = LayerNormalization(x + more), which ONNX Runtime would fuse."""
    nodes = [
        helper.make_node("Add", ["x", "more"], ["sum"]),
        helper.make_node("LayerNormalization", ["sum", "scale", "bias"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "more", "y")]
    rng = np.random.default_rng(1)
    weights = [numpy_helper.from_array(rng.random(shape[-1:], dtype=np.float32), name) for name in ("scale", "bias")]
    return helper.make_model(
        helper.make_graph(nodes, "g", values[:2], values[2:], weights),
        opset_imports=[helper.make_opsetid("", 20)], ir_version=10,
    )  # fmt: skip


def test_an_addition_before_a_normalisation_is_not_fused_into_the_slow_operator(tmp_path: Path) -> None:
    """Held against ONNX Runtime's own optimised graph; without the rewrite it has the operator."""
    model = normalised([2, 5, 8])
    found = rewritten(model)
    assert operators(found) == {"Sum": 1, "LayerNormalization": 1}
    feed = {"x": np.random.default_rng(2).random((2, 5, 8), np.float32), "more": np.ones((2, 5, 8), np.float32)}
    fused, answers = [], []
    for number, one in enumerate((model, found)):
        options = ort.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / f"{number}.onnx")
        session = ort.InferenceSession(one.SerializeToString(), options, providers=["CPUExecutionProvider"])
        answers.append(session.run(None, feed))
        fused.append("SkipLayerNormalization" in operators(onnx.load(options.optimized_model_filepath)))
    assert fused == [True, False]
    for before, after in zip(*answers, strict=True):
        np.testing.assert_allclose(after, before, atol=1e-6)


X = np.random.default_rng(0).normal(size=(1, 3, 4, 4)).astype(np.float32)
X[0, 0, 0, :3] = 0.0, -0.0, np.nan


@pytest.mark.parametrize(
    ("slope", "becomes"),
    [
        (np.full((1, 1, 1), 0.25, np.float32), {"LeakyRelu"}),
        (np.full((3, 1, 1), 1.7, np.float32), {"LeakyRelu"}),
        (np.array([0.25, -0.5, 1.0], np.float32).reshape(3, 1, 1), {"Mul", "Max"}),
    ],
)
def test_a_constant_slope_gets_a_fast_operator(slope: np.ndarray, becomes: set[str]) -> None:
    found = rewritten(graph(slope))
    assert set(operators(found)) - {"Identity", "Neg"} == becomes
    np.testing.assert_array_equal(answer(found, X), answer(graph(slope), X))


def test_a_slope_above_1_beside_another_stays() -> None:
    """max(x, a·x) would take the wrong side there."""
    slope = np.array([0.25, 1.5, 1.0], np.float32).reshape(3, 1, 1)
    assert operators(rewritten(graph(slope)))["PRelu"] == 1


def test_a_slope_that_is_computed_stays() -> None:
    assert operators(rewritten(graph(np.ones((1, 1, 1), np.float32), constant=False)))["PRelu"] == 1


@pytest.mark.parametrize("slope", [np.full((1, 1, 1), 0.25), np.array([0.1, 0.2, 0.3]).reshape(3, 1, 1)])
def test_as_the_last_node_it_keeps_the_name_of_the_output(slope: np.ndarray) -> None:
    model = graph(slope.astype(np.float32))
    del model.graph.node[2]
    model.graph.node[1].output[0] = "y"
    found = rewritten(model)
    assert [output.name for output in found.graph.output] == ["y"] and "PRelu" not in operators(found)
    np.testing.assert_array_equal(answer(found, X), answer(model, X))


def test_a_slope_that_nobody_reads_any_more_is_gone() -> None:
    assert not rewritten(graph(np.full((1, 1, 1), 0.25, np.float32))).graph.initializer


def test_what_replaces_it_lies_in_the_same_scope() -> None:
    """fp16 is for the network's own nodes, which are known by their scope."""
    found = rewritten(graph(np.array([0.1, 0.2, 0.3], np.float32).reshape(3, 1, 1)))
    scopes = {node.op_type: [prop.value for prop in node.metadata_props] for node in found.graph.node}
    assert scopes["Mul"] == scopes["Max"] == ["['', 'network']"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-3, 3, width=32), min_size=3, max_size=3))
def test_no_slopes_change_the_answer(slopes: list[float]) -> None:
    model = graph(np.array(slopes, np.float32).reshape(3, 1, 1))
    np.testing.assert_array_equal(answer(rewritten(model), X), answer(model, X))
