"""Tracing, the slow part of an export, done once for each module of a test run; what follows it is done every time.

For tests of something else than the exporter. A copy of the wrong graph could not pass: every export is held against
PyTorch after it was written.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from exporters import graph
from exporters.exportable import Exportable, Feed

PLAIN = (str, int, float, bool, tuple, list, type(None))


class TracedOnce:
    """In the place of `export_onnx`: the graphs it has met are copied.

    Args:
        folder: where they are kept, the same for all processes of a test run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, part: Exportable, feed: Feed, path: Path) -> None:
        kept = self._folder / key_of(part, feed)
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(kept.with_suffix(".lock")):
            if not kept.exists():
                making = kept.with_suffix(".partial")
                shutil.rmtree(making, ignore_errors=True)
                making.mkdir()
                graph.export_onnx(part, feed, making / path.name)
                making.rename(kept)
        for file in kept.iterdir():
            shutil.copy(file, path.parent / file.name)

    @contextmanager
    def instead(self) -> Iterator[None]:
        """Every export uses it meanwhile."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("exporters.base.export_onnx", self)
            yield


def key_of(part: Exportable, feed: Feed) -> str:
    """Of all that a graph follows from: the module's classes, settings and weights, the contract, and the example."""
    module = part.graph_module() if part.graph_module else part.module
    told = hashlib.sha256()
    contract = (part.name, part.inputs, part.outputs, graph.OPSET, graph.INLINE_BYTES)
    example = [(name, value.shape, str(value.dtype)) for name, value in sorted(feed.items())]
    told.update(repr((contract, example)).encode())
    for name, inner in module.named_modules():
        told.update(repr((name, type(inner).__module__, type(inner).__qualname__, _settings(inner))).encode())
    for name, tensor in chain(module.named_parameters(), module.named_buffers()):
        told.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        told.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return told.hexdigest()[:32]


def _settings(module: Any) -> list[tuple[str, Any]]:
    return sorted((name, repr(value)) for name, value in vars(module).items() if isinstance(value, PLAIN))
