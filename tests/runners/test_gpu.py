"""Every backend, precision and option on a GPU against PyTorch's fp32 on the CPU. Skipped where CUDA is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.measure.attest import attested, mismatch
from exporters.precision import to_fp16
from runners.base import Attestation, DeviceUnavailableError, ModuleSource, OutOfDeviceMemoryError, RunnerError
from runners.device import Device, cuda_absence
from runners.onnx_providers import CUDA_OPTIONS, NAMES
from runners.pytorch import PyTorchRunner, TorchTensor
from runners.registry import import_backend, make_runner, precisions_on
from tests.runners.conftest import feed

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(cuda_absence() is not None, reason=str(cuda_absence())),
]

CPU, CUDA = Device("cpu"), Device("cuda")

TOLERANCE = {"fp32": 2e-5, "tf32": 5e-3, "fp16": 1e-2, "bf16": 6e-2}
"""Largest difference of answers around 1 from fp32's. That of fp32 is too tight for TF32, which keeps 10 bits."""

GPU_BACKENDS = ("pytorch", "pytorch-compile", "onnxruntime", "tensorrt")

CASES = [
    *((backend, precision, {}) for backend in GPU_BACKENDS for precision in ("fp32", "fp16", "bf16")),
    *(("pytorch", precision, {"channels_last": True}) for precision in ("fp32", "fp16")),
    *(("pytorch-compile", "fp32", {"mode": mode}) for mode in ("reduce-overhead", "max-autotune")),
    ("pytorch-compile", "fp16", {"mode": "reduce-overhead"}),
    *(("onnxruntime", "fp32", {name: value}) for name, values in CUDA_OPTIONS.items() for value in values),
    ("onnxruntime", "fp32", {"graph": "basic"}),
    ("onnxruntime", "fp16", {"cuda_graph": True}),
    ("pytorch", "fp32", {"tf32": True}),
    ("tensorrt", "fp32", {"tf32": True}),
]


def name_of(case: tuple[str, str, dict[str, Any]]) -> str:
    return " ".join([case[0], case[1], *(f"{name}={value}" for name, value in case[2].items())])


@pytest.fixture(scope="module")
def sources(source: ModuleSource, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModuleSource]:
    """Precision → the module; fp16 has a file of its own."""
    assert source.onnx_path is not None
    half = tmp_path_factory.mktemp("half") / "tiny.onnx"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("exporters.half.NETWORKS", ("",))  # this module is all network
        to_fp16(source.onnx_path, half)
    return {
        "fp32": source,
        "bf16": replace(source, precision="bf16"),
        "fp16": replace(source, precision="fp16", onnx_path=half),
    }


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TensorRT's caches, shared by the tests: an engine takes long to build."""
    return tmp_path_factory.mktemp("engines")


@pytest.fixture
def on_gpu(sources: dict[str, ModuleSource], engines: Path) -> Any:
    def make(backend: str, precision: str = "fp32", options: dict[str, Any] | None = None) -> Any:
        if precision not in precisions_on(backend, "cuda"):
            pytest.skip(f"{backend} does not run {precision}")
        absent = import_backend(backend).absence(CUDA)
        if absent is not None:
            pytest.skip(absent)
        own = dict(options or {})
        if backend == "tensorrt":
            own = {"cache": str(engines), "profile": {"B": [1, 2, 8], "H": [4, 12, 64]}, **own}
        return make_runner(backend, sources[precision], CUDA, None, own)

    return make


@pytest.fixture(scope="module")
def expected(source: ModuleSource) -> dict[tuple[int, int, int], dict[str, np.ndarray]]:
    """(batch, rows, seed) → PyTorch's answers on the CPU."""
    asked = [(4, 40, 0), (2, 12, 0), *((2, 12, seed) for seed in range(1, 5))]
    with PyTorchRunner(source, CPU) as runner:
        return {key: {n: v.numpy() for n, v in runner.run(feed(*key)).items()} for key in asked}


def hold(outputs: Any, expected: dict[str, np.ndarray], tolerance: float) -> None:
    for name, values in expected.items():
        np.testing.assert_allclose(outputs[name].numpy(), values, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_answers_are_pytorchs_and_what_ran_is_what_was_asked_for(
    case: tuple[str, str, dict[str, Any]], on_gpu: Any, expected: Any, record_property: Any
) -> None:
    backend, precision, options = case
    tolerance = TOLERANCE["tf32" if options.get("tf32") and precision == "fp32" else precision]
    with on_gpu(backend, precision, options) as runner:
        for _ in range(3):  # warms up, records and replays where there are graphs
            for key in ((4, 40, 0), (2, 12, 0)):
                outputs = runner.run(feed(*key))
                assert all(output.to_torch().device == torch.device("cuda", 0) for output in outputs.values())
                hold(outputs, expected[key], tolerance)
        told = runner.attest()
    record_property("attestation", str(told))
    assert mismatch("cuda", precision, {"tiny": attested(told, precision, None)}) is None
    assert told.driver is not None and "CUDA" in told.driver
    assert told.tf32 is bool(options.get("tf32", False))
    hold_settings(told, backend, options)


def hold_settings(told: Attestation, backend: str, options: dict[str, Any]) -> None:
    """The provider says of its options what it was asked."""
    if backend != "onnxruntime":
        return
    assert told.settings is not None
    for name, value in options.items():
        if name in NAMES and name != "cuda_graph":
            said = told.settings[NAMES[name]]
            assert said == (str(int(value)) if isinstance(value, bool) else value)


@pytest.mark.parametrize("backend", GPU_BACKENDS)
def test_no_node_that_computes_is_left_on_the_cpu(backend: str, on_gpu: Any) -> None:
    with on_gpu(backend) as runner:
        runner.run(feed())
        told = runner.attest()
    assert not set(told.operators_on_cpu or {}) & {"Conv", "Gelu", "Erf", "MatMul", "ReduceMean"}
    if told.nodes_per_provider is not None:
        names = {"onnxruntime": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
        assert told.nodes_per_provider.get(names[backend], 0) > 0


GRAPHS = [
    ("onnxruntime", {"cuda_graph": True}),
    ("pytorch-compile", {"mode": "reduce-overhead"}),
]


@pytest.mark.parametrize(("backend", "options"), GRAPHS, ids=[backend for backend, _ in GRAPHS])
def test_a_graphs_answers_are_not_overwritten_by_the_next_calls(
    backend: str, options: dict[str, Any], on_gpu: Any, expected: Any
) -> None:
    with on_gpu(backend, "fp32", options) as runner:
        held = [runner.run(feed(2, 12, seed)) for seed in range(1, 5)]
        held += [runner.run(feed(2, 12, seed)) for seed in range(1, 5)]
        told = runner.attest()
        for place, outputs in enumerate(held):
            hold(outputs, expected[2, 12, 1 + place % 4], TOLERANCE["fp32"])
    # Where it could not be captured, the reason is told, and the answers above are right all the same.
    assert told.graph_capture is not None
    assert told.graph_capture.startswith(("on", "not applicable, because ")), told.graph_capture


@pytest.mark.parametrize("backend", GPU_BACKENDS)
@pytest.mark.parametrize("other", GPU_BACKENDS)
def test_an_output_feeds_another_backend_without_leaving_the_device(
    backend: str, other: str, on_gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = feed()
    with on_gpu(backend) as first, on_gpu(other) as second:
        passed = first.run(inputs)["features"]
        expected = second.run({**inputs, "image": passed.to_torch().cpu().numpy()})["features"].numpy()
        for kind in (TorchTensor, type(passed)):
            monkeypatch.setattr(kind, "numpy", lambda self: pytest.fail("it went through host memory"))
        outputs = second.run({**inputs, "image": passed})
        monkeypatch.undo()
        np.testing.assert_allclose(outputs["features"].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("backend", GPU_BACKENDS)
def test_an_output_outlives_its_session(backend: str, on_gpu: Any, expected: Any) -> None:
    with on_gpu(backend) as runner:
        outputs = runner.run(feed(2, 12, 1))
    del runner
    hold(outputs, expected[2, 12, 1], TOLERANCE["fp32"])


@pytest.mark.parametrize("backend", GPU_BACKENDS)
def test_device_events_and_the_hosts_clock_time_the_same_work(backend: str, on_gpu: Any) -> None:
    """Events count what lies between their marks, the host besides what it takes to launch and to notice."""
    with on_gpu(backend) as runner:
        for _ in range(3):
            runner.run(feed(8, 64))
        calls = runner.calls
        told = runner.attest().clocks
    assert told is not None and told.calls == calls == 3
    # Half a millisecond a call for the marks themselves.
    assert 0 < told.event_ms <= told.host_ms + 0.5 * calls


def test_a_gpu_that_is_not_there_is_refused(sources: dict[str, ModuleSource]) -> None:
    absent = Device("cuda", torch.cuda.device_count())
    for backend in GPU_BACKENDS:
        with pytest.raises(DeviceUnavailableError, match=f"device {absent}"):
            make_runner(backend, sources["fp32"], absent).__enter__()


@pytest.mark.parametrize("backend", ["pytorch", "onnxruntime"])
def test_memory_that_runs_out_is_told_and_the_runner_lives_on(backend: str, on_gpu: Any, expected: Any) -> None:
    """All but a little of the device's memory is taken, so that a middling call does not fit."""
    hog: list[torch.Tensor] = []
    with on_gpu(backend) as runner:
        runner.run(feed(2, 12, 1))
        try:
            for part in chunks(torch.cuda.mem_get_info()[0] - (64 << 20)):
                hog.append(torch.empty(part, dtype=torch.uint8, device="cuda"))
            with pytest.raises(
                OutOfDeviceMemoryError, match="tiny: the memory of device cuda does not hold a call with"
            ):
                runner.run(feed(64, 16384))
        finally:
            hog.clear()
            torch.cuda.empty_cache()
        hold(runner.run(feed(2, 12, 1)), expected[2, 12, 1], TOLERANCE["fp32"])


def chunks(total: int, largest: int = 4 << 30) -> Iterator[int]:
    while total > 0:
        yield min(total, largest)
        total -= largest


def test_an_engine_is_found_again_and_a_call_beyond_its_profile_refused(on_gpu: Any, engines: Path) -> None:
    with on_gpu("tensorrt") as runner:
        runner.run(feed())
    built = {path: path.stat().st_mtime_ns for path in engines.rglob("*.engine")}
    assert built, "no engine was kept"
    with on_gpu("tensorrt") as runner:
        runner.run(feed())
        with pytest.raises(RunnerError, match="B is 9 in input image"):
            runner.run(feed(9))
    assert {path: path.stat().st_mtime_ns for path in engines.rglob("*.engine")} == built
