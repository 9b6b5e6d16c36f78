"""Exports made once and used again, as long as weights, precision, opset and libraries are the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmark.files import sha256_text
from benchmark.lanes import module_source
from exporters.exportable import Exportable
from exporters.graph import OPSET
from exporters.manifest import ExportError, Manifest, load_manifest
from runners.base import ModuleSource
from runners.registry import FILE_PRECISION

ARTIFACTS = "artifacts"

Export = Callable[[Path, str], Manifest]
"""Writes an artifact of a precision to a folder."""


def ensure_artifact(
    run_dir: Path, name: str, weights: str, parts: Sequence[Exportable], precision: str, export: Export,
    libraries: Mapping[str, str],
) -> list[ModuleSource]:  # fmt: skip
    """The parts' modules with their verified ONNX files, exporting them if the run folder does not hold them yet.

    Args:
        run_dir: the run's folder.
        name: the model's name, for the folder.
        weights: changes with the weights.
        parts: what is exported.
        precision: to run in. The artifact of one that has a file of its own may keep a part in fp32, which its manifest
            says; `bf16` is made of the fp32 file when it is loaded.
        export: writes the artifact to a folder.
        libraries: versions; another exporter may write another graph.

    Raises:
        ExportError: the export fails or does not compute what PyTorch computes.
    """
    made_of = FILE_PRECISION.get(precision, precision)
    key = sha256_text(weights, made_of, str(OPSET), json.dumps(dict(libraries), sort_keys=True))
    folder = run_dir / ARTIFACTS / f"{name}-{made_of}-{key[:10]}"
    try:
        manifest = load_manifest(folder)
    except ExportError:
        shutil.rmtree(folder, ignore_errors=True)  # the run's own, damaged or of another version
        manifest = export(folder, made_of)
    return [
        module_source(part, folder, precision if made_of != precision else manifest.files[part.name].precision)
        for part in parts
    ]
