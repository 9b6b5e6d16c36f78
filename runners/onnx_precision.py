"""What precision an ONNX file has: read from its operators and weights, not from what anybody says of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

DYNAMIC = frozenset({"DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul"})
STATIC = frozenset({"QuantizeLinear", "DequantizeLinear"})
STATIC_PREFIX = "QLinear"
"""ONNX's and ONNX Runtime's own operators on quantised values: QLinearMatMul, QLinearAdd, QLinearSoftmax, …"""


@lru_cache(maxsize=16)
def file_precision(path: Path) -> str:
    """`int8`, `int8-static`, `fp16` or `fp32`, by what the file holds. Its external data is not read.

    `int8` quantises activations at run time; `int8-static` has their ranges in the file. A file counts as `fp16` if
    more than half of its floating-point weights are.
    """
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    operators = {node.op_type for node in _nodes(model)}
    if operators & DYNAMIC:
        return "int8"
    if operators & STATIC or any(name.startswith(STATIC_PREFIX) for name in operators):
        return "int8-static"
    return "fp16" if _half_share(_weights(model.graph)) > 0.5 else "fp32"


def _half_share(weights: Iterable[TensorProto]) -> float:
    """The share of float16 among the elements of floating-point weights."""
    from onnx import TensorProto

    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
    counts: dict[int, int] = dict.fromkeys(floats, 0)
    for tensor in weights:
        if tensor.data_type in counts:
            counts[tensor.data_type] += math.prod(tensor.dims)
    return counts[TensorProto.FLOAT16] / max(1, sum(counts.values()))


def _nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Every node, those of branches, loops and the model's own functions included."""
    for graph in _graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def _weights(graph: GraphProto) -> Iterator[TensorProto]:
    for found in _graphs(graph):
        yield from found.initializer


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from _graphs(inner)
