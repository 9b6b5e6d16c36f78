"""What a module's calls cost, by hand; what the counters themselves count is held against hand counts elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmark.costs import ModuleCosts, flops_of, module_cost
from benchmark.measured import Peak
from benchmark.records import ShapeCalls
from exporters.exportable import Exportable
from exporters.manifest import TensorSpec
from runners.base import Shapes

SMALL: Shapes = {"image": (1, 3, 4, 4)}
LARGE: Shapes = {"image": (2, 3, 4, 4)}


def counts(shapes: Shapes) -> int:
    """A billion for each image of a batch."""
    return 10**9 * shapes["image"][0]


def test_the_share_of_peak_is_all_operations_over_all_time() -> None:
    """One call of 1 GFLOP in 10 ms and two of 2 GFLOP in 20 ms each: 5 GFLOP in 50 ms, half of 200 GFLOP/s."""
    calls = [ShapeCalls(shapes=SMALL, ms=[10.0]), ShapeCalls(shapes=LARGE, ms=[20.0, 20.0])]
    cost = module_cost("unet", calls, ModuleCosts({"unet": counts}, Peak(fp32_gflops=200.0)))
    assert (cost.calls, cost.p50_ms, cost.mean_ms) == (3, 20.0, pytest.approx(50 / 3))
    assert cost.gflops_per_call == pytest.approx(5 / 3)
    assert cost.share_of_peak == pytest.approx(0.5)
    assert cost.reason is None


@pytest.mark.parametrize(
    ("costs", "reason", "counted"),
    [
        (None, "its operations could not be counted", False),
        (ModuleCosts({}, Peak(fp32_gflops=1.0)), "its operations could not be counted", False),
        (ModuleCosts({"unet": lambda shapes: None}, Peak(fp32_gflops=1.0)), "its operations could not", False),
        (ModuleCosts({"unet": counts}, None), "the machine's rate was not measured", True),
        (ModuleCosts({"unet": counts}, Peak(fp32_gflops=None, reason="no GPU")), "no GPU", True),
        (ModuleCosts({"unet": counts}, Peak(fp32_gflops=None)), "the machine's rate was not measured", True),
    ],
)
def test_what_cannot_be_had_is_null_with_a_reason_and_the_times_stay(
    costs: ModuleCosts | None, reason: str, counted: bool
) -> None:
    cost = module_cost("unet", [ShapeCalls(shapes=SMALL, ms=[10.0])], costs)
    assert cost.p50_ms == 10.0
    assert cost.share_of_peak is None
    assert cost.gflops_per_call == (1.0 if counted else None)
    assert cost.reason is not None and cost.reason.startswith(reason)


def test_one_shape_that_cannot_be_counted_leaves_no_share_rather_than_one_of_the_others() -> None:
    costs = ModuleCosts({"unet": lambda shapes: None if shapes == LARGE else 10**9}, Peak(fp32_gflops=1.0))
    calls = [ShapeCalls(shapes=SMALL, ms=[10.0]), ShapeCalls(shapes=LARGE, ms=[20.0])]
    cost = module_cost("unet", calls, costs)
    assert (cost.calls, cost.gflops_per_call, cost.share_of_peak) == (2, None, None)


def test_a_module_that_was_not_called_has_no_time() -> None:
    cost = module_cost("unet", [], ModuleCosts({"unet": counts}, Peak(fp32_gflops=1.0)))
    assert (cost.calls, cost.p50_ms, cost.mean_ms, cost.share_of_peak) == (0, None, None, None)
    assert cost.reason


def test_each_shape_is_counted_once() -> None:
    asked: list[Shapes] = []
    costs = ModuleCosts({"unet": lambda shapes: asked.append(shapes) or counts(shapes)}, None)
    assert [costs.flops("unet", shapes) for shapes in (SMALL, LARGE, dict(SMALL))] == [10**9, 2 * 10**9, 10**9]
    assert asked == [SMALL, LARGE]


def test_an_exportables_operations_follow_the_shapes_of_a_call() -> None:
    """A 3 × 3 convolution from 3 to 5 channels over 4 × 4 voxels: 2 · 27 · 5 · 16 operations an image."""
    image = TensorSpec(name="image", dims=("B", 3, 4, 4))
    logits = TensorSpec(name="logits", dims=("B", 5, 4, 4))

    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 5, 3, padding=1, bias=False)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.convolution(image)

    count = flops_of(Exportable("unet", Module().eval(), (image,), (logits,), lambda: [], {}))
    assert [count(shapes) for shapes in (SMALL, LARGE)] == [2 * 27 * 5 * 16, 2 * 2 * 27 * 5 * 16]
