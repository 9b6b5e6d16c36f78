"""OpenVINO: asked for fp32 it runs fp32, what it falls back to is seen, and outputs and inputs are nobody else's."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

ov = pytest.importorskip("openvino", reason="OpenVINO is not installed")

from benchmark.measure.attest import attested, mismatch  # noqa: E402
from runners.base import DeviceUnavailableError, ModuleSource, RunnerError  # noqa: E402
from runners.device import Device  # noqa: E402
from runners.openvino import (  # noqa: E402
    OpenVinoRunner,
    OvTensor,
    effective_device,
    layers_of,
    products_in,
    settings,
)
from runners.registry import make_runner  # noqa: E402
from tests.runners.conftest import feed  # noqa: E402
from tests.runners.test_registry import loaded_after  # noqa: E402

CPU = Device("cpu")
HAS_BF16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_it_does_not_import_pytorch() -> None:
    """Its worker must not carry PyTorch's memory and threads."""
    code = "from runners.registry import import_backend; import_backend('openvino')"
    assert not {"torch", "onnxruntime"} & set(loaded_after(code))


def test_full_precision_is_asked_for_by_name_because_openvino_takes_bf16_by_itself() -> None:
    assert settings("fp32", 3) == {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": 3,
    }
    assert settings("bf16", None)["INFERENCE_PRECISION_HINT"] == "bf16"
    assert "INFERENCE_NUM_THREADS" not in settings("fp32", None)


@pytest.mark.parametrize("threads", [1, 2])
def test_it_attests_what_the_compiled_model_tells(threads: int, source: ModuleSource) -> None:
    with OpenVinoRunner(source, CPU, threads=threads) as runner:
        told = runner.attest()
        layers = layers_of(runner._loaded().get_runtime_model())
    assert (told.device, told.precision, told.threads) == ("cpu", "fp32", threads)
    assert (told.providers, told.execution, told.version) == (("OpenVINO-CPU",), "1 stream", ov.__version__)
    assert products_in(layers) == {"fp32": 2}  # the module's two convolutions
    assert told.nodes_per_provider is not None
    assert 4 <= told.nodes_per_provider["CPU"] < len(layers)  # inputs, outputs and constants are no work


@pytest.mark.skipif(HAS_BF16, reason="this processor has hardware for bf16")
def test_bf16_without_hardware_falls_back_and_makes_the_cell_invalid(source: ModuleSource) -> None:
    with OpenVinoRunner(replace(source, precision="bf16"), CPU, threads=1) as runner:
        runner.run(feed())
        told = runner.attest()
    assert told.precision == "fp32"
    assert told.notes == ("OpenVINO took fp32 for bf16, which this processor has no hardware for",)
    reason = mismatch("cpu", "bf16", {"tiny": attested(told, "bf16", 1)})
    assert reason == "the tiny was asked to run in bf16 and ran in fp32"


@pytest.mark.skipif(not HAS_BF16, reason="this processor has no hardware for bf16")
def test_bf16_with_hardware_runs_in_bf16(source: ModuleSource) -> None:
    with OpenVinoRunner(replace(source, precision="bf16"), CPU, threads=1) as runner:
        outputs = runner.run(feed())
        assert runner.attest().precision == "bf16"
    assert outputs["features"].dtype == "float32"


class Compiled:
    """A compiled model that quietly chose for itself."""

    def __init__(self, hint: str, layers: list[tuple[str, str]], devices: list[str], threads: int) -> None:
        self.properties: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": ov.Type(np.float32) if hint == "f32" else ov.Type.bf16,
            "EXECUTION_DEVICES": devices,
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
        }
        self.layers = layers

    def get_property(self, name: str) -> Any:
        return self.properties[name]

    def get_runtime_model(self) -> Any:
        def node(kind: str, precision: str) -> Any:
            told = {"layerType": kind, "runtimePrecision": precision}
            cast = {name: SimpleNamespace(astype=lambda _, text=text: text) for name, text in told.items()}
            return SimpleNamespace(get_rt_info=lambda: cast)

        return SimpleNamespace(get_ordered_ops=lambda: [node(*layer) for layer in self.layers])


@pytest.mark.parametrize(
    ("precision", "compiled", "reason"),
    [
        ("fp32", Compiled("f32", [("Convolution", "f32"), ("Const", "i32")], ["CPU"], 2), None),
        ("bf16", Compiled("bf16", [("MatMul", "bf16"), ("Softmax", "f32")], ["CPU"], 2), None),
        ("fp32", Compiled("bf16", [("MatMul", "bf16")], ["CPU"], 2), "asked to run in fp32 and ran in bf16"),
        ("fp32", Compiled("f32", [("MatMul", "bf16"), ("MatMul", "f32")], ["CPU"], 2), "in fp32 and ran in mixed"),
        ("bf16", Compiled("bf16", [("FullyConnected", "f32")], ["CPU"], 2), "asked to run in bf16 and ran in fp32"),
        ("bf16", Compiled("bf16", [("Eltwise", "f32")], ["CPU"], 2), None),  # no products: the hint in effect
        ("fp32", Compiled("f32", [("MatMul", "f32")], ["CPU"], 1), "with 2 threads and ran with 1"),
        ("fp32", Compiled("f32", [("MatMul", "f32")], ["GPU.0"], 2), "on cpu and ran on gpu.0"),
    ],
)
def test_what_the_compiled_model_and_its_layers_tell_decides(
    precision: str, compiled: Compiled, reason: str | None, source: ModuleSource
) -> None:
    runner = OpenVinoRunner(replace(source, precision=precision), CPU, threads=2)
    runner._compiled = compiled
    found = mismatch("cpu", precision, {"tiny": attested(runner.attest(), precision, 2)})
    assert found is None if reason is None else reason in (found or "")


def test_products_in_another_type_keep_its_name() -> None:
    layers = [("Convolution", "u8"), ("MatMul", "f8e4m3"), ("Reorder", "bf16")]
    assert products_in(layers) == Counter({"int8": 1, "f8e4m3": 1})


def test_another_device_is_refused_before_anything_is_read(source: ModuleSource, not_there: Path) -> None:
    with pytest.raises(DeviceUnavailableError, match="not applicable to device cuda; OpenVINO runs on CPUs here"):
        OpenVinoRunner(replace(source, onnx_path=not_there), Device("cuda")).__enter__()
    assert effective_device(["CPU"]) == "cpu"
    assert effective_device(["GPU.0", "CPU"]) == "gpu.0+cpu"


def test_a_file_that_is_missing_or_none_is_told(source: ModuleSource, not_there: Path) -> None:
    with pytest.raises(RunnerError, match="tiny has no ONNX file; export it first"):
        OpenVinoRunner(replace(source, onnx_path=None), CPU).__enter__()
    with pytest.raises(RunnerError, match=r"gone\.onnx: OpenVINO cannot load it \(.*gone\.onnx.*\); export it again"):
        OpenVinoRunner(replace(source, onnx_path=not_there), CPU).__enter__()


def test_outputs_of_every_shape_outlive_further_calls_and_the_runner(source: ModuleSource) -> None:
    """The infer request is used again, and its own output tensors with it."""
    shapes = [(2, 12), (3, 20), (2, 12), (1, 5)]
    with OpenVinoRunner(source, CPU, threads=1) as runner:
        held = [runner.run(feed(*shape, seed=seed)) for seed, shape in enumerate(shapes)]
        arrays = [outputs["features"].numpy() for outputs in held]
        copies = [array.copy() for array in arrays]
        again = [runner.run(feed(*shape, seed=seed))["features"].numpy().copy() for seed, shape in enumerate(shapes)]
        del held
    gc.collect()
    for array, before, repeated in zip(arrays, copies, again, strict=True):
        np.testing.assert_array_equal(array, before)
        np.testing.assert_array_equal(array, repeated)
    assert len({array.__array_interface__["data"][0] for array in arrays}) == len(shapes)


def test_inputs_are_shared_and_outputs_handed_on_without_a_copy(
    source: ModuleSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = feed()
    with OpenVinoRunner(source, CPU) as runner:
        placed = runner._place(inputs)["image"]
        assert isinstance(placed, OvTensor)
        assert placed.numpy().__array_interface__["data"][0] == inputs["image"].__array_interface__["data"][0]
        features = runner.run(inputs)["features"]
        monkeypatch.setattr(OvTensor, "numpy", lambda self: pytest.fail("it went through host memory"))
        runner.run({**inputs, "image": features})
        assert runner._place({"image": features})["image"] is features


def test_a_read_only_array_can_be_an_input(source: ModuleSource) -> None:
    inputs = feed()
    with OpenVinoRunner(source, CPU) as runner:
        expected = runner.run(inputs)["features"].numpy().copy()
        for value in inputs.values():
            value.flags.writeable = False
        np.testing.assert_array_equal(runner.run(inputs)["features"].numpy(), expected)


def test_without_its_package_the_way_to_it_is_told(source: ModuleSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "runners.openvino", raising=False)
    with pytest.raises(RunnerError, match=r'openvino is not installed; run `pip install "sambench\[openvino\]"`'):
        make_runner("openvino", source, CPU)
