"""Where a training runs is decided once, and only a GPU trains in mixed precision."""

from __future__ import annotations

import pytest
import torch

from benchmark.sections import TrainSpec
from benchmark.training import device
from benchmark.training.device import mixed_precision, training_device
from benchmark.training.settings import TrainingSettings
from benchmark.training.state import Learner
from runners.device import Device
from tests.benchmark.training.synthetic import CONFIG


@pytest.mark.parametrize(
    ("wanted", "driver", "framework", "taken"),
    [
        ("auto", True, True, "cuda"),
        ("auto", True, False, "cpu"),
        ("auto", False, True, "cpu"),
        ("cpu", True, True, "cpu"),
        ("cuda:1", True, True, "cuda:1"),
        # What was asked for is refused elsewhere, never replaced in silence.
        ("cuda", False, False, "cuda"),
    ],
)
def test_a_gpu_is_taken_by_itself_only_where_driver_and_pytorch_can_use_it(
    wanted: str, driver: bool, framework: bool, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "cuda_absence", lambda: None if driver else "no driver")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: framework)
    assert str(training_device(wanted)) == taken


def test_only_a_gpu_trains_in_mixed_precision_and_it_can_be_turned_off() -> None:
    cuda, cpu = Device("cuda"), Device("cpu")
    assert [mixed_precision(where, amp) for where in (cuda, cpu) for amp in (True, False)] == [
        True,
        False,
        False,
        False,
    ]
    assert TrainingSettings.of(TrainSpec(), 0, cuda).amp
    assert not TrainingSettings.of(TrainSpec(amp=False), 0, cuda).amp


def test_on_the_cpu_the_scaler_leaves_gradients_alone() -> None:
    learner = Learner(CONFIG, TrainingSettings.of(TrainSpec(), 0, Device("cpu")))
    assert not learner.scaler.is_enabled()
    assert float(learner.scaler.scale(torch.tensor(3.0))) == 3.0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_gpu_learns_in_mixed_precision(tmp_path: object) -> None:
    learner = Learner(CONFIG, TrainingSettings.of(TrainSpec(), 0, Device("cuda")))
    assert learner.scaler.is_enabled()
    with torch.autocast("cuda", torch.float16):
        assert learner.network(torch.zeros(2, 1, 32, 32, device="cuda")).dtype == torch.float16
