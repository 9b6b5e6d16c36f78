"""Counts what PyTorch and ONNX Runtime bring from a device to the host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from runners.onnxruntime import OrtTensor


@dataclass(frozen=True)
class Copy:
    """One tensor that came to the host."""

    dtype: str
    shape: tuple[int, ...]


class Copies(list[Copy]):
    """All of them, in order."""

    def require_only(self, dtypes: set[str]) -> None:
        """Nothing of another type came, and something did: else nothing was counted."""
        assert self, "no copy was seen at all"
        others = [one for one in self if one.dtype not in dtypes]
        assert not others, f"came to the host though nobody needs it there: {others}"


@contextmanager
def counting_copies(kind: str = "cuda") -> Iterator[Copies]:
    """Notes each call that takes a tensor of this kind of device to the host.

    One number (`item`, `bool`) is no array and is not counted.
    """
    found = Copies()
    fetch = OrtTensor.numpy

    def fetched(self: OrtTensor) -> Any:
        if self.value.device_name() == kind:
            found.append(Copy(self.dtype, self.shape))
        return fetch(self)

    class Watching(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            source = args[0] if args and isinstance(args[0], torch.Tensor) else None
            came = isinstance(result, torch.Tensor) and result.device.type == "cpu"
            if came and source is not None and source.device.type == kind:
                found.append(Copy(str(source.dtype).removeprefix("torch."), tuple(source.shape)))
            return result

    OrtTensor.numpy = fetched  # type: ignore[method-assign]
    try:
        with Watching():
            yield found
    finally:
        OrtTensor.numpy = fetch  # type: ignore[method-assign]
