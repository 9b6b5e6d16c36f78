"""Exports made once and used again, as long as weights, precision, exporters and libraries are the same."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from benchmark.files import sha256_text
from benchmark.lanes import module_source
from benchmark.results import Artifact
from exporters.exportable import Exportable
from exporters.fetch import cache_dir
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


def kept_for_all_runs(export: Export) -> Export:
    """The same export, kept in the user's cache: another run takes it from there.

    The folder's name, which `ensure_artifact` gives, says what it holds: it changes with weights, precision, exporters
    and libraries. Nothing is taken whose files are not what its manifest says; a folder that is damaged is made again.

    Args:
        export: writes the artifact to a folder; not called where the cache has it.
    """

    def take_or_export(folder: Path, precision: str) -> Manifest:
        kept = cache_dir() / ARTIFACTS / folder.name
        taken = _take(kept, folder)
        if taken is not None:
            return taken
        manifest = export(folder, precision)
        with suppress(OSError):  # a cache that cannot be written costs the next run time, nothing else
            _copy_in_one_step(folder, kept)
        return manifest

    return take_or_export


def _take(kept: Path, folder: Path) -> Manifest | None:
    """Brings a kept artifact to the run's folder; None where there is none, or a damaged one, which is removed.

    The files are checked where they will be used, so that nothing can change between check and use.
    """
    if not kept.is_dir():
        return None
    try:
        _copy_in_one_step(kept, folder)
        return load_manifest(folder)
    except (OSError, ExportError):
        for damaged in (folder, kept):
            shutil.rmtree(damaged, ignore_errors=True)
        return None


def _copy_in_one_step(source: Path, target: Path) -> None:
    """Copies a folder of files under a name of its own, and renames it. A target that is there meanwhile stays.

    Files are linked where the disk allows, since weights are large: whoever removes one of the two folders leaves the
    other whole.

    Raises:
        OSError: a disk is full, or cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        for file in source.iterdir():
            _link_or_copy(file, temporary / file.name)
        temporary.chmod(0o755)  # temporary folders are their owner's alone, but a cache may be a whole group's
        if not target.exists():
            temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another disk, a file system without links, or another user's file
        shutil.copyfile(source, target, follow_symlinks=False)


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
