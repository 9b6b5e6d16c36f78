"""Which sizes a TensorRT engine is built for: least, best and most, for every dynamic dimension of a module. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runners.base import Shapes, Signature

Range = tuple[int, int, int]
"""Least, best and most of a size."""

DEFAULTS: Mapping[str, Range] = {
    "B": (1, 8, 32),
    "P": (1, 8, 64),
    "N": (1, 2, 16),
    "R": (1, 1, 64),
    "Q": (1, 1, 64),
}
"""Dynamic dimension of our signatures → what it is in a run: windows or slices at once, prompts at once, points of a
prompt with a box's two corners, and the decoder's previous masks and their flags, one for all prompts or one each."""

PLANE: Range = (16, 256, 1024)
"""Of any other dimension, as the rows and columns of an image are."""


class ProfileError(ValueError):
    """The option `profile` cannot be meant so; the message names the dimension and the fix."""


def parse(given: Any) -> dict[str, Range]:
    """The option `profile`.

    Args:
        given: dimension → [least, best, most], whole numbers from 1 on that do not fall.

    Raises:
        ProfileError: it is something else.
    """
    if not isinstance(given, Mapping):
        raise ProfileError(f"option profile is {given!r}; give dimension: [least, best, most], as P: [1, 8, 64]")
    return {str(name): _range(str(name), value) for name, value in given.items()}


def _range(name: str, value: Any) -> Range:
    whole = isinstance(value, Sequence) and not isinstance(value, str)
    whole = whole and len(value) == 3 and all(type(size) is int and size >= 1 for size in value)
    if not whole or list(value) != sorted(value):
        raise ProfileError(
            f"option profile.{name} is {value!r}; give [least, best, most], whole numbers from 1 on, as [1, 8, 64]"
        )
    least, best, most = value
    return least, best, most


def ranges(signature: Signature, given: Mapping[str, Range]) -> dict[str, Range]:
    """Every dynamic dimension of the inputs with its range. A dimension that other modules have may be given too.

    Args:
        signature: of the module.
        given: ranges instead of `DEFAULTS`.
    """
    names = dict.fromkeys(dim for spec in signature.inputs for dim in spec.dims if isinstance(dim, str))
    return {name: given.get(name, DEFAULTS.get(name, PLANE)) for name in names}


def profile_options(signature: Signature, sizes: Mapping[str, Range]) -> dict[str, str]:
    """The provider's options `trt_profile_min_shapes`, `opt` and `max`: one profile for all inputs that vary.

    TensorRT wants every dynamic input in all three, as in `point_coords:1x1x2,point_labels:1x1`.

    Args:
        signature: of the module.
        sizes: of `ranges`; nothing to say where it is empty.
    """
    if not sizes:
        return {}
    varying = [spec for spec in signature.inputs if any(isinstance(dim, str) for dim in spec.dims)]
    return {
        f"trt_profile_{which}_shapes": ",".join(
            f"{spec.name}:" + "x".join(str(dim if isinstance(dim, int) else sizes[dim][place]) for dim in spec.dims)
            for spec in varying
        )
        for place, which in enumerate(("min", "opt", "max"))
    }


def beyond(signature: Signature, sizes: Mapping[str, Range], shapes: Shapes) -> str | None:
    """Which size of a call the profile does not hold, and what to set; None if it holds all.

    The provider would build the engine anew within the call, which takes minutes, and for the wider range from then on.

    Args:
        signature: of the module.
        sizes: of `ranges`.
        shapes: of the call's inputs, as the signature has them.
    """
    for spec in signature.inputs:
        for dim, size in zip(spec.dims, shapes[spec.name], strict=True):
            if isinstance(dim, str) and not sizes[dim][0] <= size <= sizes[dim][2]:
                least, best, most = sizes[dim]
                wider = [min(least, size), best, max(most, size)]
                return (
                    f"{dim} is {size} in input {spec.name}, and the TensorRT engine was built for {least} to {most}; "
                    f"set the option profile: {{{dim}: {wider}}}"
                )
    return None


def widened(met: dict[str, tuple[int, int]], signature: Signature, shapes: Shapes) -> bool:
    """Whether a call has sizes outside those met so far: without a profile, its engine is then built within the call.

    Args:
        met: dimension → least and most so far, which this widens.
        signature: of the module.
        shapes: of the call's inputs, as the signature has them.
    """
    before = dict(met)
    for spec in signature.inputs:
        for dim, size in zip(spec.dims, shapes[spec.name], strict=True):
            if isinstance(dim, str):
                least, most = met.get(dim, (size, size))
                met[dim] = min(least, size), max(most, size)
    return met != before
