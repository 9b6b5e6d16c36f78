"""A module written as an ONNX graph by the dynamo exporter, with the contract's names."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from exporters.exportable import Exportable, Feed
from exporters.manifest import ExportError
from exporters.rewrite import with_fast_operators

OPSET = 20
"""Has Gelu as one operator: LiteMedSAM's encoder runs a third faster with it than with opset 18's five nodes."""

INLINE_BYTES = 1_800_000_000
"""More weights than this go to a file of their own: a protobuf message ends at 2 GiB."""


def export_onnx(part: Exportable, feed: Feed, path: Path) -> None:
    """Traces a part and writes its graph; weights over `INLINE_BYTES` go to `<path>.data` beside it.

    Args:
        part: what to trace.
        feed: the example; dynamic sizes in it exceed 1.
        path: of the ONNX file.

    Raises:
        ExportError: a module is in training mode, or PyTorch cannot export it.
    """
    import torch

    module = part.graph_module() if part.graph_module else part.module
    assert_evaluation_mode(part.name, module)
    example = {spec.name: torch.from_numpy(np.array(feed[spec.name])) for spec in part.inputs}
    dynamic = {
        spec.name: {axis: dim for axis, dim in enumerate(spec.dims) if isinstance(dim, str)} for spec in part.inputs
    }
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                kwargs=example,
                dynamo=True,
                opset_version=OPSET,
                input_names=[spec.name for spec in part.inputs],
                output_names=[spec.name for spec in part.outputs],
                dynamic_shapes=dynamic,
                verbose=False,
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise ExportError(f"{part.name}: PyTorch cannot export this network ({told[0][:160]})") from None
    if program is None:
        raise ExportError(f"{part.name}: torch.onnx.export returned nothing")
    with_fast_operators(program.model)
    _declare_contract(program.model.graph, part)
    weights = sum(value.const_value.nbytes for value in program.model.graph.initializers.values() if value.const_value)
    program.save(str(path), external_data=weights > INLINE_BYTES)


def _declare_contract(graph: Any, part: Exportable) -> None:
    """Gives inputs and outputs the dimension names of the contract; the exporter invents names and unifies some.

    Where it unified two that the contract keeps apart (a mask for each prompt, or one for all), what lies between may
    have either size: it loses its name, because ONNX Runtime lets values of one name share their memory.
    """
    import onnx_ir

    meant: dict[str, set[str]] = {}
    for value, spec in zip(graph.inputs, part.inputs, strict=True):
        for found, dim in zip(value.shape, spec.dims, strict=True):
            if isinstance(dim, str):
                meant.setdefault(str(found), set()).add(dim)
    unified = {found for found, names in meant.items() if len(names) > 1}
    for node in graph:
        for value in node.outputs:
            if value.shape is not None and unified & {str(dim) for dim in value.shape}:
                value.shape = onnx_ir.Shape([None if str(dim) in unified else dim for dim in value.shape])
    for values, specs in ((graph.inputs, part.inputs), (graph.outputs, part.outputs)):
        for value, spec in zip(values, specs, strict=True):
            value.shape = onnx_ir.Shape(spec.dims)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's progress prints and deprecation warnings are about itself, not about the user's model."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def assert_evaluation_mode(part: str, module: Any) -> None:
    """Normalisation exported in training mode uses the batch's own statistics, and nothing else would notice."""
    training = [name or part for name, inner in module.named_modules() if inner.training]
    if training:
        raise ExportError(f"{part}: {training[0]} is in training mode; call .eval() before the export")


def node_counts(path: Path) -> dict[str, int]:
    """How often each operator stands in a graph, most frequent first."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    return dict(Counter(node.op_type for node in graph.node).most_common())
