"""CUDA graphs in ONNX Runtime: fixed addresses for every shape, and nothing that the next call overwrites.

A graph replays its kernels on the addresses and with the sizes that it was captured with. So every combination of input
shapes gets input and output tensors of its own and a graph of its own (`gpu_graph_id`): a call's inputs are copied into
the fixed ones, and its answers are copied out of them, because a caller may hold them when the next call replays. Both
copies stay on the device and count as part of the call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnxruntime as ort

from runners.base import Shapes, Signature
from runners.ort_tensor import OrtTensor

if TYPE_CHECKING:
    import torch

GRAPH_ENTRY = "gpu_graph_id"
"""The run option that names a graph (`onnxruntime_run_options_config_keys.h`)."""

NO_GRAPH = -1
"""Its value for a run without one."""

MOST_GRAPHS = 16
"""Each holds all the memory of its inner tensors as long as the session lives. Further shapes run without one."""

Key = tuple[tuple[str, tuple[int, ...]], ...]


def obstacle(signature: Signature) -> str | None:
    """Why a module can have no graph, told by its signature; None if nothing is against it.

    An output whose size is no size of an input comes from an input's values, and a graph would replay the first call's.

    Args:
        signature: of the module.
    """
    known = {dim for spec in signature.inputs for dim in spec.dims if isinstance(dim, str)}
    for spec in signature.outputs:
        free = [dim for dim in spec.dims if isinstance(dim, str) and dim not in known]
        if free:
            sizes = f"size{'s' * (len(free) > 1)} {', '.join(map(str, free))} of output {spec.name}"
            return f"the {sizes} come{'s' * (len(free) == 1)} from an input's values and not from its shape"
    return None


def output_shapes(signature: Signature, shapes: Shapes) -> Shapes:
    """The shapes of the outputs of a module without an `obstacle`.

    Args:
        signature: of the module.
        shapes: of the inputs, as the signature has them.
    """
    sizes = {
        dim: size
        for spec in signature.inputs
        for dim, size in zip(spec.dims, shapes[spec.name], strict=True)
        if isinstance(dim, str)
    }
    return {
        spec.name: tuple(dim if isinstance(dim, int) else sizes[dim] for dim in spec.dims) for spec in signature.outputs
    }


class GraphIds:
    """Which graph a call replays: one for each combination of input shapes, up to `MOST_GRAPHS`."""

    def __init__(self, most: int = MOST_GRAPHS) -> None:
        self._most = most
        self._known: dict[Key, int] = {}
        self.without = 0

    def of(self, shapes: Shapes) -> int:
        """The graph for inputs of these shapes, or `NO_GRAPH`. Their order does not matter."""
        key: Key = tuple(sorted(shapes.items()))
        if key not in self._known:
            if len(self._known) >= self._most:
                self.without += 1
                return NO_GRAPH
            # Not 0, which stands for runs that name none.
            self._known[key] = len(self._known) + 1
        return self._known[key]

    def __len__(self) -> int:
        return len(self._known)


def run_options(graph: int) -> Any:
    """Options of a run that captures or replays a graph, or runs without one."""
    made = ort.RunOptions()
    made.add_run_config_entry(GRAPH_ENTRY, str(graph))
    return made


@dataclass(frozen=True)
class _Fixed:
    inputs: dict[str, torch.Tensor]
    outputs: dict[str, torch.Tensor]
    binding: Any
    options: Any


class GraphRuns:
    """The calls of one session whose provider captures graphs. On the CPU the same code runs, and nothing is captured.

    Args:
        session: opened with graph capture.
        signature: of the module, without an `obstacle`.
        most: graphs.
    """

    def __init__(self, session: Any, signature: Signature, most: int = MOST_GRAPHS) -> None:
        self._session, self._signature = session, signature
        self._fixed: dict[int, _Fixed] = {}
        self.ids = GraphIds(most)

    def run(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
        """Copies the inputs, captures or replays, and copies the outputs, on PyTorch's current stream.

        Args:
            inputs: on the session's device.

        Returns:
            None if this call has no graph and must be run without one.
        """
        shapes: Shapes = {name: tuple(value.shape) for name, value in inputs.items()}
        graph = self.ids.of(shapes)
        if graph == NO_GRAPH:
            return None
        fixed = self._fixed.get(graph)
        if fixed is None:
            fixed = self._fixed[graph] = self._fix(graph, inputs, shapes)
        else:
            for name, value in inputs.items():
                fixed.inputs[name].copy_(value)
        self._session.run_with_iobinding(fixed.binding, fixed.options)
        return {name: value.clone() for name, value in fixed.outputs.items()}

    def _fix(self, graph: int, inputs: Mapping[str, torch.Tensor], shapes: Shapes) -> _Fixed:
        import torch

        held = {name: value.clone(memory_format=torch.contiguous_format) for name, value in inputs.items()}
        device = next(iter(held.values())).device
        sizes = output_shapes(self._signature, shapes)
        made = {
            spec.name: torch.empty(sizes[spec.name], dtype=getattr(torch, spec.dtype), device=device)
            for spec in self._signature.outputs
        }
        binding = self._session.io_binding()
        for name, value in held.items():
            binding.bind_ortvalue_input(name, OrtTensor.of_torch(value).value)
        for name, value in made.items():
            binding.bind_ortvalue_output(name, OrtTensor.of_torch(value).value)
        return _Fixed(held, made, binding, run_options(graph))
