"""From slices to the UNet's label maps: windows, values and channels, over fake and real runners."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.data.slices import Slice
from benchmark.lanes import LaneSettings, module_source, open_lanes
from benchmark.results import LaneKey
from benchmark.stages.base import NotFiniteError, Unit
from benchmark.stages.segment import SegmentPipeline, match_labels, units
from benchmark.stages.windows import WindowedNetwork
from exporters.unet import build_unet, load_unet, unet_checkpoint
from exporters.unet_config import SlidingWindow, monai_unet
from runners.device import Device
from tests.benchmark.stages.fake_runners import Given

CONFIG = monai_unet({1: "liver", 4: "spleen"}, SlidingWindow(patch=(16, 24)), (4, 8, 8), (2, 2), 1)


class Thresholds:
    """A network whose answer at a voxel is known: background below 1/3, channel 1 up to 2/3, channel 2 above."""

    device_ms = 0.0
    device = Device("cpu")

    def __init__(self, bad: float | None = None) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.bad = bad

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Given]:
        image = inputs["image"]
        assert image.flags["C_CONTIGUOUS"]
        self.shapes.append(image.shape)
        centres = np.array([1 / 6, 3 / 6, 5 / 6], np.float32).reshape(1, 3, 1, 1)
        logits = -np.abs(image - centres)
        if self.bad is not None:
            logits[0, 0, 0, 0] = self.bad
        return {"logits": Given(logits)}


def piece(rows: int, columns: int, seed: int = 0, index: int = 0) -> Slice:
    image = np.random.default_rng(seed).uniform(0, 255, (rows, columns)).astype(np.float32)
    return Slice("case", index, image, np.zeros((rows, columns), np.uint8), (1.0, 1.0))


def test_batches_hold_slices_of_one_shape_in_order() -> None:
    shapes = [(8, 8)] * 5 + [(8, 9)] * 2 + [(8, 8)]
    made = list(units((piece(*shape, index=place) for place, shape in enumerate(shapes)), batch=2))
    assert [[one.index for one in unit.slices] for unit in made] == [[0, 1], [2, 3], [4], [5, 6], [7]]
    assert all(not unit.prompts for unit in made)
    assert list(units([], 4)) == []


def test_labels_are_matched_by_name_and_not_by_value() -> None:
    channels, common = match_labels({1: "spleen", 2: "liver", 3: "colon"}, {1: "liver", 5: "spleen", 7: "aorta"})
    assert channels == [5, 1, 0], "a channel that the task does not know becomes background"
    assert common == {1: "liver", 5: "spleen"}
    assert match_labels({1: "colon"}, {1: "liver"}) == ([0], {})


@pytest.mark.parametrize(
    ("shape", "overlap"), [((16, 24), 0.25), ((10, 9), 0.25), ((40, 60), 0.25), ((16, 60), 0.5), ((33, 12), 0.0)]
)
def test_every_voxel_of_a_slice_as_large_as_the_patch_smaller_or_larger_gets_its_label(
    shape: tuple[int, int], overlap: float
) -> None:
    network = Thresholds()
    pieces = tuple(piece(*shape, seed=seed) for seed in range(3))
    windows = SlidingWindow(patch=(16, 24), overlap=overlap)
    pipeline = SegmentPipeline(WindowedNetwork(network, windows, 4), "reference", [4, 9])  # type: ignore[arg-type]
    outcome = pipeline.process(Unit(pieces, {}))
    found = outcome.labels["reference"]
    assert (found.shape, found.dtype) == ((3, *shape), np.uint8)
    expected = np.stack([np.array([0, 4, 9])[np.clip(one.image // 85, 0, 2).astype(int)] for one in pieces])
    np.testing.assert_array_equal(found, expected)
    assert {window[1:] for window in network.shapes} == {(1, 16, 24)}
    assert max(window[0] for window in network.shapes) <= 4
    assert list(outcome.phases("reference")) == ["preprocess", "infer", "postprocess"]


def test_a_channel_that_the_task_does_not_know_becomes_background() -> None:
    unit = Unit((piece(16, 24),), {})
    windows = SlidingWindow(patch=(16, 24))
    network = WindowedNetwork(Thresholds(), windows, 4)  # type: ignore[arg-type]
    found = SegmentPipeline(network, "x", [0, 9]).process(unit).labels["x"]
    assert set(np.unique(found)) == {0, 9}


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_a_network_that_answers_with_no_number_fails_rather_than_labels(bad: float) -> None:
    windows = SlidingWindow(patch=(16, 24))
    pipeline = SegmentPipeline(WindowedNetwork(Thresholds(bad), windows, 4), "x", [1, 2])  # type: ignore[arg-type]
    with pytest.raises(NotFiniteError):
        pipeline.process(Unit((piece(20, 30),), {}))


@pytest.fixture(scope="module")
def unet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("segment")
    torch.manual_seed(3)
    torch.save(unet_checkpoint(CONFIG, build_unet(CONFIG)), folder / "unet.pt")
    load_unet(folder / "unet.pt").export(folder / "artifact")
    return folder


def test_both_backends_label_alike_and_as_a_single_pass_of_the_network(unet_folder: Path) -> None:
    """A slice of the patch's size needs no windows: one plain call of the module is the reference."""
    loaded = load_unet(unet_folder / "unet.pt")
    sources = {"fp32": [module_source(loaded.unet, unet_folder / "artifact")]}
    lane_settings = LaneSettings((LaneKey("pytorch"), LaneKey("onnxruntime")), "cpu", torch.get_num_threads())
    exact, large = (Unit(tuple(piece(*shape, seed=s) for s in range(3)), {}) for shape in ((16, 24), (40, 50)))
    windows = SlidingWindow(patch=(16, 24))
    with torch.inference_mode():
        image = torch.from_numpy(np.stack([one.image for one in exact.slices])[:, None]) / 255
        expected = np.array([0, 1, 4])[loaded.unet.module(image).argmax(1).numpy()]
    assert len(np.unique(expected)) > 1, "the test must be able to see a difference"
    with open_lanes(
        lane_settings, sources, lambda one: SegmentPipeline(WindowedNetwork(one[0], windows, 2), "ref", [1, 4])
    ) as lanes:
        found = {name: [lane.process(unit).labels["ref"] for unit in (exact, large)] for name, lane in lanes.items()}
    for maps in found.values():
        np.testing.assert_array_equal(maps[0], expected)
    assert np.mean(found["pytorch"][1] == found["onnxruntime"][1]) > 0.999
