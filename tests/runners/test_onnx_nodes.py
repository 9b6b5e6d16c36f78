"""Counting which provider got which node, from a session's own word and from a profile trace."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from exporters.manifest import TensorSpec
from runners.base import Signature
from runners.onnx_nodes import assigned_nodes, count_trace, operators_of, per_provider, smallest_inputs

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def kernel(index: int, operator: str, provider: str, name: str | None = None) -> dict[str, Any]:
    name = name or f"{operator}_{index}"
    arguments = {"provider": provider, "op_name": operator, "node_index": str(index), "output_size": "24"}
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": 60, "args": arguments}


TRACE = [
    {"cat": "Session", "name": "model_loading_uri", "args": {}},
    {"cat": "Session", "name": "session_initialization", "args": {}},
    {"cat": "Node", "name": "Conv_0_fence_before", "args": {"op_name": "Conv"}},
    kernel(0, "Conv", CUDA),
    {"cat": "Node", "name": "Conv_0_fence_after", "args": {"op_name": "Conv", "provider": CUDA}},
    kernel(1, "Conv", CUDA),
    kernel(2, "Shape", CPU),
    kernel(3, "Gather", CPU),
    kernel(3, "Gather", CPU),  # a node in a loop runs again and stays one node
    {"cat": "Session", "name": "model_run", "args": {}},
    {"cat": "Node", "name": "x_kernel_time"},
]


def test_a_trace_is_counted_by_hand() -> None:
    nodes = count_trace(TRACE)
    assert nodes == Counter({(CUDA, "Conv"): 2, (CPU, "Shape"): 1, (CPU, "Gather"): 1})
    assert per_provider(nodes) == {CUDA: 2, CPU: 2}
    assert operators_of(nodes, CPU) == {"Gather": 1, "Shape": 1}
    assert operators_of(nodes, "TensorrtExecutionProvider") == {}


def test_two_nodes_of_one_name_in_different_graphs_are_two() -> None:
    """Node indices start anew in the body of a branch or loop."""
    nodes = count_trace(
        [kernel(0, "Add", CPU, "outer"), kernel(0, "Add", CPU, "inner"), kernel(1, "Add", CPU, "outer")]
    )
    assert nodes == Counter({(CPU, "Add"): 3})


def test_an_empty_trace_has_no_nodes() -> None:
    assert count_trace([]) == Counter()


def test_a_session_without_the_call_or_without_the_record_tells_nothing() -> None:
    def refuses() -> None:
        raise RuntimeError("Session configuration entry must be set to 1")

    assert assigned_nodes(SimpleNamespace()) is None
    assert assigned_nodes(SimpleNamespace(get_provider_graph_assignment_info=refuses)) is None


def test_the_smallest_inputs_fit_the_signature() -> None:
    signature = Signature.of(
        [
            TensorSpec(name="a", dims=("P", "N", 2)),
            TensorSpec(name="b", dims=("P",)),
            TensorSpec(name="c", dims=(2,)),
        ],
        [],
    )
    inputs = smallest_inputs(signature)
    signature.check(inputs)
    assert {name: value.shape for name, value in inputs.items()} == {"a": (1, 1, 2), "b": (1,), "c": (2,)}
    for value in inputs.values():
        np.testing.assert_array_equal(value, np.ones_like(value))


@pytest.mark.slow
def test_litemedsams_decoder_can_be_traced_with_the_smallest_inputs(litemedsam: Any, decoder_folder: Any) -> None:
    """The decoder's inputs are data to its shapes: the output's size is a value, labels choose embeddings."""
    import onnxruntime as ort

    from runners.base import Device, ModuleSource
    from runners.onnx_nodes import traced_nodes
    from runners.onnxruntime import OnnxRuntimeRunner, session_options

    part = litemedsam.decoder
    path = decoder_folder / "decoder.onnx"
    source = ModuleSource("decoder", Signature.of(part.inputs, part.outputs), onnx_path=path)
    with OnnxRuntimeRunner(source, Device("cpu"), threads=1) as runner:
        told = runner.attest().nodes_per_provider
    traced = traced_nodes(
        lambda options: ort.InferenceSession(str(path), options, providers=[CPU]),
        session_options(1),
        smallest_inputs(source.signature),
    )
    assert told is not None
    assert set(per_provider(traced)) == set(told) == {CPU}
    # Two layers with three attentions of four products each, fused or not, and more around them.
    assert sum(count for (_, operator), count in traced.items() if "MatMul" in operator or "Gemm" in operator) >= 24
