"""What was asked for against what ran: pure, so that every refusal can be tested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from benchmark.measured import Attested, CallClocks
from runners.base import Attestation

SHAPE_OPERATORS = frozenset(
    {
        *("Shape", "Size", "Cast", "Identity", "ConstantOfShape", "Range"),
        *("Concat", "Expand", "Gather", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze"),
        *("Abs", "Add", "Ceil", "Div", "Floor", "Max", "Min", "Mod", "Mul", "Neg", "Reciprocal", "Round", "Sub"),
        *("ReduceMax", "ReduceMin", "ReduceProd"),
        *("And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Where"),
    }
)
"""What sizes are reckoned with. ONNX Runtime itself puts such nodes on the CPU when all their inputs come from a shape
(`GetCpuPreferredNodes` in `onnxruntime/core/framework/fallback_cpu_capability.cc`); a copy would cost more. SAM's
decoder reckons with the slice's size besides, two numbers of an input."""

TENSORRT, TENSORRT_PROVIDER = "tensorrt", "TensorrtExecutionProvider"

MOST_SHAPE_NODES = 0.5
"""Sums and products are also what networks are made of: beyond this share of a graph they do not all reckon sizes."""


def attested(attestation: Attestation, requested_precision: str, requested_threads: int | None) -> Attested:
    """A runner's attestation, beside what was asked of it, as a record keeps it."""
    told = attestation
    return Attested(
        backend=told.backend,
        version=told.version,
        device=told.device,
        precision=told.precision,
        requested_precision=requested_precision,
        providers=list(told.providers),
        nodes_per_provider=None if told.nodes_per_provider is None else dict(told.nodes_per_provider),
        operators_on_cpu=None if told.operators_on_cpu is None else dict(told.operators_on_cpu),
        threads=told.threads,
        requested_threads=requested_threads,
        execution=told.execution,
        tf32=told.tf32,
        graph_capture=told.graph_capture,
        driver=told.driver,
        tf32_asked=told.tf32_asked,
        settings=None if told.settings is None else dict(told.settings),
        clocks=None if told.clocks is None else CallClocks(**asdict(told.clocks)),
        notes=list(told.notes),
    )


def mismatch(device: str, precision: str, parts: Mapping[str, Attested]) -> str | None:
    """How what ran differs from what was asked for, in a sentence; None if it does not.

    What a backend does not tell is no mismatch. A part may be asked to stay in fp32, but a lane none of whose parts has
    its precision is not what it is called.

    Args:
        device: that the cell asks for.
        precision: that the cell asks for.
        parts: module → what it attests.
    """
    for part, what in parts.items():
        found = _part_mismatch(device, what)
        if found is not None:
            return f"the {part} was asked to run {found}"
    ran = {what.precision for what in parts.values()}
    if ran and precision not in ran:
        return f"{precision} was asked for and every part ran in {', '.join(sorted(ran))}"
    return None


def _part_mismatch(device: str, what: Attested) -> str | None:
    if what.device != device:
        return f"on {device} and ran on {what.device}"
    if what.precision != what.requested_precision:
        return f"in {what.requested_precision} and ran in {what.precision}"
    wrong = _tf32_mismatch(what)
    if what.backend == TENSORRT and what.nodes_per_provider and not what.nodes_per_provider.get(TENSORRT_PROVIDER):
        wrong = "by TensorRT, which took none of its nodes"
    if wrong is not None:
        return wrong
    if None not in (what.threads, what.requested_threads) and what.threads != what.requested_threads:
        return f"with {what.requested_threads} threads and ran with {what.threads}"
    left = None if device == "cpu" else work_on_cpu(what)
    return None if left is None else f"on {device} and left {left} on the CPU"


def _tf32_mismatch(what: Attested) -> str | None:
    """fp32 means fp32 unless TF32 was asked for, which the record shows."""
    if what.tf32 and what.requested_precision == "fp32" and not what.tf32_asked:
        return "in fp32 and ran with TF32 allowed, which keeps 10 bits of the mantissa"
    return "with TF32 and ran without" if what.tf32_asked and what.tf32 is False else None


def work_on_cpu(what: Attested) -> str | None:
    """What a part on another device computed on the CPU beyond the sizes of its arrays; None if nothing.

    A node counts as such when its operator is not one of `SHAPE_OPERATORS`, and all of them do when they are more than
    `MOST_SHAPE_NODES` of the graph. Where the backend tells no operators, that share alone decides.
    """
    nodes = what.nodes_per_provider or {}
    on_cpu, total = nodes.get("CPUExecutionProvider", 0), sum(nodes.values())
    work = {name: count for name, count in (what.operators_on_cpu or {}).items() if name not in SHAPE_OPERATORS}
    if work:
        return ", ".join(f"{count} × {name}" for name, count in sorted(work.items(), key=lambda item: -item[1]))
    if total and on_cpu / total > MOST_SHAPE_NODES:
        return f"{on_cpu} of {total} nodes"
    return None
