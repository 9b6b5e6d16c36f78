"""An ONNX file held against PyTorch: the same inputs, the largest differences, and what is too much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.exportable import Arrays, Exportable, Feed
from exporters.manifest import ExportError


def run_pytorch(part: Exportable, feeds: Sequence[Feed]) -> tuple[list[Arrays], int]:
    """PyTorch's outputs for every feed, and the floating-point operations of the last one (a multiply-add is two)."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    outputs: list[Arrays] = []
    flops = 0
    for feed in feeds:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            result = part.module(**{name: torch.from_numpy(np.array(value)) for name, value in feed.items()})
        values = (result,) if isinstance(result, torch.Tensor) else result
        outputs.append({spec.name: value.numpy() for spec, value in zip(part.outputs, values, strict=True)})
        flops = counter.get_total_flops()
    return outputs, flops


def compare(part: Exportable, path: Path, feeds: Sequence[Feed], references: Sequence[Arrays]) -> dict[str, float]:
    """Runs every feed through ONNX Runtime on the CPU.

    Returns:
        The largest absolute difference per output over all feeds; NaN where an output is not finite.

    Raises:
        ExportError: ONNX Runtime cannot load or run the file, or a shape differs.
    """
    session = cpu_session(path)
    worst = dict.fromkeys((spec.name for spec in part.outputs), 0.0)
    for feed, reference in zip(feeds, references, strict=True):
        for name, got in zip(worst, run_session(session, path, list(worst), feed), strict=True):
            if reference[name].shape != got.shape:
                raise ExportError(f"{path.name}: {name} is {got.shape} where PyTorch gives {reference[name].shape}")
            worst[name] = float(np.maximum(worst[name], np.abs(got - reference[name]).max()))  # keeps NaN
    return worst


def verify(part: Exportable, path: Path, feeds: Sequence[Feed]) -> dict[str, float]:
    """Runs every feed through PyTorch and through ONNX Runtime on the CPU.

    Returns:
        The largest absolute difference per output, over all feeds.

    Raises:
        ExportError: a shape differs, or a difference exceeds the part's tolerance.
    """
    references, _ = run_pytorch(part, feeds)
    errors = compare(part, path, feeds, references)
    require_within_tolerance(part, path, errors)
    return errors


def require_within_tolerance(part: Exportable, path: Path, errors: Mapping[str, float]) -> None:
    """Refuses an export that computes something else.

    Raises:
        ExportError: an output differs by more than the part's tolerance.
    """
    for name, error in errors.items():
        # `not <=` also catches NaN, which compares false with everything.
        if not error <= part.tolerance[name]:
            raise ExportError(
                f"{path.name}: {name} differs from PyTorch by {error:.3g}, over {part.tolerance[name]:.3g}; this graph "
                "does not compute what the module computes"
            )


def cpu_session(path: Path) -> Any:
    """The file in ONNX Runtime on the CPU.

    Raises:
        ExportError: it cannot be loaded.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises classes of its own that share no base but Exception
        raise ExportError(f"{path.name}: ONNX Runtime cannot load it ({' '.join(str(error).split())})") from None


def run_session(session: Any, path: Path, outputs: Sequence[str], feed: Feed) -> list[NDArray[Any]]:
    """Runs a file that `cpu_session` opened.

    Raises:
        ExportError: it does not take these inputs, or has no such outputs.
    """
    try:
        results: list[NDArray[Any]] = session.run(list(outputs), dict(feed))
    except Exception as error:  # ValueError for a missing input, ONNX Runtime's own classes for the rest
        raise ExportError(f"{path.name}: ONNX Runtime cannot run it ({' '.join(str(error).split())})") from None
    return results
