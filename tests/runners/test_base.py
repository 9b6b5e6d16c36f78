"""What holds for every backend: the signature is checked, outputs agree, tensors stay where they are."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from exporters.exportable import Exportable
from exporters.manifest import TensorSpec
from runners.base import (
    DeviceTensor,
    ModuleSource,
    Outputs,
    Runner,
    RunnerError,
    Signature,
    SignatureError,
    to_numpy,
)
from runners.device import Device, cuda_absence
from runners.pytorch import PyTorchRunner
from runners.registry import REAL_BACKENDS, not_made_for
from runners.registry import make_runner as make_plain_runner
from tests.runners.conftest import ON_CPU, feed

CPU = Device("cpu")
SIGNATURE = Signature.of(
    [TensorSpec(name="a", dims=("P", "N", 2)), TensorSpec(name="b", dims=("P", "N")), TensorSpec(name="c", dims=(2,))],
    [TensorSpec(name="d", dims=("P",))],
)


def make_runner(backend: str, source: ModuleSource, device: Device, threads: int | None = None) -> Runner:
    """The dummy keeps the contract where it computes; `test_dummy.py` has what it does otherwise."""
    options = {"computes": True, "delay_ms": 0.0} if backend == "dummy" else {}
    return make_plain_runner(backend, source, device, threads, options)


def arrays(**changes: Any) -> dict[str, np.ndarray]:
    values = {"a": np.zeros((3, 4, 2), "f4"), "b": np.zeros((3, 4), "f4"), "c": np.zeros(2, "f4"), **changes}
    return {name: value for name, value in values.items() if value is not None}


def test_inputs_that_fit_the_signature_pass() -> None:
    SIGNATURE.check(arrays())
    SIGNATURE.check(arrays(a=np.zeros((1, 7, 2), "f4"), b=np.zeros((1, 7), "f4")))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"c": None}, r"inputs are \['a', 'b'\], the module takes \['a', 'b', 'c'\]"),
        ({"e": np.zeros(1, "f4")}, r"inputs are \['a', 'b', 'c', 'e'\]"),
        ({"c": np.zeros(2, "f8")}, "input c is float64, the module takes float32"),
        ({"c": np.zeros(2, "i8")}, "input c is int64"),
        ({"c": np.zeros(3, "f4")}, r"input c has shape \(3,\), the module takes \(2,\)"),
        ({"c": np.zeros((1, 2), "f4")}, r"input c has shape \(1, 2\)"),
        ({"b": np.zeros((2, 4), "f4")}, r"input b has shape \(2, 4\), the module takes \('P', 'N'\)"),
        ({"b": np.zeros((3, 5), "f4")}, r"input b has shape \(3, 5\)"),
    ],
)
def test_a_wrong_name_shape_type_or_an_inconsistent_dynamic_size_is_refused(
    changes: dict[str, np.ndarray], told: str
) -> None:
    """Without this, a batch of the wrong size is broadcast into a plausible answer."""
    with pytest.raises(SignatureError, match=told):
        SIGNATURE.check(arrays(**changes))


@pytest.mark.parametrize(
    ("backend", "precision"),
    [("tensorrt", "int8"), ("pytorch", "int8"), ("onnxruntime", "bf16"), ("onnxruntime", ""), ("dummy", "fp16")],
)
def test_a_precision_that_a_backend_does_not_run_is_refused_rather_than_ignored(
    backend: str, precision: str, source: ModuleSource
) -> None:
    with pytest.raises(RunnerError, match=f"tiny: precision {precision} is not supported; use fp32"):
        make_runner(backend, replace(source, precision=precision), CPU)


def test_an_option_that_a_backend_does_not_know_is_refused_and_the_known_ones_are_named(source: ModuleSource) -> None:
    class Tunable(PyTorchRunner):
        option_names = frozenset({"tune", "delay"})

    assert Tunable(source, CPU, options={"delay": 1}).options == {"delay": 1}
    with pytest.raises(RunnerError, match="backend pytorch: does not know option fast; it knows delay, tune"):
        Tunable(source, CPU, options={"delay": 1, "fast": 2})
    known = "conv_algo_search, copy_in_default_stream, cuda_graph, execution, graph, spinning, tf32"
    with pytest.raises(RunnerError, match=f"onnxruntime: does not know option a, b; it knows {known}"):
        make_plain_runner("onnxruntime", source, CPU, options={"b": 1, "a": 1})


def address(value: DeviceTensor) -> int:
    """Where its numbers lie; both backends give a view of them on the CPU."""
    return int(value.numpy().__array_interface__["data"][0])


@pytest.mark.parametrize("backend", ON_CPU)
class TestEveryBackend:
    def test_outputs_are_those_of_the_module(self, backend: str, source: ModuleSource, part: Exportable) -> None:
        # Compiling takes ten seconds a shape; test_pytorch_compile.py goes through several.
        for inputs in (feed(2, 12), feed(1, 30), feed(5, 4))[: 1 if backend == "pytorch-compile" else 3]:
            with torch.inference_mode():
                expected = part.module(**{name: torch.from_numpy(value) for name, value in inputs.items()})
            with make_runner(backend, source, CPU) as runner:
                outputs = runner.run(inputs)
            assert list(outputs) == ["features", "means"]
            for output, value in zip(outputs.values(), expected, strict=True):
                assert (output.shape, output.dtype) == (tuple(value.shape), "float32")
                np.testing.assert_allclose(output.numpy(), value.numpy(), atol=1e-5)

    def test_the_signature_is_checked_before_running(self, backend: str, source: ModuleSource) -> None:
        with make_runner(backend, source, CPU) as runner:
            with pytest.raises(SignatureError, match="input scale has shape"):
                runner.run({**feed(2), "scale": np.ones(1, np.float32)})
            with pytest.raises(SignatureError, match="input scale is float64"):
                runner.run({**feed(2), "scale": np.ones(2)})

    def test_running_outside_the_with_block_is_refused(self, backend: str, source: ModuleSource) -> None:
        runner = make_runner(backend, source, CPU)
        with pytest.raises(RunnerError, match="tiny: enter the runner"):
            runner.run(feed())
        with pytest.raises(RunnerError, match="tiny: enter the runner"):
            runner.attest()
        with runner:
            runner.run(feed())
        with pytest.raises(RunnerError, match="tiny: enter the runner"):
            runner.run(feed())

    def test_temporary_and_non_contiguous_inputs_stay_alive_and_whole(
        self, backend: str, source: ModuleSource, part: Exportable
    ) -> None:
        """ONNX Runtime borrows an array's memory: one freed too early gives numbers of whoever got it next."""
        with make_runner(backend, source, CPU) as runner:
            for seed in range(20):
                inputs = feed(2, 24, seed)
                with torch.inference_mode():
                    expected = part.module(**{name: torch.from_numpy(value) for name, value in inputs.items()})[0]
                outputs = runner.run(
                    {
                        # A view with its axes swapped, whose contiguous copy lives nowhere else.
                        "image": np.asfortranarray(inputs["image"]),
                        "scale": np.repeat(inputs["scale"], 2)[::2],
                    }
                )
                del inputs
                [np.full((2, 3, 24, 16), np.nan, np.float32) for _ in range(4)]  # takes freed memory
                np.testing.assert_allclose(outputs["features"].numpy(), expected.numpy(), atol=1e-5)

    def test_an_output_is_not_overwritten_by_the_next_run(self, backend: str, source: ModuleSource) -> None:
        with make_runner(backend, source, CPU) as runner:
            first = runner.run(feed(seed=1))["features"]
            before = first.numpy().copy()
            for seed in range(2, 8):
                runner.run(feed(seed=seed))
            np.testing.assert_array_equal(first.numpy(), before)

    def test_inputs_are_left_as_they_are(self, backend: str, source: ModuleSource) -> None:
        inputs = feed()
        before = {name: value.copy() for name, value in inputs.items()}
        with make_runner(backend, source, CPU) as runner:
            runner.run(inputs)
        for name, value in inputs.items():
            np.testing.assert_array_equal(value, before[name])

    @pytest.mark.parametrize("other", ON_CPU)
    def test_an_output_feeds_a_second_runner_of_the_same_or_another_backend(
        self, backend: str, other: str, source: ModuleSource, part: Exportable
    ) -> None:
        inputs = feed()
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
            expected = part.module(part.module(**tensors)[0], tensors["scale"])[0].numpy()
        with make_runner(backend, source, CPU) as first, make_runner(other, source, CPU) as second:
            passed = first.run(inputs)["features"]
            got = second.run({**inputs, "image": passed})["features"].numpy()
        np.testing.assert_allclose(got, expected, atol=1e-4)

    def test_inputs_are_placed_before_the_clock_starts_and_the_module_sees_only_placed_ones(
        self, backend: str, source: ModuleSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Otherwise the device-resident clock would time the copy to the device, and on one side only."""
        steps: list[str] = []
        with make_runner(backend, source, CPU) as runner:
            place, run = runner._place, runner._run

            def placing(inputs: Any) -> dict[str, DeviceTensor]:
                steps.append("place")
                return place(inputs)

            def running(inputs: Any) -> Outputs:
                steps.append("run")
                assert all(isinstance(value, DeviceTensor) for value in inputs.values())
                return run(inputs)

            def clock() -> float:
                steps.append("clock")
                return float(len(steps))

            monkeypatch.setattr(runner, "_place", placing)
            monkeypatch.setattr(runner, "_run", running)
            monkeypatch.setattr("runners.base.time", SimpleNamespace(perf_counter=clock))
            runner.run(feed())
        # Between the two ends of its clock, a dummy that computes runs a module that has a clock of its own.
        assert steps[:3] == ["place", "clock", "run"] and set(steps[3:]) == {"clock"}
        assert len(steps) == 4 or backend == "dummy"

    def test_device_ms_adds_up_what_each_call_is_told_to_take(self, backend: str, source: ModuleSource) -> None:
        told: list[tuple[dict[str, tuple[int, ...]], float]] = []
        with make_runner(backend, source, CPU) as runner:
            assert runner.device_ms == 0
            runner.run(feed(2, 12))
            unheard = runner.device_ms
            runner.on_call = lambda shapes, milliseconds: told.append((shapes, milliseconds))
            features = runner.run(feed(3, 20))["features"]
            runner.run({**feed(3, 20), "image": features})
            assert runner.device_ms == pytest.approx(unheard + sum(milliseconds for _, milliseconds in told))
        assert [shapes for shapes, _ in told] == [{"image": (3, 3, 20, 16), "scale": (3,)}] * 2
        assert unheard > 0 and all(milliseconds > 0 for _, milliseconds in told)

    def test_a_refused_input_is_no_call(self, backend: str, source: ModuleSource) -> None:
        with make_runner(backend, source, CPU) as runner:
            runner.on_call = lambda shapes, milliseconds: pytest.fail("it was told of a call")
            with pytest.raises(SignatureError):
                runner.run({"image": feed()["image"]})
            assert runner.device_ms == 0

    def test_an_input_that_is_on_the_device_already_is_not_copied(self, backend: str, source: ModuleSource) -> None:
        with make_runner(backend, source, CPU) as runner:
            outputs = runner.run(feed())
            placed = runner._place({"image": outputs["features"], "scale": feed()["scale"]})
            assert address(placed["image"]) == address(outputs["features"])
            again = runner._place(placed)
            assert {name: address(value) for name, value in again.items()} == {
                name: address(value) for name, value in placed.items()
            }

    def test_it_attests_what_it_was_given(self, backend: str, source: ModuleSource) -> None:
        with make_runner(backend, source, CPU, threads=1) as runner:
            told = runner.attest()
        assert (told.backend, told.device, told.precision, told.threads) == (backend, "cpu", "fp32", 1)
        assert told.version[0].isdigit()
        assert len(told.providers) == 1

    def test_cuda_without_cuda_is_refused_and_nothing_runs_on_the_cpu(self, backend: str, source: ModuleSource) -> None:
        if cuda_absence() is None:
            pytest.skip("CUDA is here")
        loaded: list[str] = []
        spied = ModuleSource(source.name, source.signature, lambda: loaded.append("module"), source.onnx_path)  # type: ignore[arg-type, return-value]
        runner = make_runner(backend, spied, Device("cuda"))
        missing = rf"device cuda for {backend}: .*(driver|only a CPU).*; use device cpu"
        never = rf"backend {backend}: not applicable to device cuda; .*use device cpu"
        with pytest.raises(RunnerError, match=never if not_made_for(backend, "cuda") else missing) as caught:
            runner.__enter__()
        assert type(caught.value).__name__ == "DeviceUnavailableError"
        assert loaded == []
        with pytest.raises(RunnerError, match="enter the runner"):
            runner.run(feed())


def test_both_backends_give_the_same_numbers(source: ModuleSource) -> None:
    results = []
    for backend in set(ON_CPU) & set(REAL_BACKENDS):
        with make_runner(backend, source, CPU) as runner:
            results.append({name: value.numpy() for name, value in runner.run(feed(3, 33)).items()})
    for name in ("features", "means"):
        np.testing.assert_allclose(results[0][name], results[1][name], atol=1e-5)


def test_to_numpy_takes_arrays_and_device_tensors(source: ModuleSource) -> None:
    array = np.ones(3, np.float32)
    assert to_numpy(array) is array
    with make_runner("pytorch", source, CPU) as runner:
        output = runner.run(feed())["means"]
    assert to_numpy(output).shape == (2, 8)
