"""A user's model in the form that runners load."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import InputError
from exporters.manifest import TensorSpec, load_manifest
from runners.base import Array, ModuleSource, Signature

if TYPE_CHECKING:
    from torch import nn


def onnx_source(path: Path, precision: str) -> ModuleSource:
    """Any ONNX file, its signature read from its graph.

    Raises:
        InputError: it is no ONNX file.
    """
    import onnx

    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name an ONNX file") from None
    except Exception as error:  # protobuf's DecodeError; that package is onnx's own affair
        raise InputError(f"{path}: is no ONNX file ({type(error).__name__}); export the model again") from None
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [_spec(value) for value in graph.input if value.name not in weights]
    outputs = [_spec(value) for value in graph.output]
    return ModuleSource(path.stem, Signature.of(inputs, outputs), onnx_path=path, precision=precision)


def _spec(value: Any) -> TensorSpec:
    """Of a graph's input or output; a dimension without name or size gets a name of its own."""
    import onnx

    tensor = value.type.tensor_type
    dims = tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or f"{value.name}_{index}"
        for index, dim in enumerate(tensor.shape.dim)
    )
    return TensorSpec(name=value.name, dims=dims, dtype=str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)))


def module_source_of(module: nn.Module, inputs: Mapping[str, Array], precision: str) -> ModuleSource:
    """A PyTorch module whose forward takes the inputs by name; it is called once to learn its outputs.

    Raises:
        InputError: it answers with neither a tensor nor a sequence of tensors.
    """
    import torch

    # Runners move a module to their device and set it to evaluation mode: a copy, so that the user's own stays.
    own = copy.deepcopy(module).eval()
    with torch.inference_mode():
        result = own(**{name: torch.from_numpy(array) for name, array in inputs.items()})
    values = (result,) if isinstance(result, torch.Tensor) else result
    if not isinstance(values, (tuple, list)) or not all(isinstance(value, torch.Tensor) for value in values):
        raise InputError(
            f"{type(module).__name__}: answers with a {type(result).__name__}; wrap it so that it returns a tensor or "
            "a tuple of tensors"
        )
    names = ["output"] if len(values) == 1 else [f"output_{index}" for index in range(len(values))]
    return ModuleSource(
        type(module).__name__,
        Signature.of(
            [TensorSpec(name=name, dims=array.shape, dtype=str(array.dtype)) for name, array in inputs.items()],
            [
                TensorSpec(name=name, dims=tuple(value.shape), dtype=str(value.dtype).removeprefix("torch."))
                for name, value in zip(names, values, strict=True)
            ],
        ),
        torch_module=lambda: copy.deepcopy(own),
        precision=precision,
    )


def artifact_source(folder: Path, part: str) -> ModuleSource:
    """A module of an artifact that `sambench export` wrote.

    Raises:
        InputError: the artifact has no such module.
        ArtifactChangedError: it is not what its manifest says.
    """
    files = load_manifest(folder).files
    entry = files.get(part)
    if entry is None:
        raise InputError(f"{folder}: has no module {part!r}; choose from {', '.join(sorted(files))}")
    signature = Signature.of(entry.inputs, entry.outputs)
    return ModuleSource(part, signature, onnx_path=folder / entry.file, precision=entry.precision)
