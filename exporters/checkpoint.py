"""Checkpoints are data from strangers: read as tensors only, never as pickled code."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from exporters.manifest import ExportError


def load_checkpoint(path: Path, allowed: Sequence[Any] = ()) -> Any:
    """Loads a PyTorch checkpoint onto the CPU with `weights_only=True`.

    Args:
        path: of the file.
        allowed: harmless types that it may hold besides, as `torch.serialization.safe_globals` takes them.

    Raises:
        ExportError: the file is missing, truncated, no checkpoint, or holds anything but tensors and plain values.
    """
    import torch

    if not path.is_file():
        raise ExportError(f"{path}: no such checkpoint file")
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(allowed)):
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


WRAPPERS = ("model", "state_dict", "model_state_dict", "net", "network", "network_weights")
"""Where training scripts put the state dict in a larger dictionary; MedSAM's use `model`."""

PREFIXES = ("module.", "_orig_mod.", "network.", "net.", "model.")
"""What data-parallel training, compilation, or a class around the network puts before every name."""


def load_state(module: Any, state: Any, path: Path, unused: tuple[str, ...] = ()) -> None:
    """Puts a state dict into a module, every tensor in its place.

    Args:
        module: a `torch.nn.Module`.
        state: the state dict, bare or as training scripts wrap it; what all names begin with is dropped (`PREFIXES`).
        path: where it is from, for errors.
        unused: beginnings of names that have no place in the module.

    Raises:
        ExportError: names or shapes do not fit, or a weight is not finite.
    """
    state = _unwrapped(state)
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise ExportError(f"{path}: holds no state dict; save the model's `state_dict()`")
    own = module.state_dict().keys()
    while state and not own & state.keys() and (before := _common_prefix(state)):
        state = {name.removeprefix(before): value for name, value in state.items()}
    state = {name: value for name, value in state.items() if not name.startswith(unused or "\0")}
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        # One name tells enough: a wrong model lacks hundreds.
        first, *others = (lines or [str(error)])[0].split('", "', 1)
        told = first[:160] + ('", …' if others else "")
        raise ExportError(f"{path}: the weights are of another model: {told}; give a checkpoint of this one") from None
    for name, value in state.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ExportError(f"{path}: {name} holds NaN or infinity; get the checkpoint again or train it anew")


def _unwrapped(state: Any) -> Any:
    for key in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            return state[key]
    return state


def _common_prefix(names: Iterable[str]) -> str | None:
    return next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in names)), None)
