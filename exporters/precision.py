"""Smaller types for verified fp32 files: fp16 for GPUs, int8 for CPUs. The ladder says whether they are good enough."""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporters.base import Reduction
from exporters.exportable import Feed
from exporters.graph import INLINE_BYTES
from exporters.manifest import ExportError, external_locations
from exporters.parity import Answer
from exporters.processor import has_vnni

PRECISIONS = ("fp32", "fp16", "int8", "int8-static")
"""`int8` quantises activations at run time; `int8-static` beforehand, with ranges seen on calibration slices."""


@dataclass(frozen=True)
class Quantised:
    """What of a graph becomes int8.

    Attributes:
        operators: those that ONNX Runtime has int8 kernels for.
        signed_at_run_time: weights where activations are quantised at run time; its ConvInteger takes unsigned ones.
        not_after: what of them reads the answer of such an operator stays as it is.
    """

    operators: tuple[str, ...]
    signed_at_run_time: bool
    not_after: tuple[str, ...] = ()


PRODUCTS = Quantised(("MatMul", "Gemm"), signed_at_run_time=True, not_after=("Gelu",))
"""Of a SAM: its convolutions are few, and the CPU has slow int8 kernels for them. What a Gelu lets through has a few
large values, for whose sake all others are rounded to few steps: the products after it make up most of the error
(docs/export.md)."""

CONVOLUTIONS = Quantised(("Conv", "MatMul", "Gemm"), signed_at_run_time=False)
"""Of a UNet. ConvTranspose has no int8 kernel and stays in fp32, as do normalisation and activations between."""


def sam_reduction(precision: str, answers: Sequence[Answer]) -> Reduction | None:
    """How a SAM's files get a precision; None for fp32, which they have.

    Args:
        precision: one of `PRECISIONS`.
        answers: PyTorch's on the calibration slices.

    Raises:
        ExportError: the precision is unknown, or `int8-static` has no slices.
    """
    feeds = _calibration_feeds(answers)
    _require_known(precision, bool(answers))

    def apply(part: str, path: Path) -> tuple[str, list[str]]:
        if part == "decoder" and precision in DECODER_STAYS:
            return "fp32", [DECODER_STAYS[precision]]
        return _reduce(precision, path, PRODUCTS, feeds.get(part, []))

    return None if precision == "fp32" else Reduction(precision, apply)


def unet_reduction(precision: str, windows: Sequence[Feed]) -> Reduction | None:
    """How a UNet's file gets a precision; None for fp32, which it has.

    Args:
        precision: one of `PRECISIONS`.
        windows: to calibrate with.

    Raises:
        ExportError: the precision is unknown, or `int8-static` has no windows.
    """
    _require_known(precision, bool(windows))
    return (
        None
        if precision == "fp32"
        else Reduction(precision, lambda part, path: _reduce(precision, path, CONVOLUTIONS, windows))
    )


def _require_known(precision: str, calibrated: bool) -> None:
    if precision not in PRECISIONS:
        raise ExportError(f"precision {precision!r} is not known; choose from {', '.join(PRECISIONS)}")
    if precision == "int8-static" and not calibrated:
        raise ExportError("precision int8-static: needs slices to calibrate with; give a task with --data TASK_DIR")


DECODER_STAYS = {
    "int8": "the decoder stays in fp32: in int8 it is no faster, and its masks are worse",
    "int8-static": "the decoder stays in fp32: with calibrated ranges LiteMedSAM's masks for point prompts fell apart",
}
"""Precision → why it is the encoder's alone; docs/export.md has the numbers."""

SEVEN_BITS = "weights have 7 bits, because this processor lacks VNNI"
EIGHT_BITS = "weights have 8 bits, which wants a processor with VNNI, as this one; on an older one answers overflow"


def _calibration_feeds(answers: Sequence[Answer]) -> dict[str, list[Feed]]:
    return {"encoder": [{"image": answer.sample.image} for answer in answers]}


def _reduce(precision: str, path: Path, quantised: Quantised, feeds: Sequence[Feed]) -> tuple[str, list[str]]:
    makers: Mapping[str, Callable[[Path, Path], None]] = {
        "fp16": to_fp16,
        "int8": lambda source, target: to_int8(source, target, quantised),
        "int8-static": lambda source, target: to_int8_static(source, target, feeds, quantised),
    }
    # Under its own name, because a graph names the file that holds its weights; what replaces it has the same name.
    with tempfile.TemporaryDirectory(dir=path.parent) as aside:
        for name in [*external_locations(path), path.name]:
            path.with_name(name).rename(Path(aside) / name)
        with _quiet():
            makers[precision](Path(aside) / path.name, path)
    signed = precision == "int8-static" or (precision == "int8" and quantised.signed_at_run_time)
    return precision, [EIGHT_BITS if has_vnni() else SEVEN_BITS] if signed else []


def to_fp16(source: Path, target: Path) -> None:
    """Weights and arithmetic of the networks in fp16; see `exporters.half`."""
    import onnx_ir

    from exporters.half import to_half

    model = to_half(onnx_ir.load(source))
    weights = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
    onnx_ir.save(model, target, external_data=f"{target.name}.data" if weights > INLINE_BYTES else None)


def onnxruntime_quantization() -> Any:
    """ONNX Runtime's quantiser, imported without what its import leaves behind.

    It appends a folder to `sys.path` that has a module `benchmark`. A process that is spawned afterwards gets the same
    path, and, where sambench is installed from its folder, would take that module for ours.
    """
    before = list(sys.path)
    import onnxruntime.quantization

    sys.path[:] = before
    return onnxruntime.quantization


def to_int8(source: Path, target: Path, quantised: Quantised = PRODUCTS) -> None:
    """Weights of products or convolutions as int8, activations quantised at run time."""
    quantisation = onnxruntime_quantization()
    _forget_inner_shapes(source)
    quantisation.quantize_dynamic(
        source,
        target,
        op_types_to_quantize=list(quantised.operators),
        nodes_to_exclude=_kept(source, quantised),
        per_channel=quantised.signed_at_run_time,  # an unsigned weight's zero point is one for all channels
        reduce_range=quantised.signed_at_run_time and not has_vnni(),
        weight_type=quantisation.QuantType.QInt8 if quantised.signed_at_run_time else quantisation.QuantType.QUInt8,
        use_external_data_format=bool(external_locations(source)),
        extra_options={"MatMulConstBOnly": True},
    )


def to_int8_static(source: Path, target: Path, feeds: Sequence[Feed], quantised: Quantised = PRODUCTS) -> None:
    """Weights and activations of products or convolutions as int8, with the ranges seen on the calibration feeds."""
    quantisation = onnxruntime_quantization()

    class Reader(quantisation.CalibrationDataReader):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            self.left: Iterator[Feed] = iter(feeds)

        def get_next(self) -> dict[str, Any] | None:
            feed = next(self.left, None)
            return None if feed is None else dict(feed)

    _forget_inner_shapes(source)
    quantisation.quantize_static(
        source,
        target,
        Reader(),
        quant_format=quantisation.QuantFormat.QDQ,
        op_types_to_quantize=list(quantised.operators),
        nodes_to_exclude=_kept(source, quantised),
        per_channel=True,
        reduce_range=not has_vnni(),
        activation_type=quantisation.QuantType.QUInt8,
        weight_type=quantisation.QuantType.QInt8,
        use_external_data_format=bool(external_locations(source)),
        extra_options={"MatMulConstBOnly": True},
    )


def _kept(path: Path, quantised: Quantised) -> list[str]:
    """The names of the nodes that stay as they are; the quantiser first makes a MatMul of a Gemm, and renames it."""
    import onnx

    nodes = onnx.load(str(path), load_external_data=False).graph.node
    makers = {output: node.op_type for node in nodes for output in node.output}
    return [
        name
        for node in nodes
        for name in (node.name, f"{node.name}_MatMul")
        if node.op_type in quantised.operators and any(makers.get(read) in quantised.not_after for read in node.input)
    ]


def _forget_inner_shapes(path: Path) -> None:
    """The quantiser turns Gemm into MatMul and infers shapes anew; those written before contradict it."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    del model.graph.value_info[:]
    onnx.save(model, str(path))


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser's advice to pre-process concerns graphs that were not optimised; ours come from dynamo."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
