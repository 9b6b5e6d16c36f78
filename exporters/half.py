"""fp16 for the networks inside a graph, fp32 for everything that would suffer: inputs, outputs, geometry, sums.

The converters that come with ONNX Runtime and onnxconverter-common cast a graph's inputs to fp16 first and back to fp32
where an operator was to be kept; a coordinate above 512 is then no more than half a pixel exact.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

IN_HALF = frozenset(
    {"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum", "Add", "Sum", "Sub", "Mul", "Gelu", "Relu"}
    | {"PRelu", "LeakyRelu", "Max", "Elu", "Sigmoid", "MaxPool", "AveragePool", "Resize"}
    | {
        "Transpose",
        "Reshape",
        "Slice",
        "Concat",
        "Pad",
        "Split",
        "Expand",
        "Squeeze",
        "Unsqueeze",
        "Gather",
        "Identity",
    }
)
"""Products, activations and what moves data between them. Normalisation, Softmax and means are sums over many values,
which overflow or lose their small terms in fp16, so they stay in fp32."""

DATA_FIRST = frozenset({"Resize"})
"""Only the first input may be fp16: ONNX wants a Resize's scales in fp32."""

NETWORKS = ("image_encoder", "mask_decoder", "mask_downscaling", "'network'")
"""Scopes of a SAM's modules, outside which lies arithmetic on coordinates and sizes; and the whole of a UNet."""

LARGEST = float(np.finfo(np.float16).max)


def to_half(model: ir.Model) -> ir.Model:
    """Casts the networks of a graph to fp16, in place. Inputs and outputs keep their types.

    Args:
        model: as the dynamo exporter writes it: every value has a type, every node the scopes it came from.
    """
    graph = model.graph
    casts: dict[int, ir.Value] = {}
    for node in list(graph):
        if node.op_type in IN_HALF and node.domain == "" and in_network(node):
            _halve(graph, node, casts)
    _drop_round_trips(graph)
    common.RemoveUnusedNodesPass()(model)
    common.NameFixPass()(model)
    return model


def in_network(node: ir.Node) -> bool:
    """Whether a node came from one of the `NETWORKS`."""
    scopes = node.metadata_props.get("pkg.torch.onnx.name_scopes", "")
    return any(network in scopes for network in NETWORKS)


def _halve(graph: ir.Graph, node: ir.Node, casts: dict[int, ir.Value]) -> None:
    inputs = list(node.inputs)[:1] if node.op_type in DATA_FIRST else list(node.inputs)
    for index, value in enumerate(inputs):
        if value is not None and value.dtype == ir.DataType.FLOAT:
            if id(value) not in casts:
                casts[id(value)] = _as_half(graph, node, value)
            node.replace_input_with(index, casts[id(value)])
    for output in list(node.outputs):
        if output.dtype == ir.DataType.FLOAT:
            back = _cast(output, ir.DataType.FLOAT)
            if output.is_graph_output():  # the contract's name belongs to the value in fp32
                back.outputs[0].name, output.name = output.name, f"{output.name}.fp16"
            ir.convenience.replace_all_uses_with(output, back.outputs[0], replace_graph_outputs=True)
            back.replace_input_with(0, output)
            output.dtype = ir.DataType.FLOAT16
            graph.insert_after(node, back)


def _as_half(graph: ir.Graph, before: ir.Node, value: ir.Value) -> ir.Value:
    """The value in fp16: a weight is converted, anything else goes through a cast that stands before `before`."""
    if value.const_value is not None and value.is_initializer():
        array = np.clip(value.const_value.numpy(), -LARGEST, LARGEST).astype(np.float16)
        half = ir.Value(name=f"{value.name}.fp16", const_value=ir.tensor(array), shape=value.shape)
        half.type = ir.TensorType(ir.DataType.FLOAT16)
        graph.register_initializer(half)
        return half
    cast = _cast(value, ir.DataType.FLOAT16)
    graph.insert_before(before, cast)
    return cast.outputs[0]


def _cast(value: ir.Value, kind: ir.DataType) -> ir.Node:
    output = ir.Value(shape=value.shape, type=ir.TensorType(kind))
    return ir.Node("", "Cast", [value], [ir.AttrInt64("to", int(kind))], outputs=[output])


def _drop_round_trips(graph: ir.Graph) -> None:
    """From fp16 to fp32 and back changes nothing, so neighbours in fp16 are joined."""
    for node in list(graph):
        before = node.inputs[0].producer() if node.op_type == "Cast" and node.inputs[0] is not None else None
        if before is None or before.op_type != "Cast" or node.outputs[0].dtype != ir.DataType.FLOAT16:
            continue
        source = before.inputs[0]
        if source is not None and source.dtype == ir.DataType.FLOAT16:
            ir.convenience.replace_all_uses_with(node.outputs[0], source)
