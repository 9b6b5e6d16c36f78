"""Operators with a slow kernel in ONNX Runtime, said with operators that have a fast one: the same function, exactly.

`PRelu` broadcasts its slope element by element, ten nanoseconds each: a third of the time of a MONAI UNet, whose every
activation is one (docs/export.md has the numbers). `LeakyRelu` takes one, `Mul` and `Max` together two.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir import convenience
from onnx_ir.passes import common


def with_fast_operators(model: ir.Model) -> ir.Model:
    """Replaces each `PRelu` of a constant slope, in place.

    With one slope a it is `LeakyRelu`. With several, none above 1, it is max(x, a·x): where x ≥ 0, a·x ≤ x, and where
    x < 0, a·x ≥ x. Any other stays as it is.

    Args:
        model: as the dynamo exporter writes it.
    """
    for node in list(model.graph):
        if node.op_type == "PRelu" and node.domain == "":
            slope = node.inputs[1].const_value if node.inputs[1] is not None else None
            if slope is not None:
                _replace(model.graph, node, np.asarray(slope.numpy(), np.float32))
    common.RemoveUnusedNodesPass()(model)  # with them the slopes that nobody reads any more
    return model


def _replace(graph: ir.Graph, node: ir.Node, slope: np.ndarray) -> None:
    x, a = node.inputs
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
