"""A training reads what was written, and cuts its windows where labels are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms.croppad.array import SpatialPad

from benchmark.training.cases import write_training_case
from benchmark.training.crops import crop_dataset
from exporters.unet_config import SlidingWindow, monai_unet
from tests.benchmark.training.synthetic import CONFIG, VOLUMES, ball, discs


def test_a_case_comes_back_as_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image, label = rng.random((2, 1, 5, 6), np.float32), rng.integers(0, 3, (2, 5, 6), np.uint8)
    case = write_training_case(tmp_path / "new" / "folder", "liver_1", image, label)
    assert sorted(file.name for file in case.image.parent.iterdir()) == ["liver_1_image.npy", "liver_1_label.npy"]
    found = case.open()
    assert np.array_equal(found[0], image) and np.array_equal(found[1], label)
    assert (found[0].dtype, found[1].dtype, case.images) == (np.float32, np.uint8, 2)


def test_what_is_done_to_an_opened_case_does_not_reach_the_disk(tmp_path: Path) -> None:
    case = discs(tmp_path)
    case.open()[0][:] = 7
    assert np.max(case.open()[0]) < 7


@pytest.mark.parametrize("spatial", [(5, 40), (33, 31), (4, 4), (32, 32)])
def test_a_small_image_is_surrounded_as_monai_does_it(spatial: tuple[int, int], tmp_path: Path) -> None:
    """Training must see the border that sliding windows show at inference: zeros on both sides."""
    image = np.random.default_rng(0).random((3, 1, *spatial), np.float32)
    label = np.ones((3, *spatial), np.uint8)
    found = write_training_case(tmp_path, "x", image, label, (32, 32)).open()
    pad = SpatialPad((32, 32))
    assert np.array_equal(found[0], np.stack([np.asarray(pad(piece)) for piece in image]))
    assert np.array_equal(found[1], np.asarray(pad(label)))


def test_every_slice_is_one_window_and_a_volume_gives_as_many_as_asked_for(tmp_path: Path) -> None:
    cases = [discs(tmp_path, "a", 3), discs(tmp_path, "b", 2)]
    assert len(crop_dataset(cases, CONFIG, 7)) == 5
    assert len(crop_dataset([ball(tmp_path, "c"), ball(tmp_path, "d")], VOLUMES, 7)) == 14


def test_windows_have_the_patch_and_keep_image_and_label_together(tmp_path: Path) -> None:
    for data, patch in (
        (crop_dataset([discs(tmp_path, "a")], CONFIG, 1), CONFIG.windows.patch),
        (crop_dataset([ball(tmp_path, "b")], VOLUMES, 3), VOLUMES.windows.patch),
    ):
        data.transform.set_random_state(seed=1)
        for (window,) in data:
            assert set(window) == {"image", "label"}
            image, label = (window[name].as_tensor() for name in ("image", "label"))
            assert image.shape == label.shape == (1, *patch)
            assert image.dtype == label.dtype == torch.float32
            assert set(label.unique().tolist()) <= {0.0, 1.0, 2.0}
            if (label == 1).sum() > 20:  # the object is bright, so the two were deformed alike
                assert image[label == 1].mean() > 0.5 > image[label == 0].mean()


def test_every_second_window_lies_around_a_label_however_small(tmp_path: Path) -> None:
    """A label of one voxel in 64³ would be in one of 64 windows cut anywhere."""
    label = np.zeros((1, 64, 64, 64), np.uint8)
    label[0, 50, 20, 33] = 1
    case = write_training_case(tmp_path, "x", np.zeros((1, 1, 64, 64, 64), np.float32), label)
    config = monai_unet({1: "speck"}, SlidingWindow(patch=(16, 16, 16)), (4, 8), (2,))
    data = crop_dataset([case], config, 60)
    data.transform.set_random_state(seed=0)
    data.transform.transforms = data.transform.transforms[:3]  # a deformation could lose a single voxel
    found = sum(float(window["label"].max()) for (window,) in data)
    assert 20 <= found <= 45


def test_memory_holds_no_case(tmp_path: Path) -> None:
    data = crop_dataset([discs(tmp_path, "a"), discs(tmp_path, "b")], CONFIG, 1)
    assert all(isinstance(item[name].base, np.memmap) for item in data.data for name in ("image", "label"))
