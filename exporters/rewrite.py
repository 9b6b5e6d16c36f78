"""Operators with a slow kernel in ONNX Runtime, said with operators that have a fast one: the same function, exactly.

- `PRelu` broadcasts its slope element by element, ten nanoseconds each: a third of the time of a MONAI UNet, whose
  every activation is one. `LeakyRelu` takes one, `Mul` and `Max` together two.
- An `Add` before a `LayerNormalization` is fused with it into `SkipLayerNormalization`, whose kernel for CPUs takes
  more than twice as long as the two it replaces. As a `Sum` of two it is left alone.

docs/export.md has the numbers.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir import convenience
from onnx_ir.passes import common


def with_fast_operators(model: ir.Model) -> ir.Model:
    """Rewrites a graph, in place.

    Args:
        model: as the dynamo exporter writes it.
    """
    for node in list(model.graph):
        if node.domain == "" and node.op_type == "PRelu":
            _faster_prelu(model.graph, node)
        elif node.domain == "" and node.op_type == "LayerNormalization":
            _unfusable_sum(node)
    common.RemoveUnusedNodesPass()(model)  # with them the slopes that nobody reads any more
    return model


def _unfusable_sum(norm: ir.Node) -> None:
    added = norm.inputs[0].producer() if norm.inputs[0] is not None else None
    if added is not None and added.domain == "" and added.op_type == "Add":
        added.op_type = "Sum"


def _faster_prelu(graph: ir.Graph, node: ir.Node) -> None:
    """With one constant slope a it is `LeakyRelu`; with several, none above 1, max(x, a·x). Any other stays.

    Where x ≥ 0, a·x ≤ x, and where x < 0, a·x ≥ x.
    """
    x, a = node.inputs
    if a is None or a.const_value is None:
        return
    slope = np.asarray(a.const_value.numpy(), np.float32)
    if slope.size and np.all(slope == slope.flat[0]):
        alpha = ir.AttrFloat32("alpha", float(slope.flat[0]))
        nodes = [_like(node, "LeakyRelu", [x], [alpha])]
    elif slope.size and slope.max() <= 1:
        scaled = _like(node, "Mul", [x, a])
        nodes = [scaled, _like(node, "Max", [x, scaled.outputs[0]])]
    else:
        return
    (before,), after = node.outputs, nodes[-1].outputs[0]
    if before.is_graph_output():  # the contract's name
        after.name = before.name
    convenience.replace_nodes_and_values(graph, node, [node], nodes, [before], [after])


def _like(
    node: ir.Node, operator: str, inputs: list[ir.Value | None], attributes: list[ir.Attr] | None = None
) -> ir.Node:
    """A node in the scopes of another, whose one output has the same type and shape."""
    made = ir.Node(
        "", operator, inputs, attributes or (), metadata_props=dict(node.metadata_props),
        name=f"{node.name}_{operator.lower()}",
    )  # fmt: skip
    (before,), (after,) = node.outputs, made.outputs
    after.name, after.type, after.shape = f"{before.name}_{operator.lower()}", before.type, before.shape
    return made
