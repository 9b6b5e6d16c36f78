"""Floating-point operations of a module's call, counted without computing anything."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import nn

Values = Mapping[str, NDArray[Any]]
NO_VALUES: Values = {}


def count_flops(module: nn.Module, shapes: Mapping[str, tuple[int, ...]], values: Values = NO_VALUES) -> int | None:
    """The floating-point operations of one call with inputs of these shapes; a multiply-add counts as two.

    PyTorch's `FlopCounterMode` counts matrix products, convolutions and attention, and nothing elementwise. It counts
    on fake tensors, which have a shape and no numbers; a module that cannot run on them is run once on ones instead,
    with the same count. Either way the module itself stays as it is.

    Args:
        module: in evaluation mode; its forward takes the inputs by name.
        shapes: input → its shape; all are float32.
        values: inputs whose numbers decide sizes, as SAM's `orig_im_size` [2] decides that of the masks. They win over
            `shapes`.

    Returns:
        None where a size depends on the numbers of an input that is not among `values`, or where the inputs do not fit.
    """
    from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

    try:
        return _count(module, _inputs(module, shapes, values, fake=True))
    except (DataDependentOutputException, DynamicOutputShapeException):
        return None  # ones would give a count, and not the one asked for
    except Exception:  # whatever an operator without a rule for fake tensors raises
        return _count_really(module, shapes, values)


def _count_really(module: nn.Module, shapes: Mapping[str, tuple[int, ...]], values: Values) -> int | None:
    try:
        return _count(module, _inputs(module, shapes, values, fake=False))
    except (RuntimeError, TypeError, ValueError, IndexError):  # what PyTorch says of inputs that do not fit
        return None


def _inputs(
    module: nn.Module, shapes: Mapping[str, tuple[int, ...]], values: Values, fake: bool
) -> dict[str, torch.Tensor]:
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    first = next(chain(module.parameters(), module.buffers()), None)
    device = torch.device("cpu") if first is None else first.device
    given = {name: torch.from_numpy(np.array(value)).to(device) for name, value in values.items()}
    free = {name: shape for name, shape in shapes.items() if name not in given}
    if not fake:
        return given | {name: torch.ones(shape, device=device) for name, shape in free.items()}
    # The mode is left again before the module runs: whatever meets a fake tensor is fake, and the arithmetic on values
    # alone stays real, so that a size can be read off it.
    with FakeTensorMode(allow_non_fake_inputs=True):
        return given | {name: torch.empty(shape, device=device) for name, shape in free.items()}


def _count(module: nn.Module, inputs: Mapping[str, torch.Tensor]) -> int:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    # A module that keeps something between calls would keep a fake tensor. The copy shares all weights.
    shared: dict[int, Any] = {id(tensor): tensor for tensor in chain(module.parameters(), module.buffers())}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        copy.deepcopy(module, shared)(**inputs)
    return int(counter.get_total_flops())
