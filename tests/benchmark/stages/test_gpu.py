"""On a GPU: the masks of the CPU, and no floats that come to the host. Runs by itself where CUDA is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.data.slices import Slice, slices
from benchmark.data.volume import Volume
from benchmark.lanes import LaneSettings, module_source, open_lanes
from benchmark.prompts import Prompter
from benchmark.results import LaneKey
from benchmark.stages.base import Outcome, Unit
from benchmark.stages.on_device import torch_device
from benchmark.stages.pseudolabel import Pseudolabelling, units
from benchmark.stages.sam_input import SamInput
from benchmark.stages.segment import Segmenting
from benchmark.stages.unet_volumes import VolumeInput
from exporters.exportable import Exportable
from exporters.manifest import TensorSpec
from exporters.unet import build_unet
from exporters.unet_config import SlidingWindow, Volumes, monai_unet
from runners.device import Device, cuda_absence
from tests.benchmark.stages.copies import Copies, counting_copies

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(cuda_absence() is not None, reason=f"no GPU: {cuda_absence()}")]

DEVICE = "cuda"
BACKENDS = pytest.mark.parametrize("backend", ["pytorch", "onnxruntime"])
STRATEGIES = ("box", "iterative3")


@pytest.fixture
def copies() -> Iterator[Copies]:
    with counting_copies(DEVICE) as counted:
        yield counted


def dice(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Over all labels together; 1 where both are empty."""
    same = np.count_nonzero((ours == theirs) & (ours > 0))
    total = np.count_nonzero(ours) + np.count_nonzero(theirs)
    return 2 * same / total if total else 1.0


def volume_of(shape: tuple[int, int, int]) -> Volume:
    image = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    geometry: Any = None  # of the file, of which there is none
    return Volume("case", image, np.zeros(shape, np.uint8), (1.0, 1.0, 1.0), geometry)


@pytest.fixture(scope="module")
def unit(abdomen_slice: Any) -> Unit:
    piece: Slice = abdomen_slice
    values = {int(value): f"label {value}" for value in np.unique(piece.label) if value}
    prompter = Prompter.of(STRATEGIES, values).case(piece.case, piece.label.T[:, :, None])
    (made,) = units([piece], prompter)
    return made


def labelled(litemedsam: Any, folder: Any, backend: str, device: str, unit: Unit) -> Outcome:
    sources = {"fp32": [module_source(part, folder) for part in (litemedsam.encoder, litemedsam.decoder)]}
    recipe = Pseudolabelling(SamInput.of(litemedsam.model), 4)
    settings = LaneSettings((LaneKey(backend),), device, 1)
    with open_lanes(settings, sources, recipe) as lanes:
        return lanes[backend].process(unit)


@BACKENDS
def test_masks_on_a_gpu_are_the_cpus_and_only_bits_and_label_maps_come_to_the_host(
    litemedsam: Any, litemedsam_folder: Any, unit: Unit, backend: str, copies: Copies
) -> None:
    expected = labelled(litemedsam, litemedsam_folder, backend, "cpu", unit)
    copies.clear()
    found = labelled(litemedsam, litemedsam_folder, backend, DEVICE, unit)
    assert dice(found.labels["box"], expected.labels["box"]) >= 0.999
    # A click is set by the mask before it, so that one voxel may lead to another click.
    assert dice(found.labels["iterative3"], expected.labels["iterative3"]) >= 0.98
    copies.require_only({"uint8", "bool"})
    maps = [one for one in copies if one.dtype == "uint8"]
    assert [one.shape for one in maps] == [unit.slices[0].label.shape] * len(STRATEGIES), "one map a strategy"


@pytest.fixture(scope="module", params=["slices", "volumes", "resampled"])
def network(request: pytest.FixtureRequest) -> tuple[Exportable, Segmenting]:
    torch.manual_seed(0)
    patch = (32, 32) if request.param == "slices" else (16, 16, 8)
    windows = SlidingWindow(patch=patch, overlap=0.5, blending="gaussian")
    seen_as = {"slices": None, "volumes": Volumes(), "resampled": Volumes(spacing=(2.0, 2.0, 2.0))}[request.param]
    config = monai_unet({1: "a", 4: "b"}, windows, (4, 8, 8), (2, 2), 1, seen_as)
    sizes = ("B", 1, *patch)
    image, logits = (
        TensorSpec(name=name, dims=dims) for name, dims in (("image", sizes), ("logits", ("B", 3, *patch)))
    )
    part = Exportable("unet", build_unet(config).eval(), (image,), (logits,), lambda: [], {})
    return part, Segmenting(config, windows, 4, "reference", (1, 4))


def test_a_network_on_a_gpu_labels_as_on_the_cpu_and_only_label_maps_come_to_the_host(
    network: tuple[Exportable, Segmenting], copies: Copies, tmp_path: Any
) -> None:
    part, recipe = network
    volume = volume_of((40, 36, 12))
    pieces = tuple(slices(volume))
    unit = Unit(pieces, {}, volume=volume if recipe.whole_volumes else None)
    found = {}
    for device in ("cpu", DEVICE):
        copies.clear()
        settings = LaneSettings((LaneKey("pytorch"),), device, 1)
        with open_lanes(settings, {"fp32": [module_source(part, tmp_path)]}, recipe) as lanes:
            found[device] = lanes["pytorch"].process(unit).labels["reference"]
    assert len(np.unique(found["cpu"])) > 1, "the test must be able to see a difference"
    assert np.mean(found["cpu"] == found[DEVICE]) > 0.999
    copies.require_only({"uint8"})


def test_the_way_back_to_the_volumes_grid_stays_on_the_gpu() -> None:
    windows = SlidingWindow(patch=(16, 16, 8))
    config = monai_unet({1: "a"}, windows, (4, 8), (2,), 1, Volumes(spacing=(2.0, 2.0, 2.0)))
    seen_as = VolumeInput(config)
    volume = volume_of((20, 18, 6))
    prepared = seen_as.prepare(volume)
    logits = torch.randn(1, 2, *prepared.image.shape[2:], generator=torch.manual_seed(0))
    on_cpu = seen_as.labels(prepared, logits)
    assert np.mean(on_cpu == seen_as.labels(prepared, logits.to(torch_device(Device.parse(DEVICE))))) > 0.999
