"""Smaller types for verified fp32 files: fp16 for GPUs, int8 for CPUs. The ladder says whether they are good enough."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from exporters.base import Reduction
from exporters.exportable import Feed
from exporters.graph import INLINE_BYTES
from exporters.manifest import ExportError, external_locations
from exporters.parity import Answer

PRECISIONS = ("fp32", "fp16", "int8", "int8-static")
"""`int8` quantises activations at run time; `int8-static` beforehand, with ranges seen on calibration slices."""


def sam_reduction(precision: str, answers: Sequence[Answer]) -> Reduction | None:
    """How a SAM's files get a precision; None for fp32, which they have.

    Args:
        precision: one of `PRECISIONS`.
        answers: PyTorch's on the calibration slices.

    Raises:
        ExportError: the precision is unknown, or `int8-static` has no slices.
    """
    if precision not in PRECISIONS:
        raise ExportError(f"precision {precision!r} is not known; choose from {', '.join(PRECISIONS)}")
    if precision == "int8-static" and not answers:
        raise ExportError("precision int8-static: needs slices to calibrate with; give a task with --data TASK_DIR")
    feeds = _calibration_feeds(answers)

    def apply(part: str, path: Path) -> tuple[str, list[str]]:
        return _reduce(precision, part, path, feeds.get(part, []))

    return None if precision == "fp32" else Reduction(precision, apply)


DECODER_STAYS = "the decoder stays in fp32: with calibrated ranges the masks of LiteMedSAM's point prompts fell apart"


def _calibration_feeds(answers: Sequence[Answer]) -> dict[str, list[Feed]]:
    return {"encoder": [{"image": answer.sample.image} for answer in answers]}


def _reduce(precision: str, part: str, path: Path, feeds: Sequence[Feed]) -> tuple[str, list[str]]:
    if precision == "int8-static" and part == "decoder":
        return "fp32", [DECODER_STAYS]
    makers: Mapping[str, Callable[[Path, Path], None]] = {
        "fp16": to_fp16,
        "int8": to_int8,
        "int8-static": lambda source, target: to_int8_static(source, target, feeds),
    }
    # Under its own name, because a graph names the file that holds its weights; what replaces it has the same name.
    with tempfile.TemporaryDirectory(dir=path.parent) as aside:
        for name in [*external_locations(path), path.name]:
            path.with_name(name).rename(Path(aside) / name)
        with _quiet():
            makers[precision](Path(aside) / path.name, path)
    return precision, []


def to_fp16(source: Path, target: Path) -> None:
    """Weights and arithmetic of the networks in fp16; see `exporters.half`."""
    import onnx_ir

    from exporters.half import to_half

    model = to_half(onnx_ir.load(source))
    weights = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
    onnx_ir.save(model, target, external_data=f"{target.name}.data" if weights > INLINE_BYTES else None)


def to_int8(source: Path, target: Path) -> None:
    """Weights of matrix products as int8, activations quantised at run time."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    _forget_inner_shapes(source)
    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        use_external_data_format=bool(external_locations(source)),
        extra_options={"MatMulConstBOnly": True},
    )


def to_int8_static(source: Path, target: Path, feeds: Sequence[Feed]) -> None:
    """Weights and activations of matrix products as int8, with the ranges seen on the calibration feeds."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left: Iterator[Feed] = iter(feeds)

        def get_next(self) -> dict[str, Any] | None:
            feed = next(self.left, None)
            return None if feed is None else dict(feed)

    _forget_inner_shapes(source)
    quantize_static(
        source,
        target,
        Reader(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        use_external_data_format=bool(external_locations(source)),
        extra_options={"MatMulConstBOnly": True},
    )


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
