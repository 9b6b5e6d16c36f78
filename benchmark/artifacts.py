"""Exports made once and used again, as long as weights, precision, exporters and libraries are the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmark.files import sha256_text
from benchmark.lanes import module_source
from benchmark.results import Artifact
from exporters.exportable import Exportable
from exporters.manifest import MANIFEST_FILE, ExportError, Manifest, load_manifest
from exporters.recipe import exporter_digest
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
    key = sha256_text(weights, made_of, exporter_digest(), json.dumps(dict(libraries), sort_keys=True))
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


def artifact_facts(run_dir: Path, source: ModuleSource) -> Artifact | None:
    """What results tell of the artifact that a module comes from; None where it comes from none.

    Its files were held against the manifest's hashes when they were taken.
    """
    folder = source.onnx_path.parent if source.onnx_path else None
    if folder is None or not (folder / MANIFEST_FILE).is_file():
        return None
    manifest = Manifest.model_validate_json((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    files = [(entry.file, entry.sha256) for entry in manifest.files.values()]
    files += [(part.file, part.sha256) for entry in manifest.files.values() for part in entry.external]
    return Artifact(
        model=manifest.model,
        precision=manifest.precision,
        folder=folder.relative_to(run_dir).as_posix(),
        weights_sha256=manifest.weights.sha256,
        files=dict(files),
    )
