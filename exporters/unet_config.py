"""What one must know to use a segmentation network: how it is built, what it wants to see, and what its channels mean.

It travels inside our checkpoints and in every artifact's manifest, so that no backend can be given other windows or
another preprocessing than the next.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator

Blending = Literal["constant", "gaussian"]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SlidingWindow(_Frozen):
    """How a volume or slice larger than a patch is covered; the same for every backend.

    Attributes:
        patch: voxels of one window along each spatial axis; what is smaller is padded to it on both sides.
        overlap: share of a patch that neighbours have in common.
        blending: how their logits are averaged: with equal weight, or with a Gaussian around each window's centre.
        sigma: of the Gaussian, as a share of the patch.
        steps: windows at a fixed distance with the last moved inwards (MONAI), or evenly spread (nnU-Net).
        padding: what surrounds a slice or volume that is smaller than a patch, after the normalisation.
        accumulate: the type that logits are summed in.
        mirror_axes: spatial axes that the network also sees flipped, alone and together; the logits are averaged.
    """

    patch: tuple[PositiveInt, ...] = Field(min_length=2, max_length=3)
    overlap: float = Field(default=0.25, ge=0, lt=1)
    blending: Blending = "constant"
    sigma: float = Field(default=0.125, gt=0)
    steps: Literal["fixed", "even"] = "fixed"
    padding: Literal["zero"] = "zero"
    accumulate: Literal["float32"] = "float32"
    mirror_axes: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _axes_are_there(self) -> SlidingWindow:
        if any(not 0 <= axis < len(self.patch) for axis in self.mirror_axes):
            raise ValueError(f"mirror_axes {self.mirror_axes} name an axis that a patch of {self.patch} does not have")
        return self


Millimetres = Annotated[float, Field(ge=0.1, le=100)]


class Slices(_Frozen):
    """Axial slices in their own grid, the task's intensity window scaled to 0–1: what sambench trains in 2-D."""

    kind: Literal["slices"] = "slices"


class Volumes(_Frozen):
    """Whole volumes in LPS, the task's intensity window scaled to 0–1: what sambench trains in 3-D.

    Attributes:
        spacing: mm along X, Y and Z that volumes are resampled to; None keeps each one's own.
    """

    kind: Literal["volumes"] = "volumes"
    spacing: tuple[Millimetres, Millimetres, Millimetres] | None = None


IMAGE_TRANSFORMS = frozenset(
    {
        "AdjustContrastd",
        "BorderPadd",
        "CastToTyped",
        "CenterScaleCropd",
        "CenterSpatialCropd",
        "ClipIntensityPercentilesd",
        "CropForegroundd",
        "DivisiblePadd",
        "Flipd",
        "GaussianSharpend",
        "GaussianSmoothd",
        "HistogramNormalized",
        "MedianSmoothd",
        "NormalizeIntensityd",
        "Orientationd",
        "ResizeWithPadOrCropd",
        "Resized",
        "Rotate90d",
        "ScaleIntensityRangePercentilesd",
        "ScaleIntensityRanged",
        "ScaleIntensityd",
        "ShiftIntensityd",
        "Spacingd",
        "SpatialCropd",
        "SpatialPadd",
        "StdShiftIntensityd",
        "ThresholdIntensityd",
        "Transposed",
    }
)
"""MONAI's dictionary transforms that may prepare an image. Others read or write files, call functions or are random,
and a configuration may come from anybody."""


class Transforms(_Frozen):
    """The image as stored, with its affine, through MONAI's transforms: what a MONAI bundle asks for.

    Attributes:
        transforms: MONAI configurations (`_target_` and arguments) of dictionary transforms on `image`, in order.
    """

    kind: Literal["transforms"] = "transforms"
    transforms: tuple[dict[str, Any], ...]

    @field_validator("transforms")
    @classmethod
    def _harmless(cls, transforms: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        for entry in transforms:
            target = str(entry.get("_target_"))
            if target.removeprefix("monai.transforms.") not in IMAGE_TRANSFORMS:
                raise ValueError(f"{target} is not among {', '.join(sorted(IMAGE_TRANSFORMS))}")
        return transforms


class NnUNet(_Frozen):
    """nnU-Net's own preprocessing and its way back.

    Attributes:
        plans: the content of plans.json.
        configuration: one of its configurations: `2d`, `3d_fullres`, …
        dataset: the content of dataset.json.
    """

    kind: Literal["nnunet"] = "nnunet"
    plans: dict[str, Any]
    configuration: str
    dataset: dict[str, Any]


Preprocessing = Annotated[Slices | Volumes | Transforms | NnUNet, Field(discriminator="kind")]


class UNetConfig(_Frozen):
    """A segmentation network and how to use it.

    Attributes:
        network: the name of a class in `monai.networks.nets`, or `nnunet`.
        arguments: of its constructor, without `spatial_dims`, `in_channels` and `out_channels`.
        in_channels: of the image.
        labels: the label value and name of output channels 1, 2, …; channel 0 is the background.
        windows: how it is applied.
        preprocessing: what it wants to see.
    """

    network: str = "UNet"
    arguments: dict[str, Any] = {}
    in_channels: PositiveInt = 1
    labels: dict[int, str]
    windows: SlidingWindow
    preprocessing: Preprocessing = Slices()

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return len(self.windows.patch)

    @property
    def out_channels(self) -> int:
        """The background and the labels."""
        return len(self.labels) + 1

    @property
    def name(self) -> str:
        """The model's name in results: `unet-2d`, `segresnet-3d`, `nnunet-3d`."""
        return f"{self.network.lower()}-{self.spatial_dims}d"

    @model_validator(mode="after")
    def _patch_fits_the_strides(self) -> UNetConfig:
        strides = self.arguments.get("strides")
        if self.network != "UNet" or not isinstance(strides, (list, tuple)):
            return self
        step, patch = int(np.prod(strides)), self.windows.patch
        if any(side % step for side in patch):
            raise ValueError(f"patch {patch} is not a multiple of {step}, the product of the strides")
        if not strides or len(self.arguments.get("channels", ())) != len(strides) + 1:
            raise ValueError("channels must have one entry more than strides, and strides at least one")
        return self


def monai_unet(
    labels: dict[int, str],
    windows: SlidingWindow,
    channels: tuple[int, ...] = (16, 32, 64, 128),
    strides: tuple[int, ...] = (2, 2, 2),
    res_units: int = 2,
    preprocessing: Slices | Volumes | None = None,
) -> UNetConfig:
    """The UNet that sambench trains.

    Args:
        labels: the label value and name of output channels 1, 2, …
        windows: with a patch that is a multiple of the product of the strides.
        channels: feature channels of each level.
        strides: between the levels.
        res_units: residual units per level.
        preprocessing: slices for a 2-D patch, volumes for a 3-D one, if not given.
    """
    given = preprocessing or (Slices() if len(windows.patch) == 2 else Volumes())
    return UNetConfig(
        arguments={"channels": list(channels), "strides": list(strides), "num_res_units": res_units},
        labels=labels,
        windows=windows,
        preprocessing=given,
    )
