"""What can be exported: a module, its contract, and inputs to hold the export against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from exporters.manifest import TensorSpec

Feed = Mapping[str, NDArray[Any]]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Exportable:
    """A module, its contract, and inputs of several shapes to hold the export against.

    Attributes:
        name: the file's stem: `encoder`, `decoder`, `unet`.
        module: a `torch.nn.Module` in evaluation mode; its forward takes the inputs by name. PyTorch runs this one.
        inputs: in the order of the module's forward.
        outputs: in the order it returns them.
        feeds: inputs to verify with; the first is also the example that is traced, so its dynamic sizes exceed 1.
        tolerance: the largest absolute difference from PyTorch that is accepted, per output.
        graph_module: makes the module that is traced, where another formulation gives a faster graph; it is held
            against `module` like any export.
        reload: makes the module anew from its weights, in this process or in another; for one too large to be sent.
    """

    name: str
    module: Any
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    feeds: Callable[[], Sequence[Feed]]
    tolerance: Mapping[str, float]
    graph_module: Callable[[], Any] | None = None
    reload: Callable[[], Any] | None = None
