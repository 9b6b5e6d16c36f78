"""A MONAI network that somebody describes: its class, its arguments, and a file with its state dict."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError, field_validator

from exporters.checkpoint import load_checkpoint, load_state
from exporters.manifest import ExportError, Weights, sha256_file
from exporters.mapping import read_mapping, told
from exporters.unet_config import Blending, Slices, SlidingWindow, UNetConfig, Volumes
from exporters.unet_networks import BuiltUNet, build_unet, ready

GIVEN = ("spatial_dims", "in_channels", "out_channels")
"""Arguments that follow from the patch, `in_channels` and the labels."""


class Description(BaseModel):
    """What must be known besides a state dict.

    Attributes:
        network: one of `exporters.unet_networks.NETWORKS`.
        arguments: of its constructor, without those in `GIVEN`.
        patch: voxels of a window; two sides make a 2-D network, three a 3-D one.
        in_channels: of the image.
        labels: names of channels 1, 2, …, or their label values and names.
        overlap: of the sliding windows.
        blending: of the sliding windows.
        mirror_axes: of the sliding windows.
        spacing: mm along X, Y and Z that a 3-D network's volumes are resampled to.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: str
    arguments: dict[str, Any] = {}
    patch: tuple[PositiveInt, ...]
    in_channels: PositiveInt = 1
    labels: dict[PositiveInt, str] | tuple[str, ...]
    overlap: float = 0.25
    blending: Blending = "constant"
    mirror_axes: tuple[int, ...] = ()
    spacing: tuple[float, float, float] | None = None

    @field_validator("arguments")
    @classmethod
    def _only_its_own(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        for name in GIVEN:
            if name in arguments:
                raise ValueError(f"{name} follows from patch, in_channels and labels; leave it out")
        return arguments

    def config(self) -> UNetConfig:
        """The same, as it travels in a manifest.

        Raises:
            ValidationError: the parts do not go together.
        """
        if self.spacing is not None and len(self.patch) == 2:
            raise ExportError("spacing: slices keep their own grid; leave it out for a patch of two sides")
        names = self.labels if isinstance(self.labels, dict) else dict(enumerate(self.labels, start=1))
        windows = SlidingWindow(
            patch=self.patch, overlap=self.overlap, blending=self.blending, mirror_axes=self.mirror_axes
        )
        return UNetConfig(
            network=self.network,
            arguments=self.arguments,
            in_channels=self.in_channels,
            labels=names,
            windows=windows,
            preprocessing=Slices() if len(self.patch) == 2 else Volumes(spacing=self.spacing),
        )


def describe(fields: dict[str, Any], source: str) -> UNetConfig:
    """Fields as a user wrote them.

    Args:
        fields: see `Description`.
        source: where they stand, for complaints.

    Raises:
        ExportError: one is missing, unknown or impossible.
    """
    try:
        return Description.model_validate(fields).config()
    except ValidationError as error:
        raise ExportError(f"{source}: {told(error)}") from None
    except ExportError as error:
        raise ExportError(f"{source}: {error}") from None


def load_description(path: Path) -> BuiltUNet:
    """Loads the network that a YAML file describes.

    Args:
        path: a YAML file with the fields of `Description`, and `weights`: the file of its state dict, from there.

    Raises:
        ExportError: a file is missing or damaged, or the network does not fit the weights.
    """
    fields = read_mapping(path)
    weights = fields.pop("weights", None)
    if not isinstance(weights, str):
        raise ExportError(f"{path}: weights is {weights!r}; name the file of the network's state dict there")
    config = describe(fields, str(path))
    return with_state(config, load_checkpoint(path.parent / weights), path.parent / weights, path)


def with_state(config: UNetConfig, state: Any, weights: Path, source: Path) -> BuiltUNet:
    """A network with a bare state dict.

    Args:
        config: what it is.
        state: the content of a checkpoint.
        weights: its file.
        source: where the network is described, for complaints.

    Raises:
        ExportError: the network cannot be built, or the state dict is of another one.
    """
    try:
        network = build_unet(config)
    except ExportError as error:
        raise ExportError(f"{source}: {error}") from None
    load_state(network.network, state, weights)
    weights_of = Weights(source="checkpoint", file=weights.name, sha256=_key(config, weights))
    return BuiltUNet(config, ready(network, config, source), weights_of)


def _key(config: UNetConfig, weights: Path) -> str:
    """Changes with the description too: another activation is another function of the same weights."""
    fields = config.model_dump(mode="json")
    fields["labels"] = list(fields["labels"].items())  # whose order is that of the channels; no other order matters
    text = json.dumps(fields, sort_keys=True)
    return hashlib.sha256(f"{sha256_file(weights)} {text}".encode()).hexdigest()
