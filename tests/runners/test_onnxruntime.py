"""ONNX Runtime: what is asked for, what the session really is, and no quiet fallback to the CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import quantize_dynamic

from exporters.manifest import TensorSpec
from runners.base import DeviceUnavailableError, ModuleSource, RunnerError, Signature
from runners.device import Device, cuda_absence
from runners.onnx_nodes import smallest_inputs
from runners.onnxruntime import OnnxRuntimeRunner, OrtTensor, session_options
from tests.runners.conftest import feed

CPU, CUDA = Device("cpu"), Device("cuda")
WITHOUT_CUDA = pytest.mark.skipif(cuda_absence() is None, reason="CUDA is here, so nothing falls back")


def test_session_options_fix_threads_order_and_optimisation() -> None:
    options = session_options(2)
    assert options.intra_op_num_threads == 2
    assert options.execution_mode == ort.ExecutionMode.ORT_SEQUENTIAL
    assert options.graph_optimization_level == ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    assert session_options(None).intra_op_num_threads == 0  # the runtime's own choice


def test_options_reach_the_session() -> None:
    options = session_options(1, {"graph": "basic", "execution": "parallel", "spinning": False})
    assert options.graph_optimization_level == ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert options.execution_mode == ort.ExecutionMode.ORT_PARALLEL
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert session_options(1, {"graph": "extended"}).graph_optimization_level == (
        ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"graph": "most"}, "option graph is 'most'; give all or extended or basic"),
        ({"execution": True}, "option execution is True; give sequential or parallel"),
        ({"spinning": "no"}, "option spinning is 'no'; give true or false"),
        ({"tf32": 1}, "option tf32 is 1; give true or false"),
        ({"conv_algo_search": "BEST"}, "search is 'BEST'; give EXHAUSTIVE or HEURISTIC or DEFAULT"),
        ({"cuda_graph": True, "copy_in_default_stream": False}, "a graph needs both on one stream"),
    ],
)
def test_a_value_that_an_option_does_not_have_is_told(source: ModuleSource, options: Any, told: str) -> None:
    with pytest.raises(RunnerError, match=told):
        OnnxRuntimeRunner(source, CPU, 1, options)


def test_every_option_gives_the_same_answer_and_the_session_attests_its_execution(source: ModuleSource) -> None:
    inputs = feed()
    with OnnxRuntimeRunner(source, CPU, threads=1) as runner:
        expected = {name: value.numpy() for name, value in runner.run(inputs).items()}
    for options in ({"graph": "basic"}, {"graph": "extended", "spinning": False}, {"execution": "parallel"}):
        with OnnxRuntimeRunner(source, CPU, 2, options) as runner:
            for name, value in runner.run(inputs).items():
                np.testing.assert_allclose(value.numpy(), expected[name], atol=1e-5)
            assert runner.attest().execution == options.get("execution", "sequential")


def test_it_attests_providers_and_the_provider_of_every_node_of_the_session(source: ModuleSource) -> None:
    with OnnxRuntimeRunner(source, CPU, threads=2) as runner:
        told = runner.attest()
        assert told.threads == runner._session.get_session_options().intra_op_num_threads == 2
    assert told.providers == ("CPUExecutionProvider",)
    assert told.version == ort.__version__
    assert told.precision == "fp32"
    assert told.nodes_per_provider is not None
    assert set(told.nodes_per_provider) == {"CPUExecutionProvider"}
    assert sum(told.nodes_per_provider.values()) >= 4  # two convolutions, Gelu, mean


def test_it_attests_what_the_file_is_and_not_what_it_was_called(source: ModuleSource, not_there: Path) -> None:
    """A conversion that quietly changed nothing would be timed as int8 otherwise."""
    with OnnxRuntimeRunner(replace(source, precision="int8"), CPU) as runner:
        assert runner.attest().precision == "fp32"
    weights = np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32)
    dims = ["R", 16]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["R", 8])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    full = not_there.with_name("full.onnx")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), full)
    quantize_dynamic(full, not_there, reduce_range=True)  # without it, some processors saturate
    signature = Signature.of([TensorSpec(name="x", dims=("R", 16))], [TensorSpec(name="y", dims=("R", 8))])
    with OnnxRuntimeRunner(ModuleSource("product", signature, onnx_path=not_there), CPU) as runner:
        assert runner.attest().precision == "int8"
        x = np.random.default_rng(1).standard_normal((3, 16)).astype(np.float32)
        np.testing.assert_allclose(runner.run({"x": x})["y"].numpy(), x @ weights, atol=0.2)


def test_it_attests_how_the_graph_is_walked_and_that_a_cpu_has_neither_tf32_nor_graph_capture(
    source: ModuleSource,
) -> None:
    with OnnxRuntimeRunner(source, CPU) as runner:
        told = runner.attest()
    assert (told.execution, told.tf32, told.driver, told.operators_on_cpu) == ("sequential", None, None, None)
    assert told.graph_capture == "not applicable, because the device is a CPU"


class CudaSession:
    """What a session on a GPU tells, with its provider's options as ONNX Runtime gives them."""

    def __init__(self, **options: str) -> None:
        self.options = options

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        return {"CUDAExecutionProvider": self.options, "CPUExecutionProvider": {}}

    def get_session_options(self) -> ort.SessionOptions:
        return session_options(3)

    def get_provider_graph_assignment_info(self) -> list[Part]:
        return [
            Part("CUDAExecutionProvider", ["Conv", "Conv", "Add"]),
            Part("CPUExecutionProvider", ["Shape"]),
            Part("CPUExecutionProvider", ["Gather", "Shape"]),
        ]


class Part:
    def __init__(self, provider: str, operators: list[str]) -> None:
        self.ep_name, self.nodes = provider, [SimpleNamespace(op_type=name) for name in operators]

    def get_nodes(self) -> list[SimpleNamespace]:
        return self.nodes


@pytest.mark.parametrize(
    ("options", "tf32", "graphs"),
    [
        ({"use_tf32": "0", "enable_cuda_graph": "0"}, False, "off"),
        ({"use_tf32": "1", "enable_cuda_graph": "1"}, True, "on"),
        ({}, None, None),
    ],
)
def test_on_cuda_the_sessions_own_options_are_attested_and_not_those_asked_for(
    options: dict[str, str],
    tf32: bool | None,
    graphs: str | None,
    source: ModuleSource,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(OnnxRuntimeRunner, "_require_driver", lambda self: None)
    monkeypatch.setattr(OnnxRuntimeRunner, "_prepare_device", lambda self: None)
    monkeypatch.setattr(ort, "InferenceSession", lambda *_, **__: CudaSession(**options))
    monkeypatch.setattr("runners.onnxruntime.cuda_driver", lambda: "580.1 (CUDA 13.0)")
    with OnnxRuntimeRunner(source, CUDA) as runner:
        told = runner.attest()
    assert (told.device, told.tf32, told.graph_capture, told.driver) == ("cuda", tf32, graphs, "580.1 (CUDA 13.0)")
    assert told.threads == 3
    assert told.nodes_per_provider == {"CUDAExecutionProvider": 3, "CPUExecutionProvider": 3}
    assert told.operators_on_cpu == {"Gather": 1, "Shape": 2}


def test_a_version_that_tells_no_assignment_is_traced(
    source: ModuleSource, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with OnnxRuntimeRunner(source, CPU, threads=1) as runner:
        runner.attest()
        assigned = runner._nodes
    monkeypatch.setattr("runners.onnx_session.RECORD_ENTRY", "session.unknown_to_this_version")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with OnnxRuntimeRunner(source, CPU, threads=1) as runner:
        traced = runner.attest()
        ran = runner._nodes
        runner.run(feed())
    assert assigned is not None and ran is not None
    assert traced.nodes_per_provider == {"CPUExecutionProvider": sum(ran.values())}
    # Blocked convolutions reorder their inputs and outputs; these nodes come after the assignment.
    reorders = {key: count for key, count in ran.items() if key[1].startswith("Reorder")}
    assert {key: count for key, count in ran.items() if key not in reorders} == dict(assigned)
    assert traced.notes == ("nodes counted in a trace of one run, after the last fusions",)
    assert list(tmp_path.iterdir()) == []  # the trace is gone


def test_where_the_traced_run_fails_the_nodes_are_unknown_and_the_reason_is_told(
    source: ModuleSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runners.onnxruntime.assigned_nodes", lambda session: None)
    monkeypatch.setattr("runners.onnxruntime.smallest_inputs", lambda signature: {})
    with OnnxRuntimeRunner(source, CPU) as runner:
        told = runner.attest()
    assert told.nodes_per_provider is None
    assert told.notes[0].startswith("nodes per provider unknown: the traced run failed (")


def test_without_a_number_of_threads_none_is_attested(source: ModuleSource) -> None:
    with OnnxRuntimeRunner(source, CPU) as runner:
        assert runner.attest().threads is None


def test_an_output_goes_into_the_next_session_without_a_copy(
    source: ModuleSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OnnxRuntimeRunner(source, CPU) as runner:
        features = runner.run(feed())["features"]
        assert isinstance(features, OrtTensor)
        placed = runner._place({**feed(), "image": features})
        assert placed["image"] is features
        expected = runner.run({**feed(), "image": features.numpy()})["features"].numpy()
        monkeypatch.setattr(OrtTensor, "numpy", lambda self: pytest.fail("it went through host memory"))
        again = runner.run({**feed(), "image": features})["features"]
        monkeypatch.undo()
    np.testing.assert_array_equal(again.numpy(), expected)


def test_a_temporary_copy_of_one_input_is_not_overwritten_by_the_next_inputs(not_there: Path) -> None:
    """An OrtValue borrows its array's memory: freed after binding, the next input's copy of that size would take it."""
    dims = ["R", "C"]
    graph = helper.make_graph(
        [helper.make_node("Sub", ["a", "b"], ["difference"])],
        "difference",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name in "ab"],
        [helper.make_tensor_value_info("difference", TensorProto.FLOAT, dims)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), not_there)
    a, b, difference = (TensorSpec(name=name, dims=("R", "C")) for name in ("a", "b", "difference"))
    source = ModuleSource("difference", Signature.of([a, b], [difference]), onnx_path=not_there)
    rng = np.random.default_rng(0)
    with OnnxRuntimeRunner(source, CPU) as runner:
        for rows in (5, 16, 300, 1000):
            left, right = (rng.random((7, rows), dtype=np.float32).T for _ in "ab")  # views that are not contiguous
            got = runner.run({"a": left, "b": right})["difference"].numpy()
            np.testing.assert_array_equal(got, left - right)


def test_an_output_outlives_its_session(source: ModuleSource) -> None:
    with OnnxRuntimeRunner(source, CPU) as runner:
        features = runner.run(feed())["features"]
        expected = features.numpy().copy()
    del runner
    np.testing.assert_array_equal(features.numpy(), expected)


def test_a_call_that_fails_is_one_sentence(source: ModuleSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime's own errors have several lines, and the first one often says nothing."""
    runner = OnnxRuntimeRunner(source, Device("cpu"))
    with runner:
        inputs = smallest_inputs(source.signature)
        runner.run(inputs)

        class Broken:
            def __getattr__(self, name: str) -> Any:
                return getattr(session, name)

            def run_with_iobinding(self, *_: Any) -> None:
                raise RuntimeError("[ONNXRuntimeError] : 1 :\nNon-zero status code: Shape mismatch")

        session = runner._session
        monkeypatch.setattr(runner, "_session", Broken())
        with pytest.raises(RunnerError, match=r"tiny: ONNX Runtime failed in a call \(.*Shape mismatch\)"):
            runner.run(inputs)


def test_a_source_without_an_onnx_file_is_refused(source: ModuleSource) -> None:
    with pytest.raises(RunnerError, match="tiny has no ONNX file; export it first"):
        OnnxRuntimeRunner(ModuleSource("tiny", source.signature), CPU).__enter__()


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated"])
def test_a_file_that_is_no_onnx_is_refused_in_one_sentence(damage: str, source: ModuleSource, not_there: Path) -> None:
    assert source.onnx_path is not None
    content = {"empty": b"", "text": b"hello", "truncated": source.onnx_path.read_bytes()[:500]}
    if damage in content:
        not_there.write_bytes(content[damage])
    with pytest.raises(RunnerError, match=r"gone\.onnx: ONNX Runtime cannot load it \(.+\); export it again") as caught:
        OnnxRuntimeRunner(ModuleSource("tiny", source.signature, onnx_path=not_there), CPU).__enter__()
    assert "\n" not in str(caught.value)


@WITHOUT_CUDA
def test_a_real_session_that_fell_back_is_refused(source: ModuleSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the driver's answer faked, ONNX Runtime is asked for CUDA and answers with a session on the CPU."""
    monkeypatch.setattr(OnnxRuntimeRunner, "_require_driver", lambda self: None)
    monkeypatch.setattr(OnnxRuntimeRunner, "_prepare_device", lambda self: None)
    runner = OnnxRuntimeRunner(source, CUDA)
    with pytest.raises(DeviceUnavailableError, match=r"CUDA provider did not load.*on cpu; install.*use device cpu"):
        runner.__enter__()
    assert runner._session is None
    with pytest.raises(RunnerError, match="enter the runner"):
        runner.run(feed())


def test_a_session_without_the_cuda_provider_is_refused(source: ModuleSource, monkeypatch: pytest.MonkeyPatch) -> None:
    class QuietlyOnTheCpu:
        def __init__(self, path: str, options: Any, providers: Any) -> None:
            assert providers[0][0] == "CUDAExecutionProvider"

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(OnnxRuntimeRunner, "_require_driver", lambda self: None)
    monkeypatch.setattr(OnnxRuntimeRunner, "_prepare_device", lambda self: None)
    monkeypatch.setattr(ort, "InferenceSession", QuietlyOnTheCpu)
    with pytest.raises(DeviceUnavailableError, match="it would run on cpu"):
        OnnxRuntimeRunner(source, CUDA).__enter__()


def test_a_session_that_is_on_cuda_is_accepted(source: ModuleSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counterpart: the refusal looks at the session, not at this machine."""

    class OnCuda:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def get_providers(self) -> list[str]:
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    monkeypatch.setattr(OnnxRuntimeRunner, "_require_driver", lambda self: None)
    monkeypatch.setattr(OnnxRuntimeRunner, "_prepare_device", lambda self: None)
    monkeypatch.setattr(ort, "InferenceSession", OnCuda)
    with OnnxRuntimeRunner(source, CUDA) as runner:
        assert isinstance(runner._session, OnCuda)  # type: ignore[attr-defined]


@WITHOUT_CUDA
def test_the_driver_is_asked_before_the_runtime(source: ModuleSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "InferenceSession", lambda *_, **__: pytest.fail("a session was made"))
    with pytest.raises(DeviceUnavailableError, match=r"device cuda for onnxruntime: .*driver"):
        OnnxRuntimeRunner(source, CUDA).__enter__()


def test_a_pytorch_that_cannot_use_the_gpu_is_told_before_a_session_is_made(
    source: ModuleSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrays get to the device through PyTorch's pinned memory."""
    monkeypatch.setattr("runners.onnxruntime.cuda_absence", lambda index: None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(ort, "InferenceSession", lambda *_, **__: pytest.fail("a session was made"))
    with pytest.raises(
        DeviceUnavailableError, match=r"device cuda for onnxruntime: this PyTorch .* cannot use the GPU"
    ):
        OnnxRuntimeRunner(source, CUDA).__enter__()
