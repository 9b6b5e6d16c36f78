"""The reference backend: the live module, without gradients, without TF32, on the device asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from exporters.exportable import Exportable
from runners.base import ModuleSource, NotApplicableError, RunnerError
from runners.device import Device
from runners.pytorch import PyTorchRunner, TorchTensor, tf32_allowed
from runners.torch_numerics import channels_last_note, numerics, product_precision, put_channels_last
from tests.runners.conftest import feed

CPU = Device("cpu")


def test_an_output_goes_into_the_next_module_without_a_copy(
    source: ModuleSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    with PyTorchRunner(source, CPU) as runner:
        features = runner.run(feed())["features"]
        assert isinstance(features, TorchTensor)
        runner._loaded().register_forward_pre_hook(
            lambda module, args, kwargs: seen.append(kwargs["image"].data_ptr()), with_kwargs=True
        )
        monkeypatch.setattr(TorchTensor, "numpy", lambda self: pytest.fail("it went through host memory"))
        runner.run({**feed(), "image": features})
    assert seen == [features.tensor.data_ptr()]


def test_it_runs_without_gradients_and_in_evaluation_mode(source: ModuleSource, part: Exportable) -> None:
    """A module given in training mode would use dropout and the batch's own statistics."""
    training = ModuleSource("tiny", source.signature, torch_module=lambda: part.module.__class__().train())
    with PyTorchRunner(training, CPU) as runner:
        assert not any(module.training for module in runner._loaded().modules())
        tensor = runner.run(feed())["features"].tensor  # type: ignore[attr-defined]
    assert tensor.is_inference()
    assert not tensor.requires_grad


def test_tf32_is_off(source: ModuleSource) -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        with PyTorchRunner(source, CPU):
            assert torch.get_float32_matmul_precision() == "highest"
            assert torch.backends.cudnn.allow_tf32 is False
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def test_tf32_is_read_back_from_pytorch_for_matrix_products_and_for_cudnn() -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        told = {}
        for products in ("highest", "high"):
            for convolutions in (False, True):
                torch.set_float32_matmul_precision(products)
                torch.backends.cudnn.allow_tf32 = convolutions
                told[products, convolutions] = tf32_allowed()
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
    assert told == {
        ("highest", False): False,
        ("highest", True): True,
        ("high", False): True,
        ("high", True): True,
    }


def test_on_a_cpu_there_is_neither_tf32_nor_graph_capture_nor_driver(source: ModuleSource) -> None:
    with PyTorchRunner(source, CPU) as runner:
        told = runner.attest()
    assert (told.execution, told.tf32, told.driver) == ("eager", None, None)
    assert told.graph_capture == "not applicable, because the device is a CPU"


def test_the_threads_attested_are_those_inside_the_run_and_not_those_asked_for(
    source: ModuleSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that takes the setting and keeps its own number must be seen."""
    with PyTorchRunner(source, CPU, threads=2) as runner:
        monkeypatch.setattr("runners.pytorch.torch.set_num_threads", lambda count: None)
        torch_threads = torch.get_num_threads()
        monkeypatch.setattr("runners.pytorch.torch.get_num_threads", lambda: torch_threads + 5)
        runner.run(feed())
        monkeypatch.undo()
        assert runner.attest().threads == torch_threads + 5


@pytest.mark.parametrize("threads", [1, 2])
def test_it_attests_the_threads_that_pytorch_uses(threads: int, source: ModuleSource) -> None:
    with PyTorchRunner(source, CPU, threads=threads) as runner:
        told = runner.attest()
    assert told.threads == threads
    assert told.providers == ("eager-cpu",)
    assert told.version == torch.__version__
    assert told.nodes_per_provider is None


@pytest.mark.parametrize("threads", [1, 2])
def test_the_module_gets_its_threads_and_the_process_keeps_its_own(threads: int, source: ModuleSource) -> None:
    """Pre- and postprocessing use PyTorch too; threads left behind would change the next backend's turn."""
    seen: list[int] = []

    class Watching(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
            seen.append(torch.get_num_threads())
            return self.inner(**inputs)

    assert source.torch_module is not None
    inner = source.torch_module()
    watched = ModuleSource("tiny", source.signature, torch_module=lambda: Watching(inner))
    feed = {
        spec.name: np.zeros([dim if isinstance(dim, int) else 2 for dim in spec.dims], dtype=np.float32)
        for spec in source.signature.inputs
    }
    before = torch.get_num_threads()
    with PyTorchRunner(watched, CPU, threads=threads) as runner:
        runner.run(feed)
        assert torch.get_num_threads() == before
    assert seen == [threads]


def test_precision_and_device_are_read_off_the_module(source: ModuleSource, part: Exportable) -> None:
    """Half-precision weights must not pass for fp32 because fp32 was asked for."""
    half = ModuleSource("tiny", source.signature, torch_module=lambda: part.module.__class__().half())
    with PyTorchRunner(half, CPU) as runner:
        assert runner.attest().precision == "fp16"


def test_a_source_without_a_module_is_refused(source: ModuleSource) -> None:
    with pytest.raises(RunnerError, match="tiny has no PyTorch module; give its checkpoint"):
        PyTorchRunner(ModuleSource("tiny", source.signature), CPU).__enter__()


def test_a_pytorch_without_cuda_beside_a_working_driver_is_told_apart(
    source: ModuleSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runners.pytorch.cuda_absence", lambda index: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RunnerError, match=r"device cuda:1 for pytorch: this PyTorch \(.*\) cannot use the GPU"):
        PyTorchRunner(source, Device("cuda", 1)).__enter__()


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_a_read_only_array_can_be_an_input(source: ModuleSource) -> None:
    inputs = feed()
    with PyTorchRunner(source, CPU) as runner:
        expected = runner.run(inputs)["features"].numpy().copy()
        for value in inputs.values():
            value.flags.writeable = False
        np.testing.assert_array_equal(runner.run(inputs)["features"].numpy(), expected)


class Mixed(torch.nn.Module):
    """A convolution that keeps itself out of autocast, as careful networks do, and one that does not."""

    def __init__(self, careful: bool) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(3, 3, 1), torch.nn.Conv2d(3, 3, 1)
        self.careful = careful

    def forward(self, image: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast("cpu", enabled=not self.careful):
            hidden = self.first(image)
        return self.second(hidden), scale[:, None].expand(-1, 8)


def test_bf16_computes_products_in_bf16_and_gives_outputs_of_the_signatures_type(source: ModuleSource) -> None:
    with PyTorchRunner(source, CPU) as runner:
        expected = runner.run(feed())["features"].numpy()
    with PyTorchRunner(replace(source, precision="bf16"), CPU) as runner:
        assert runner.attest().precision == "bf16"
        got = runner.run(feed())
        told = runner.attest()
    assert (told.precision, told.notes) == ("bf16", ())
    assert {tensor.dtype for tensor in got.values()} == {"float32"}
    error = np.abs(got["features"].numpy() - expected).max()
    assert 1e-5 < error < 2e-2  # bf16 has 8 bits: fp32 in disguise would differ by less


@pytest.mark.parametrize(("careful", "precision"), [(True, "mixed"), (False, "bf16")])
def test_what_the_first_runs_products_were_is_attested_and_not_what_autocast_was_told(
    careful: bool, precision: str, source: ModuleSource
) -> None:
    mixed = replace(source, torch_module=lambda: Mixed(careful), precision="bf16")
    with PyTorchRunner(mixed, CPU) as runner:
        runner.run(feed())
        told = runner.attest()
        assert not any(part._forward_hooks for part in runner._loaded().modules())  # they would cost time
    assert told.precision == precision
    assert told.notes == (("of 2 products 1 ran in fp32, 1 in bf16",) if careful else ())


def test_channels_last_moves_weights_and_inputs_and_changes_no_number(source: ModuleSource) -> None:
    with PyTorchRunner(source, CPU) as runner:
        expected = runner.run(feed())["features"].numpy()
    with PyTorchRunner(source, CPU, options={"channels_last": True}) as runner:
        placed = runner._place(feed())["image"].tensor  # type: ignore[attr-defined]
        assert placed.is_contiguous(memory_format=torch.channels_last)
        np.testing.assert_allclose(runner.run(feed())["features"].numpy(), expected, atol=1e-5)
        assert runner.attest().notes == ("channels last: 2 of 2 convolutions",)


def test_channels_last_takes_2d_and_3d_convolutions_in_one_module() -> None:
    both = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3), torch.nn.Conv3d(2, 4, 3), torch.nn.Conv1d(2, 4, 3))
    assert channels_last_note(both) == "channels last: 0 of 2 convolutions"
    assert channels_last_note(put_channels_last(both)) == "channels last: 2 of 2 convolutions"


def test_fp16_is_refused_on_a_cpu_before_anything_is_loaded_and_runs_on_a_gpu(source: ModuleSource) -> None:
    half = replace(source, precision="fp16", torch_module=lambda: pytest.fail("it was loaded"))
    with pytest.raises(
        NotApplicableError, match="precision fp16 of pytorch is not applicable, because the device is a CPU"
    ):
        PyTorchRunner(half, CPU).__enter__()
    assert PyTorchRunner.inapplicable(Device("cuda"), "fp16") is None
    assert PyTorchRunner.inapplicable(CPU, "bf16") is None
    with numerics("fp16", "cpu"):
        assert product_precision(torch.ones(1)) == "fp16"


def test_tf32_is_refused_if_it_is_no_truth_value_and_noted_on_a_cpu_where_it_means_nothing(
    source: ModuleSource,
) -> None:
    with pytest.raises(RunnerError, match="option tf32 is 1; give true or false"):
        PyTorchRunner(source, CPU, options={"tf32": 1})
    with PyTorchRunner(source, CPU, options={"tf32": True}) as runner:
        told = runner.attest()
        assert torch.get_float32_matmul_precision() == "highest"
    assert (told.tf32, told.tf32_asked, told.clocks) == (None, False, None)
    assert "option tf32 is for a GPU and means nothing on the CPU" in told.notes
