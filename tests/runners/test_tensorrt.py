"""TensorRT: what is asked for, what is missing, and no quiet fallback to CUDA. Nothing here needs a GPU."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from runners.base import DeviceUnavailableError, ModuleSource, RunnerError
from runners.device import Device, cuda_absence
from runners.onnxruntime import OnnxRuntimeRunner
from runners.tensorrt import (
    PROVIDER,
    TF32_VARIABLE,
    TensorRtRunner,
    absence_told,
    left_to_cuda,
    missing_libraries,
    tensorrt_options,
    wanted_libraries,
)
from tests.runners.conftest import feed

CPU, CUDA = Device("cpu"), Device("cuda")
ALL = [PROVIDER, "CUDAExecutionProvider", "CPUExecutionProvider"]


def test_fp16_is_permitted_for_an_fp16_file_and_for_no_other() -> None:
    full, half = tensorrt_options(Device("cuda", 2), "fp32", 77), tensorrt_options(CUDA, "fp16")
    assert full == {
        "device_id": "2",
        "trt_fp16_enable": "0",
        "trt_layer_norm_fp32_fallback": "0",
        "user_compute_stream": "77",
    }
    assert half == {"device_id": "0", "trt_fp16_enable": "1", "trt_layer_norm_fp32_fallback": "1"}


def test_the_providers_own_library_says_which_tensorrt_it_wants() -> None:
    content = b"\0libcublas.so.13\0libnvonnxparser.so.10\0libnvinfer.so.10\0x\0libnvinfer.so.10\0nvinfer_10.dll"
    assert wanted_libraries(content) == ["libnvinfer.so.10", "libnvonnxparser.so.10", "nvinfer_10.dll"]
    assert wanted_libraries(b"nothing of the kind") == []


@pytest.mark.parametrize(
    ("device", "available", "driver", "missing", "told"),
    [
        ("cpu", ALL, None, [], ["not applicable to device cpu", "leave it out or use cuda"]),
        ("cuda", ALL[1:], None, [], ["no TensorRT; install onnxruntime-gpu in place of onnxruntime"]),
        (
            "cuda:1",
            ALL,
            "the driver is gone",
            [],
            ["device cuda:1 for tensorrt: the driver is gone; or use device cpu"],
        ),
        ("cuda", ALL, None, ["libnvinfer.so.10"], ["libnvinfer.so.10", 'pip install "sambench[tensorrt]"']),
        ("cuda", ALL, "the driver is gone", ["libnvinfer.so.10"], ["the driver is gone; TensorRT is not installed"]),
    ],
)
def test_all_that_is_missing_is_told_at_once_with_what_to_do(
    device: str, available: list[str], driver: str | None, missing: list[str], told: list[str]
) -> None:
    found = absence_told(Device.parse(device), available, driver, missing)
    assert found is not None and all(words in found for words in told)


def test_where_nothing_is_missing_nothing_is_told() -> None:
    assert absence_told(CUDA, ALL, None, []) is None


@pytest.mark.skipif(cuda_absence() is None, reason="CUDA is here")
def test_a_runner_here_is_refused_before_a_session_is_made(
    source: ModuleSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "InferenceSession", lambda *_, **__: pytest.fail("a session was made"))
    with pytest.raises(DeviceUnavailableError, match="device cuda for tensorrt: no NVIDIA driver"):
        TensorRtRunner(source, CUDA).__enter__()
    with pytest.raises(DeviceUnavailableError, match="not applicable to device cpu"):
        TensorRtRunner(source, CPU).__enter__()
    assert TF32_VARIABLE not in os.environ


@pytest.mark.skipif(not missing_libraries(), reason="TensorRT is here")
def test_a_real_session_without_tensorrt_is_refused_and_not_run_on_what_stands_behind_it(
    source: ModuleSource, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Python's ONNX Runtime prints its error and makes a session without TensorRT."""
    runner = TensorRtRunner(source, CUDA, 1, {"cache": str(tmp_path)})
    monkeypatch.setattr(TensorRtRunner, "_require_driver", lambda self: None)
    monkeypatch.setattr(TensorRtRunner, "_prepare_device", lambda self: None)
    monkeypatch.setattr(TensorRtRunner, "_key", lambda self, shapes: FakeKey())
    with pytest.raises(DeviceUnavailableError, match=r"its provider did not load, so .*CPUExecutionProvider would run"):
        runner.__enter__()
    assert runner._session is None


class FakeKey:
    gpu, capability, tensorrt, folder = "gpu", "9.0", "10.13.3", "key"


def test_tensorrt_stands_before_cuda_and_both_compute_without_tf32(
    source: ModuleSource, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(TensorRtRunner, "_key", lambda self, shapes: FakeKey())
    runner = TensorRtRunner(source, CUDA, 1, {"cache": str(tmp_path), "profile": {"H": [4, 12, 32]}})
    asked = runner._providers(graphs=False)
    assert [name for name, _ in asked] == ALL
    first, second = asked[0][1], asked[1][1]
    assert first["trt_profile_max_shapes"] == "image:32x3x32x16,scale:32"
    assert Path(first["trt_engine_cache_path"]).is_dir() and Path(first["trt_timing_cache_path"]).is_dir()
    assert second["use_tf32"] == "0"


def test_tf32_is_switched_off_for_tensorrt_while_it_runs_and_the_variable_put_back(
    source: ModuleSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TF32_VARIABLE, "1")
    monkeypatch.setattr(OnnxRuntimeRunner, "_prepare_device", lambda self: None)
    runner = TensorRtRunner(source, CUDA)
    runner._prepare_device()
    assert os.environ[TF32_VARIABLE] == "0"
    runner._free()
    assert os.environ[TF32_VARIABLE] == "1"
    asked = TensorRtRunner(source, CUDA, options={"tf32": True})
    asked._prepare_device()
    assert os.environ[TF32_VARIABLE] == "1"


def test_a_call_beyond_the_profile_is_refused_before_an_engine_is_built_in_it(source: ModuleSource) -> None:
    runner = TensorRtRunner(source, CUDA, options={"profile": {"B": [1, 2, 2]}})
    runner._session = object()
    with pytest.raises(
        RunnerError, match=r"tiny: B is 3 in input image.*set the option profile: \{B: \[1, 2, 3\]\} of"
    ):
        runner.run(feed(3))


def test_what_tensorrt_left_to_cuda_is_listed() -> None:
    nodes = Counter(
        {(PROVIDER, "Conv"): 9, ("CUDAExecutionProvider", "Resize"): 1, ("CUDAExecutionProvider", "TopK"): 3}
    )
    assert left_to_cuda(nodes) == "TensorRT left to CUDA: 3 × TopK, 1 × Resize"
    assert left_to_cuda(Counter({(PROVIDER, "Conv"): 9})) is None
    assert left_to_cuda(None) is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"profile": {"B": [3, 2, 1]}}, "backend tensorrt: option profile.B is"),
        ({"cache": 5}, "backend tensorrt: option cache is 5; give a folder"),
        (
            {"cuda_graph": True},
            "does not know option cuda_graph; it knows cache, execution, graph, profile, spinning, tf32",
        ),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], told: str, source: ModuleSource) -> None:
    with pytest.raises(RunnerError, match=told):
        TensorRtRunner(source, CPU, options=options)


def test_a_graph_that_tensorrt_takes_in_pieces_runs_without_a_profile_and_says_so(
    source: ModuleSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[bool] = []
    told = "User needs to provide all the dynamic shape inputs with associated profiles"

    def opening(self: TensorRtRunner, options: Any, graphs: bool = False) -> str:
        opened.append(self._explicit)
        if self._explicit:
            raise RuntimeError(told)
        return "session"

    monkeypatch.setattr(OnnxRuntimeRunner, "_open", opening)
    runner = TensorRtRunner(source, CUDA, 1)
    assert runner._open(None) == "session" and opened == [True, False]
    told = "the file is damaged"
    other = TensorRtRunner(source, CUDA, 1)
    with pytest.raises(RuntimeError, match="damaged"):
        other._open(None)
    assert other._explicit
    runner._session = object()
    monkeypatch.setattr(OnnxRuntimeRunner, "_place", lambda self, inputs: {})
    for batch in (9, 9, 8, 40):  # 40 is beyond the default profile
        runner._place(feed(batch))
    assert runner.set_ups == 3
