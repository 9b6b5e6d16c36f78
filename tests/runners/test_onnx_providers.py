"""What ONNX Runtime's providers are asked for: every option reaches the provider under the provider's own name."""

from __future__ import annotations

from typing import Any

import onnxruntime as ort
import pytest

from runners.device import Device
from runners.onnx_providers import (
    CUDA_OPTIONS,
    NAMES,
    cuda_options,
    effective_device,
    provider_options,
    runs_on_our_stream,
    switched_on,
    told_settings,
    unused_on_cpu,
    wrong_value,
)

CPU, CUDA = Device("cpu"), Device("cuda")


def test_cuda_is_asked_for_first_on_its_gpu_and_without_tf32() -> None:
    (first, options), (second, _) = provider_options(Device("cuda", 3))
    assert (first, second) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert options == {
        "device_id": "3",
        "use_tf32": "0",
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "do_copy_in_default_stream": "1",
        "enable_cuda_graph": "0",
    }


def test_a_cpu_gets_no_option_of_a_gpu() -> None:
    assert provider_options(CPU, {"tf32": True, "cuda_graph": True}, 7) == [("CPUExecutionProvider", {})]
    assert unused_on_cpu({"graph": "all", "cuda_graph": True, "tf32": False}) == ("tf32", "cuda_graph")


@pytest.mark.parametrize(
    ("option", "value", "name", "asked"),
    [
        ("tf32", True, "use_tf32", "1"),
        ("conv_algo_search", "HEURISTIC", "cudnn_conv_algo_search", "HEURISTIC"),
        ("copy_in_default_stream", False, "do_copy_in_default_stream", "0"),
        ("cuda_graph", True, "enable_cuda_graph", "1"),
    ],
)
def test_every_option_changes_what_it_is_for_and_nothing_else(option: str, value: Any, name: str, asked: str) -> None:
    plain = cuda_options(CUDA)
    assert cuda_options(CUDA, {option: value}) == {**plain, name: asked}
    assert plain[name] != asked


def test_the_provider_computes_on_the_stream_that_device_events_are_recorded_on() -> None:
    assert cuda_options(CUDA, {}, 94_000)["user_compute_stream"] == "94000"
    assert "user_compute_stream" not in cuda_options(CUDA)
    assert runs_on_our_stream({}) and not runs_on_our_stream({"copy_in_default_stream": False})


def test_the_providers_names_are_those_that_this_build_knows() -> None:
    """ONNX Runtime ignores none: a misspelt option makes the provider fail, which only a GPU would show."""
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        pytest.skip("this ONNX Runtime is built without CUDA")
    from pathlib import Path

    folder = Path(ort.__file__).parent / "capi"
    found = [part.read_bytes() for part in folder.glob("*onnxruntime_providers_cuda*")]
    assert found
    for name in (*NAMES.values(), "user_compute_stream", "device_id"):
        assert any(name.encode() in content for content in found), name


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"tf32": "no"}, "option tf32 is 'no'; give true or false"),
        ({"tf32": 1}, "option tf32 is 1; give true or false"),
        ({"conv_algo_search": "exhaustive"}, "is 'exhaustive'; give EXHAUSTIVE or HEURISTIC or DEFAULT"),
        ({"cuda_graph": None}, "option cuda_graph is None"),
    ],
)
def test_a_value_that_an_option_does_not_have_is_told(options: dict[str, Any], told: str) -> None:
    assert told in str(wrong_value(options, CUDA_OPTIONS))


def test_every_value_that_there_is_is_taken() -> None:
    assert all(
        wrong_value({name: value}, CUDA_OPTIONS) is None for name, known in CUDA_OPTIONS.items() for value in known
    )
    assert set(NAMES) == set(CUDA_OPTIONS)


@pytest.mark.parametrize(
    ("providers", "requested", "device"),
    [
        (["CUDAExecutionProvider", "CPUExecutionProvider"], "cuda", "cuda"),
        (["CUDAExecutionProvider", "CPUExecutionProvider"], "cuda:1", "cuda:1"),
        (["CPUExecutionProvider"], "cuda", "cpu"),
        (["CPUExecutionProvider"], "cpu", "cpu"),
        ([], "cuda", "cpu"),
    ],
)
def test_the_sessions_own_providers_decide_where_it_runs(providers: list[str], requested: str, device: str) -> None:
    assert effective_device(providers, Device.parse(requested)) == device


def test_what_the_provider_does_not_tell_is_left_out() -> None:
    told = {"use_tf32": "1", "gpu_mem_limit": "9", "enable_cuda_graph": "0"}
    assert told_settings(told, tuple(NAMES.values())) == {"use_tf32": "1", "enable_cuda_graph": "0"}
    assert (switched_on(told, "use_tf32"), switched_on(told, "enable_cuda_graph")) == (True, False)
    assert switched_on(told, "cudnn_conv_algo_search") is None
