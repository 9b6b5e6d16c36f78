"""Windows for an export's ladder: what the network sees in a run, where the labels are."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.data.msd import open_task
from benchmark.data.volume import load_volume
from benchmark.errors import InputError
from benchmark.stages.unet_input import unet_input
from benchmark.window_samples import phantom_windows, task_windows
from exporters.unet_config import SlidingWindow, Transforms, UNetConfig, monai_unet
from tests.benchmark.conftest import MakeTask


def task_of(make_task: MakeTask, **given: object) -> object:
    """12 × 10 × 8 voxels; value 2 (`tumour`) is one corner, 1 (`organ`) a block inside."""
    label = np.zeros((12, 10, 8), np.uint8)
    label[4:7, 3:6, 2:5] = 1
    label[-1, -1, -1] = 2
    image = np.linspace(-150, 230, label.size, dtype=np.float32).reshape(label.shape)  # within the task's CT window
    return open_task(make_task(image=image, label=label, **given))


def config(patch: tuple[int, ...], labels: dict[int, str] | None = None) -> UNetConfig:
    return monai_unet(labels or {5: "organ"}, SlidingWindow(patch=patch), (4, 8), (2,), 1)


@pytest.mark.parametrize("patch", [(4, 4), (4, 4, 4)])
def test_windows_are_cut_from_what_the_network_sees_around_labels(patch: tuple[int, ...], make_task: MakeTask) -> None:
    task = task_of(make_task)
    network = config(patch)
    (sample,) = task_windows(task, network, 3)  # type: ignore[arg-type]
    assert sample.image.shape == (3, 1, *patch)
    assert sample.image.dtype == np.float32
    assert sample.truth is not None
    assert sample.truth.shape == (3, *patch)
    volume = load_volume(task, task.cases[0])  # type: ignore[attr-defined,arg-type]
    whole, labels = unet_input(network).prepare(volume).image.numpy(), unet_input(network).reference(volume)
    assert labels is not None
    for image, truth in zip(sample.image[:, 0], sample.truth, strict=True):
        assert 1 in truth
        # Every voxel of this image is of another value, so one voxel tells where the window is from.
        number, *corner = np.argwhere(whole[:, 0] == image[(0,) * len(patch)])[0]
        place = (number, *(slice(start, start + side) for start, side in zip(corner, patch, strict=True)))
        np.testing.assert_array_equal(image, whole[:, 0][place])
        np.testing.assert_array_equal(truth, labels[place] == 1)


def test_truth_is_in_the_networks_channels_matched_by_name(make_task: MakeTask) -> None:
    (sample,) = task_windows(task_of(make_task), config((12, 10, 8), {9: "tumour", 3: "organ"}), 1)  # type: ignore[arg-type]
    assert sample.truth is not None
    assert np.bincount(sample.truth.ravel()).tolist() == [12 * 10 * 8 - 28, 1, 27]


def test_labels_that_the_network_does_not_know_are_no_truth(make_task: MakeTask) -> None:
    (sample,) = task_windows(task_of(make_task), config((4, 4), {1: "liver"}), 2)  # type: ignore[arg-type]
    assert sample.truth is None
    assert sample.image.shape == (2, 1, 4, 4)
    assert not np.array_equal(sample.image[0], sample.image[1]), "twice the same window"


def test_what_is_smaller_than_a_patch_gets_zeros_on_both_sides(make_task: MakeTask) -> None:
    """As the sliding windows of a run pad it."""
    (sample,) = task_windows(task_of(make_task), config((16, 12, 8)), 1)  # type: ignore[arg-type]
    image = sample.image[0, 0]
    assert not image[:2].any()
    assert not image[-2:].any()
    assert not image[:, 0].any()
    assert not image[:, -1].any()
    assert np.count_nonzero(image[2:-2, 1:-1]) > 900


def test_cases_share_the_windows(make_task: MakeTask) -> None:
    task = task_of(make_task, cases=("a", "b", "c"))
    samples = task_windows(task, config((4, 4)), 5)  # type: ignore[arg-type]
    assert [len(sample.image) for sample in samples] == [2, 2, 1]
    assert [sample.name.rpartition(" ")[2] for sample in samples] == ["a", "b", "c"]
    assert len(task_windows(task, config((4, 4)), 2)) == 2  # type: ignore[arg-type]


def test_without_labels_on_the_networks_grid_windows_are_spread(make_task: MakeTask) -> None:
    transforms = Transforms(transforms=({"_target_": "monai.transforms.ScaleIntensityd", "keys": "image"},))
    network = config((4, 4, 4)).model_copy(update={"preprocessing": transforms})
    (sample,) = task_windows(task_of(make_task), network, 2)  # type: ignore[arg-type]
    assert sample.truth is None
    assert sample.image.shape == (2, 1, 4, 4, 4)
    assert not np.array_equal(sample.image[0], sample.image[1])
    assert float(sample.image.max()) <= 1


def test_the_phantom_has_labels_of_its_own() -> None:
    (sample,) = phantom_windows(config((32, 32), {1: "liver"}), 2)
    assert sample.truth is not None
    assert all(1 in truth for truth in sample.truth)


def test_a_network_of_several_channels_needs_a_task() -> None:
    network = config((4, 4)).model_copy(update={"in_channels": 4})
    with pytest.raises(InputError, match="--data: the phantom has one channel and the network takes 4"):
        phantom_windows(network)
