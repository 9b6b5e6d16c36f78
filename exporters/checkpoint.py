"""Checkpoints are data from strangers: read as tensors only, never as pickled code."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

from exporters.base import ExportError


def load_checkpoint(path: Path) -> Any:
    """Loads a PyTorch checkpoint onto the CPU with `weights_only=True`.

    Raises:
        ExportError: the file is missing, truncated, no checkpoint, or holds anything but tensors and plain values.
    """
    import torch

    if not path.is_file():
        raise ExportError(f"{path}: no such checkpoint file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the refusal below says it better
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ExportError(
            f"{path}: refused, it is no checkpoint or holds more than weights (pickled code); save a plain state dict"
        ) from None
    except Exception as error:  # damaged bytes lead PyTorch's reader to IndexError, struct.error, AssertionError, …
        raise ExportError(
            f"{path}: truncated or no PyTorch checkpoint ({type(error).__name__}); get it again"
        ) from None


def load_state(module: Any, state: Any, path: Path) -> None:
    """Puts a state dict into a module, every tensor in its place.

    Raises:
        ExportError: names or shapes do not fit.
    """
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise ExportError(f"{path}: holds no state dict; save the model's `state_dict()`")
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        detail = (lines or [str(error)])[0][:160]
        raise ExportError(f"{path}: the weights are of another model: {detail}") from None
