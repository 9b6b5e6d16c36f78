"""Backends are listed without being imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from runners.base import ModuleSource, Runner
from runners.device import Device
from runners.registry import ONLY_ON, PRECISIONS, has_own_file, import_backend, make_runner, not_made_for, precisions_on
from tests.runners.conftest import ON_CPU

HEAVY = ("torch", "onnxruntime", "monai", "onnx")


def loaded_after(code: str) -> list[str]:
    """Which heavy packages a fresh interpreter has loaded after the code."""
    script = f"{code}\nimport sys, json; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout.splitlines()[-1]))


def test_listing_backends_imports_none() -> None:
    assert loaded_after("import runners.registry, runners.base, runners.device") == []


def test_onnxruntime_does_not_import_pytorch() -> None:
    """Its worker must not carry PyTorch's memory and threads."""
    code = (
        "from runners.registry import make_runner; from runners.device import Device\n"
        "from runners.base import ModuleSource, Signature\n"
        "make_runner('onnxruntime', ModuleSource('x', Signature((), ())), Device('cpu'))"
    )
    assert loaded_after(code) == ["onnxruntime"]


@pytest.mark.parametrize("backend", ON_CPU)
def test_every_row_names_a_runner_that_calls_itself_so(backend: str, source: ModuleSource) -> None:
    runner = make_runner(backend, source, Device("cpu"), threads=1)
    assert isinstance(runner, Runner)
    with runner:
        assert runner.attest().backend == backend


def test_an_unknown_backend_is_no_backend(source: ModuleSource) -> None:
    with pytest.raises(KeyError, match="tensorflow"):
        make_runner("tensorflow", source, Device("cpu"))


def test_a_gpu_runs_all_that_its_backend_knows_and_a_cpu_what_is_not_for_gpus_alone() -> None:
    assert precisions_on("pytorch", "cpu") == ("fp32", "bf16") != precisions_on("pytorch", "cuda")
    assert "fp16" in precisions_on("onnxruntime", "cpu")  # a file in fp16 runs anywhere
    assert precisions_on("tensorrt", "cpu") == ()
    assert all(precisions_on(backend, "cuda") == known for backend, known in PRECISIONS.items())


@pytest.mark.parametrize("backend", list(PRECISIONS))
def test_the_table_of_what_gpus_alone_run_is_what_the_backends_refuse(backend: str) -> None:
    kind = import_backend(backend)
    for precision in PRECISIONS[backend]:
        refused = kind.absence(Device("cpu")) or kind.inapplicable(Device("cpu"), precision)
        assert (refused is None) == (precision in precisions_on(backend, "cpu")), refused


@pytest.mark.parametrize("backend", list(PRECISIONS))
@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:3"])
def test_what_is_for_one_kind_of_device_alone_says_the_same_when_it_is_asked_itself(backend: str, device: str) -> None:
    """The doctor goes by the table, without importing the backend; a run asks the backend."""
    reason = not_made_for(backend, device)
    refused = f"not applicable to device {device}" in (import_backend(backend).absence(Device.parse(device)) or "")
    assert refused == (reason is not None)
    assert refused == (backend in ONLY_ON and device.partition(":")[0] != ONLY_ON[backend][0])


def test_openvino_on_a_gpu_names_where_it_runs() -> None:
    assert not_made_for("openvino", "cuda") == "not applicable to device cuda; OpenVINO runs on CPUs here"
    assert not_made_for("openvino", "cpu") is None is not_made_for("onnxruntime", "cuda")


def test_only_precisions_with_a_file_of_their_own_were_checked_when_they_were_made() -> None:
    """`sambench label` has no gate of its own and takes only these."""
    assert has_own_file("onnxruntime", "fp16") and has_own_file("tensorrt", "fp16")
    assert not has_own_file("pytorch", "fp16"), "autocast"
    assert not has_own_file("pytorch", "bf16") and not has_own_file("openvino", "bf16")
    assert all(has_own_file(backend, "fp32") for backend in PRECISIONS)
