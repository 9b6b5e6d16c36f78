"""Where TensorRT's engines and timings are kept: a folder for everything that an engine depends on.

An engine holds kernels chosen on one kind of GPU by one version; built takes minutes, loaded seconds. The provider
names the files by itself, but looks at neither the weights nor the precision's options.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

VARIABLE = "SAMBENCH_TENSORRT_CACHE"
"""The environment variable that names another folder."""


@dataclass(frozen=True)
class EngineKey:
    """What an engine depends on.

    Attributes:
        artifact: `file_hash` of the ONNX file.
        gpu: its name.
        capability: its compute capability, as `9.0`.
        tensorrt: version.
        onnxruntime: version.
        precision: of the module.
        tf32: whether products may be in TF32.
        profile: the provider's options for shapes.
    """

    artifact: str
    gpu: str
    capability: str
    tensorrt: str
    onnxruntime: str
    precision: str
    tf32: bool
    profile: tuple[tuple[str, str], ...]

    @property
    def folder(self) -> str:
        """A name for it: readable in front, and different for keys that differ in anything."""
        text = json.dumps(asdict(self), sort_keys=True)
        gpu = "".join(letter if letter.isalnum() else "-" for letter in self.gpu).strip("-").lower()
        return f"{gpu}-{self.precision}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def file_hash(path: Path) -> str:
    """SHA-256 of an ONNX file and of the files beside it that hold its weights.

    Args:
        path: of the ONNX file.
    """
    from onnx import load
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    weights = [one for one in load(str(path), load_external_data=False).graph.initializer if uses_external_data(one)]
    beside = sorted({str(ExternalDataInfo(one).location) for one in weights})
    digest = hashlib.sha256()
    for part in (path, *(path.parent / name for name in beside)):
        with part.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def default_root() -> Path:
    """`$SAMBENCH_TENSORRT_CACHE`, else a folder of the user's cache."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "sambench" / "tensorrt"


def cache_options(root: Path, key: EngineKey) -> dict[str, str]:
    """The provider's options for its caches.

    Engines lie in a folder of their own for each key; timings of kernels, which TensorRT itself tells apart by layer
    and shape, are shared by all engines of one GPU and version.

    Args:
        root: of all caches.
        key: of the engine.
    """
    kernels = hashlib.sha256(f"{key.gpu} {key.capability} {key.tensorrt}".encode()).hexdigest()[:16]
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(root / "engines" / key.folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(root / "timings" / kernels),
    }
