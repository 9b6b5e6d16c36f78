"""What a network sees of a volume, and its answer back on the volume's grid, for files stored in any orientation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from pydantic import ValidationError

from benchmark.data.msd import open_task
from benchmark.data.stored import from_stored, with_stored
from benchmark.data.volume import Volume, load_volume
from benchmark.errors import InputError
from benchmark.stages.unet_input import channel_numbers, unet_input
from exporters.unet_config import Slices, SlidingWindow, Transforms, UNetConfig, Volumes

SPACING = (1.0, 1.5, 3.0)
SHAPE = (24, 20, 12)


def blocks() -> np.ndarray:
    """Hounsfield units in LPS: 1000 in one corner block, -150 elsewhere, and a faint ramp from right to left."""
    image = np.full(SHAPE, -150, dtype=np.float32)
    image[4:16, 3:9, 2:8] = 1000
    return image + np.arange(SHAPE[0], dtype=np.float32)[:, None, None] / 10


@pytest.fixture(params=["LPS", "RAS", "PIR", "SAL"])
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> Volume:
    """The same patient stored along other axes."""
    stored_as = request.param
    transform = ornt_transform(axcodes2ornt("LPS"), axcodes2ornt(stored_as))
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    affine[:3, 3] = (30, -20, 10)
    image = nib.orientations.apply_orientation(blocks(), transform)
    label = nib.orientations.apply_orientation((blocks() > 0).astype(np.uint8) * 4, transform)
    affine = affine @ inv_ornt_aff(transform, SHAPE)
    folder = tmp_path / "Task77_Blocks"
    for name, array in (("imagesTr", image), ("labelsTr", label)):
        (folder / name).mkdir(parents=True)
        nib.save(nib.Nifti1Image(array, affine), folder / name / "b_1.nii.gz")
    content = {
        "modality": {"0": "CT"},
        "labels": {"0": "background", "4": "block"},
        "training": [{"image": "./imagesTr/b_1.nii.gz", "label": "./labelsTr/b_1.nii.gz"}],
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    task = open_task(folder)
    return load_volume(task, task.cases[0])


def config(preprocessing: Any, patch: tuple[int, ...], **more: Any) -> UNetConfig:
    return UNetConfig(
        network="BasicUNet",
        labels={4: "block"},
        windows=SlidingWindow(patch=patch),
        preprocessing=preprocessing,
        **more,
    )


def answer(image: torch.Tensor, threshold: float) -> torch.Tensor:
    """Logits of a perfect network: channel 1 where the image is bright."""
    bright = image[:, :1] - threshold
    return torch.cat([-bright, bright], dim=1)


ORIENT = {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"}
RESAMPLE = {"_target_": "monai.transforms.Spacingd", "keys": ["image"], "pixdim": [2.0, 2.0, 2.0], "mode": "bilinear"}
SCALE = {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -200, "a_max": 1000, "b_min": 0, "b_max": 1}
SCALE["clip"] = True
CROP = {"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "allow_smaller": False}


@pytest.mark.parametrize(
    ("preprocessing", "patch", "exact"),
    [
        (Slices(), (16, 16), True),
        (Volumes(), (16, 16, 8), True),
        (Volumes(spacing=(2.0, 2.0, 2.0)), (16, 16, 8), False),
        (Transforms(transforms=(ORIENT, SCALE)), (16, 16, 8), True),
        (Transforms(transforms=(ORIENT, RESAMPLE, SCALE)), (16, 16, 8), False),
        (Transforms(transforms=(ORIENT, RESAMPLE, SCALE, CROP)), (16, 16, 8), False),
        (Transforms(transforms=(ORIENT, SCALE)), (16, 16), True),
    ],
)
def test_a_perfect_answer_comes_back_where_the_block_is(
    preprocessing: Any, patch: tuple[int, ...], exact: bool, volume: Volume
) -> None:
    seen_as = unet_input(config(preprocessing, patch))
    prepared = seen_as.prepare(volume)
    assert prepared.image.dtype == torch.float32
    assert prepared.image.ndim == len(patch) + 2
    assert 0 <= float(prepared.image.min()) <= float(prepared.image.max()) <= 1 + 1e-6
    found = seen_as.labels(prepared, answer(prepared.image, 0.5))
    assert (found.shape, found.dtype) == (SHAPE, np.uint8)
    expected = (volume.label == 4).astype(np.uint8)
    if exact:
        np.testing.assert_array_equal(found, expected)
    else:
        overlap = 2 * np.count_nonzero(found & expected) / (np.count_nonzero(found) + np.count_nonzero(expected))
        assert overlap > 0.9, "resampling blurs the block's faces and no more"


@pytest.mark.parametrize(
    ("preprocessing", "patch"),
    [(Slices(), (16, 16)), (Volumes(), (16, 16, 8)), (Volumes(spacing=(2.0, 2.0, 2.0)), (16, 16, 8))],
)
def test_the_reference_lies_on_the_image_that_the_network_sees(
    preprocessing: Any, patch: tuple[int, ...], volume: Volume
) -> None:
    seen_as = unet_input(config(preprocessing, patch))
    image, reference = seen_as.prepare(volume).image[:, 0], seen_as.reference(volume)
    assert reference is not None
    assert reference.shape == tuple(image.shape)
    assert set(np.unique(reference)) == {0, 4}
    assert float(image[torch.from_numpy(reference == 4)].mean()) > 0.85
    assert float(image[torch.from_numpy(reference == 0)].mean()) < 0.15


def test_a_grid_of_two_millimetres_has_voxels_of_two_millimetres(volume: Volume) -> None:
    """24 × 20 × 12 voxels of 1 × 1.5 × 3 mm are 24 × 30 × 36 mm."""
    image = unet_input(config(Volumes(spacing=(2.0, 2.0, 2.0)), (16, 16, 8))).prepare(volume).image
    assert image.shape == (1, 1, 12, 15, 18)


def test_the_stored_voxels_are_the_files_own(volume: Volume) -> None:
    stored = with_stored(volume).stored
    assert stored is not None
    assert stored.shape == (1, *volume.geometry.shape)
    np.testing.assert_allclose(from_stored(stored[0], volume.geometry), blocks())  # type: ignore[arg-type]


def test_slices_are_seen_as_they_are_looked_at(volume: Volume) -> None:
    image = unet_input(config(Slices(), (16, 16))).prepare(volume).image
    assert image.shape == (SHAPE[2], 1, SHAPE[1], SHAPE[0])
    np.testing.assert_allclose(image[3, 0].numpy(), volume.image[:, :, 3].T / 255, rtol=1e-6)


def test_another_number_of_channels_is_refused(volume: Volume) -> None:
    with pytest.raises(InputError, match=r"takes 2 channel\(s\) and the image has 1"):
        unet_input(config(Transforms(transforms=(ORIENT,)), (16, 16, 8), in_channels=2)).prepare(volume)
    with pytest.raises(InputError, match="takes 3 channel"):
        unet_input(config(Slices(), (16, 16), in_channels=3))


@pytest.mark.parametrize(
    "entry", [{"_target_": "os.system", "command": "true"}, {"_target_": "Compose"}, {"_target_": "Lambdad"}, {}]
)
def test_only_monais_transforms_of_images_are_ever_built(entry: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="is not among"):
        Transforms(transforms=(entry,))


def test_a_transform_with_unknown_arguments_is_refused() -> None:
    entry = {"_target_": "Orientationd", "keys": "image", "surprise": 1}
    with pytest.raises(InputError, match="Orientationd cannot be made"):
        unet_input(config(Transforms(transforms=(entry,)), (16, 16, 8)))


def test_values_become_channel_numbers_and_unknown_ones_background() -> None:
    labels = np.array([[0, 4, 7], [9, 4, 2]], dtype=np.uint8)
    np.testing.assert_array_equal(channel_numbers(labels, {4: "a", 2: "b"}), [[0, 1, 0], [0, 1, 2]])
