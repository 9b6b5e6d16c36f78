"""torch.compile: what it compiled is what it attests, compiling is seen, and nothing falls back to eager unseen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import fx, nn

from exporters.manifest import TensorSpec
from runners import pytorch_compile
from runners.base import DeviceUnavailableError, ModuleSource, NotApplicableError, RunnerError, Signature
from runners.device import Device
from runners.pytorch import PyTorchRunner
from runners.pytorch_compile import PyTorchCompileRunner, products_in
from tests.runners.conftest import feed

CPU = Device("cpu")
WITHOUT_COMPILER = PyTorchCompileRunner.absence(CPU)
pytestmark = pytest.mark.skipif(WITHOUT_COMPILER is not None, reason=str(WITHOUT_COMPILER))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_new_shape_is_compiled_in_its_first_call_and_not_again(precision: str, source: ModuleSource) -> None:
    module = replace(source, precision=precision)
    set_ups = []
    with PyTorchRunner(module, CPU, threads=1) as eager:
        expected = {rows: eager.run(feed(2, rows))["features"].numpy() for rows in (12, 20)}
    with PyTorchCompileRunner(module, CPU, threads=1, options={"dynamic": False}) as runner:
        assert runner.attest().execution == "inductor, nothing compiled yet"
        for rows in (12, 12, 20, 20, 12):
            got = runner.run(feed(2, rows))["features"]
            assert got.dtype == "float32"
            np.testing.assert_allclose(got.numpy(), expected[rows], atol=1e-5 if precision == "fp32" else 1e-2)
            set_ups.append(runner.set_ups)
        told = runner.attest()
    assert set_ups == [1, 1, 2, 2, 2]
    assert (told.execution, told.precision, told.providers) == ("compiled (inductor)", precision, ("inductor-cpu",))
    assert told.notes == ("2 graphs compiled",)


class Breaking(nn.Module):
    """Asks Python for a number between two products, which compiled code cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x)
        torch._dynamo.graph_break()
        return self.second(hidden)


def test_graph_breaks_are_counted_and_noted() -> None:
    """Between them Python goes on as in eager mode, and what is called compiled is partly not."""
    spec = TensorSpec(name="x", dims=("B", 4))
    module = ModuleSource("broken", Signature.of([spec], [replace_name(spec)]), torch_module=Breaking)
    with PyTorchCompileRunner(module, CPU, threads=1) as runner:
        runner.run({"x": np.ones((2, 4), np.float32)})
        notes = runner.attest().notes
    assert notes[0] == "2 graphs compiled"
    assert notes[1].startswith("1 graph break, where Python goes on uncompiled; most often: ")


def replace_name(spec: TensorSpec) -> TensorSpec:
    return TensorSpec(name="y", dims=spec.dims)


def test_more_shapes_than_are_compiled_are_an_error_and_not_a_quiet_eager_run(
    source: ModuleSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pytorch_compile, "SHAPES", 1)
    torch._dynamo.reset()
    with PyTorchCompileRunner(source, CPU, threads=1, options={"dynamic": False}) as runner:
        runner.run(feed(2, 12))
        with pytest.raises(RunnerError, match=r"met more than 1 kinds of shapes, .*; set the option dynamic"):
            runner.run(feed(2, 20))


def test_without_a_compiler_it_says_so_once_and_loads_nothing(source: ModuleSource) -> None:
    # PyTorch remembers what it found.
    torch._inductor.cpp_builder.cpp_compiler_search.cache_clear()
    try:
        # Its own patch, because pytest's hides the setting from every later test when it takes it back.
        words = r"finds no C\+\+ compiler.*; install g\+\+ or name"
        patched = torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)})
        with patched, pytest.raises(DeviceUnavailableError, match=words):
            PyTorchCompileRunner(source, CPU).__enter__()
    finally:
        torch._inductor.cpp_builder.cpp_compiler_search.cache_clear()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"mode": "fastest"},
            "option mode is 'fastest'; give default or max-autotune-no-cudagraphs or reduce-overhead",
        ),
        ({"dynamic": "yes"}, "option dynamic is 'yes'; give true, false or null"),
        ({"channels_last": 1}, "option channels_last is 1; give true or false"),
        ({"speed": 1}, "does not know option speed; it knows channels_last, dynamic, mode, tf32"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, object], words: str, source: ModuleSource) -> None:
    with pytest.raises(RunnerError, match=words):
        PyTorchCompileRunner(source, CPU, options=options)


def test_products_are_told_by_the_type_of_what_they_give() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    for function, dtype in ((torch.matmul, torch.bfloat16), (torch.conv2d, torch.float32), (torch.relu, torch.float16)):
        graph.call_function(function, (x, x)).meta["example_value"] = torch.empty(0, dtype=dtype)
    graph.output(x)
    assert products_in(fx.GraphModule(nn.Module(), graph)) == {"bf16": 1, "fp32": 1}


@pytest.mark.parametrize("mode", pytorch_compile.GRAPH_MODES)
def test_cuda_graphs_are_refused_on_a_cpu_and_allowed_on_a_gpu(mode: str, source: ModuleSource) -> None:
    """Built without complaint, because a specification's options are checked before a device is chosen."""
    runner = PyTorchCompileRunner(source, CPU, options={"mode": mode})
    words = f"option mode {mode} of pytorch-compile is not applicable, because the device is a CPU"
    with pytest.raises(NotApplicableError, match=words):
        runner.__enter__()
    assert PyTorchCompileRunner.inapplicable(Device("cuda"), "fp16", {"mode": mode}) is None
    assert "fp16" in str(PyTorchCompileRunner.inapplicable(CPU, "fp16"))


@pytest.mark.parametrize(
    ("mode", "recorded", "skipped", "told"),
    [
        ("default", 0, 0, "off"),
        ("max-autotune-no-cudagraphs", 5, 0, "off"),  # another module's
        ("reduce-overhead", 2, 0, "on"),
        ("max-autotune", 1, 0, "on"),
        ("reduce-overhead", 1, 1, "on, but 1 of 2 compiled graphs refused"),
        ("reduce-overhead", 0, 2, "not applicable, because inductor refused a CUDA graph for 2 of 2 compiled graphs"),
        ("reduce-overhead", 0, 0, "off: nothing recorded yet, which takes two calls of a shape"),
    ],
)
def test_graph_capture_is_what_inductor_recorded_and_not_what_was_asked(
    mode: str, recorded: int, skipped: int, told: str
) -> None:
    assert pytorch_compile.capture_told(mode, 2, recorded, skipped) == told


def test_what_a_graph_wrote_is_copied_out_before_the_next_replay() -> None:
    fixed = torch.zeros(3)
    alone, (first, second) = pytorch_compile.kept(fixed), pytorch_compile.kept((fixed, fixed[:1]))
    fixed += 1
    assert not alone.any() and not first.any() and not second.any()  # type: ignore[union-attr]


def test_a_call_that_recorded_a_graph_is_no_warm_one(source: ModuleSource) -> None:
    runner = PyTorchCompileRunner(source, CPU)
    for recorded in (0, 1, 0, 2):
        runner._note_recordings(recorded)
    assert (runner.set_ups, runner._recorded) == (2, 3)
    assert pytorch_compile.recorded_graphs(0) == 0, "without CUDA there is nothing to ask"
