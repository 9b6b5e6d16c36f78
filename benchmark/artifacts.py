"""Exports made once and used again, as long as weights, opset and libraries are the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmark.files import sha256_text
from benchmark.lanes import module_source
from exporters.base import OPSET, Exportable
from exporters.manifest import ExportError, Manifest, load_manifest
from runners.base import ModuleSource

ARTIFACTS = "artifacts"


def ensure_artifact(
    run_dir: Path, name: str, checkpoint_sha256: str, parts: Sequence[Exportable],
    export: Callable[[Path], Manifest], libraries: Mapping[str, str],
) -> list[ModuleSource]:  # fmt: skip
    """The parts' modules with their verified ONNX files, exporting them if the run folder does not hold them yet.

    Args:
        run_dir: the run's folder.
        name: the model's name, for the folder.
        checkpoint_sha256: of the weights.
        parts: what is exported.
        export: writes the artifact to a folder.
        libraries: versions; another exporter may write another graph.

    Raises:
        ExportError: the export fails or does not compute what PyTorch computes.
    """
    key = sha256_text(checkpoint_sha256, str(OPSET), json.dumps(dict(libraries), sort_keys=True))
    folder = run_dir / ARTIFACTS / f"{name}-{key[:10]}"
    try:
        load_manifest(folder)
    except ExportError:
        export(folder)
    return [module_source(part, folder) for part in parts]
