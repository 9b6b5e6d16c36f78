"""What makes a cell invalid: each difference between what was asked for and what ran, alone."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

import pytest

from benchmark.measure.attest import attested, mismatch, work_on_cpu
from benchmark.measured import Attested
from runners.base import Attestation
from runners.clock import Clocks

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def part(**changes: Any) -> Attested:
    values: dict[str, Any] = {
        "backend": "onnxruntime",
        "version": "1.31",
        "device": "cpu",
        "precision": "fp32",
        "requested_precision": "fp32",
        "providers": [CPU],
        "nodes_per_provider": {CPU: 9},
        "threads": 2,
        "requested_threads": 2,
    }
    return Attested(**{**values, **changes})


def on_gpu(operators: dict[str, int] | None, cuda_nodes: int = 100, **changes: Any) -> Attested:
    on_cpu = sum((operators or {}).values())
    nodes = {CUDA: cuda_nodes, CPU: on_cpu}
    return part(
        **{"device": "cuda", "providers": [CUDA, CPU], "nodes_per_provider": nodes, "tf32": False, **changes},
        operators_on_cpu=operators,
    )


def test_a_runners_word_is_kept_whole_beside_what_was_asked() -> None:
    told = Attestation(
        backend="onnxruntime",
        version="1.31",
        device="cuda:1",
        precision="fp16",
        providers=(CUDA, CPU),
        nodes_per_provider={CUDA: 7, CPU: 1},
        operators_on_cpu={"Shape": 1},
        threads=3,
        execution="sequential",
        tf32=False,
        graph_capture="off",
        driver="580.1 (CUDA 13.0)",
        tf32_asked=True,
        settings={"use_tf32": "0"},
        clocks=Clocks(calls=3, host_ms=4.0, event_ms=3.5),
        notes=("n",),
    )
    kept = attested(told, "int8", 4)
    assert (kept.requested_precision, kept.requested_threads) == ("int8", 4)
    for field in fields(told):
        expected, got = getattr(told, field.name), getattr(kept, field.name)
        if field.name == "clocks":
            expected, got = asdict(expected), got.model_dump()
        assert got == (list(expected) if isinstance(expected, tuple) else expected), field.name
    assert set(Attested.model_fields) == {field.name for field in fields(told)} | {
        "requested_precision",
        "requested_threads",
    }


def test_what_a_backend_does_not_tell_stays_unknown() -> None:
    kept = attested(Attestation("pytorch", "2", "cpu", "fp32", ("eager-cpu",)), "fp32", None)
    assert (kept.nodes_per_provider, kept.operators_on_cpu, kept.threads, kept.tf32) == (None, None, None, None)
    assert mismatch("cpu", "fp32", {"unet": kept}) is None


@pytest.mark.parametrize(
    ("device", "precision", "what", "told"),
    [
        ("cuda", "fp32", part(), "the encoder was asked to run on cuda and ran on cpu"),
        ("cuda", "fp32", part(device="cuda:1"), "the encoder was asked to run on cuda and ran on cuda:1"),
        ("cpu", "fp16", part(requested_precision="fp16"), "the encoder was asked to run in fp16 and ran in fp32"),
        ("cpu", "int8", part(), "int8 was asked for and every part ran in fp32"),
        ("cpu", "fp32", part(threads=1), "the encoder was asked to run with 2 threads and ran with 1"),
        (
            "cuda",
            "fp32",
            on_gpu({}, tf32=True),
            "the encoder was asked to run in fp32 and ran with TF32 allowed, which",
        ),
        (
            "cuda",
            "fp32",
            on_gpu({}, tf32=False, tf32_asked=True),
            "the encoder was asked to run with TF32 and ran without",
        ),
        (
            "cuda",
            "fp32",
            on_gpu({"Shape": 1}, backend="tensorrt"),
            "the encoder was asked to run by TensorRT, which took none of its nodes",
        ),
        ("cuda", "fp32", on_gpu({"Conv": 2}), "the encoder was asked to run on cuda and left 2 × Conv on the CPU"),
    ],
)
def test_each_difference_is_told_in_a_sentence(device: str, precision: str, what: Attested, told: str) -> None:
    assert (mismatch(device, precision, {"encoder": what}) or "").startswith(told)


def test_what_ran_as_asked_is_no_mismatch() -> None:
    assert mismatch("cpu", "fp32", {"encoder": part(), "decoder": part()}) is None
    assert mismatch("cuda", "fp32", {"encoder": on_gpu({"Shape": 3, "Gather": 4})}) is None
    assert mismatch("cpu", "fp32", {}) is None


def test_a_part_may_stay_in_fp32_when_it_was_asked_to() -> None:
    int8 = part(precision="int8", requested_precision="int8")
    assert mismatch("cpu", "int8", {"encoder": int8, "decoder": part()}) is None
    wrong = mismatch("cpu", "int8", {"encoder": int8, "decoder": part(requested_precision="int8")})
    assert wrong == "the decoder was asked to run in int8 and ran in fp32"


def test_tf32_matters_in_fp32_alone_and_not_where_it_was_asked_for() -> None:
    assert mismatch("cuda", "fp32", {"unet": on_gpu({}, tf32=True, tf32_asked=True)}) is None
    half = on_gpu({}, tf32=True, precision="fp16", requested_precision="fp16")
    assert mismatch("cuda", "fp16", {"unet": half}) is None


def test_nodes_that_tensorrt_left_to_cuda_are_no_mismatch() -> None:
    nodes = {"TensorrtExecutionProvider": 5, CUDA: 3, CPU: 1}
    taken = on_gpu({"Shape": 1}, backend="tensorrt", nodes_per_provider=nodes)
    assert mismatch("cuda", "fp32", {"unet": taken}) is None


@pytest.mark.parametrize(("threads", "requested"), [(None, 2), (2, None), (None, None)])
def test_threads_that_nobody_asked_for_or_told_are_no_mismatch(threads: int | None, requested: int | None) -> None:
    assert mismatch("cpu", "fp32", {"unet": part(threads=threads, requested_threads=requested)}) is None


def test_sizes_may_be_reckoned_on_the_cpu_and_a_network_may_not() -> None:
    assert work_on_cpu(on_gpu({"Shape": 8, "Concat": 4, "Add": 2})) is None
    assert work_on_cpu(on_gpu({"ReduceMax": 1, "Reciprocal": 1})) is None  # SAM's decoder, of the slice's two sides
    assert work_on_cpu(on_gpu({"Shape": 8, "DynamicQuantizeLinear": 1, "ConvInteger": 5})) == (
        "5 × ConvInteger, 1 × DynamicQuantizeLinear"
    )


@pytest.mark.parametrize(
    "operator",
    [
        *("Conv", "ConvTranspose", "MatMul", "Gemm", "FusedMatMul", "Attention", "MultiHeadAttention", "Einsum"),
        *(
            "LayerNormalization",
            "InstanceNormalization",
            "ReduceMean",
            "Sqrt",
            "Softmax",
            "Relu",
            "PRelu",
            "Gelu",
            "Erf",
        ),
        *("Resize", "Pad", "MaxPool", "MatMulInteger", "DequantizeLinear", "Clip", "Sigmoid", "SomethingNew"),
    ],
)
def test_what_networks_are_made_of_is_work_wherever_it_stands(operator: str) -> None:
    assert work_on_cpu(on_gpu({"Shape": 3, operator: 1}, cuda_nodes=1000)) == f"1 × {operator}"


def test_sums_and_products_beyond_half_of_the_graph_are_not_all_sizes() -> None:
    assert work_on_cpu(on_gpu({"Mul": 10}, cuda_nodes=10)) is None
    assert work_on_cpu(on_gpu({"Mul": 11}, cuda_nodes=10)) == "11 of 21 nodes"


def test_without_operators_the_share_of_nodes_decides() -> None:
    assert work_on_cpu(on_gpu(None, nodes_per_provider={CUDA: 5, CPU: 5})) is None
    assert work_on_cpu(on_gpu(None, nodes_per_provider={CUDA: 4, CPU: 5})) == "5 of 9 nodes"
    assert work_on_cpu(on_gpu(None, nodes_per_provider=None)) is None


def test_on_a_cpu_every_operator_may_be_there() -> None:
    assert mismatch("cpu", "fp32", {"unet": part(nodes_per_provider={CPU: 40})}) is None
