"""The image as stored through the MONAI transforms of a bundle, and its answer through their inverses."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai import transforms
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.utility.dictionary import EnsureTyped

from benchmark.data.stored import from_stored, with_stored
from benchmark.data.volume import Volume
from benchmark.errors import InputError
from benchmark.stages.unet_input import Channels, Prepared, only, require_channels, winners
from exporters.unet_config import Transforms, UNetConfig

KEY = "image"


class TransformInput:
    """A chain of MONAI's dictionary transforms on `image`."""

    stored = True

    def __init__(self, config: UNetConfig) -> None:
        if not isinstance(config.preprocessing, Transforms):
            raise TypeError(f"{config.preprocessing.kind} is no chain of transforms")
        self.config = config
        self.names = [str(entry.get("_target_", "")).rpartition(".")[2] for entry in config.preprocessing.transforms]
        chain = [_transform(entry) for entry in config.preprocessing.transforms]
        self.chain = Compose([*chain, EnsureTyped(KEY, dtype=torch.float32, track_meta=True)])

    def prepare(self, volume: Volume) -> Prepared:
        """See `UNetInput.prepare`; a 2-D network gets the last axis's slices."""
        stored = with_stored(volume).stored
        if stored is None:
            raise ValueError(f"{volume.case} has no stored image")
        require_channels(self.config, len(stored), volume.case)
        placed = MetaTensor(np.ascontiguousarray(stored), affine=torch.from_numpy(volume.geometry.affine.copy()))
        seen: Any = self.chain({KEY: placed})[KEY]
        image = seen.as_tensor()
        return Prepared(image.permute(3, 0, 1, 2) if self.config.spatial_dims == 2 else image[None], volume, seen)

    def labels(self, prepared: Prepared, logits: torch.Tensor) -> Channels:
        """See `UNetInput.labels`; logits are brought back, not label maps, as bundles do."""
        whole = logits.permute(1, 2, 3, 0) if self.config.spatial_dims == 2 else logits[0]
        seen: MetaTensor = prepared.state
        # Transforms of a bundle may be made for the host alone, and its operations were recorded there.
        answer = MetaTensor(whole.cpu(), meta=dict(seen.meta), applied_operations=list(seen.applied_operations))
        back: Any = self.chain.inverse({KEY: answer})[KEY]
        values = back.as_tensor() if isinstance(back, MetaTensor) else torch.as_tensor(back)
        return from_stored(only(winners(values[None])), prepared.volume.geometry)

    def reference(self, volume: Volume) -> None:
        """See `UNetInput.reference`."""

    def describe(self) -> str:
        """See `UNetInput.describe`."""
        return f"MONAI: {', '.join(self.names)}"


def _transform(entry: dict[str, Any]) -> Any:
    """One transform of `monai.transforms`; nothing else is ever built from a configuration."""
    arguments = dict(entry)
    name = str(arguments.pop("_target_", "")).rpartition(".")[2]
    made = getattr(transforms, name, None)
    if not (isinstance(made, type) and issubclass(made, transforms.MapTransform)):
        raise InputError(f"preprocessing: {name!r} is no dictionary transform of monai.transforms; leave it out")
    try:
        return made(**arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"preprocessing: {name} cannot be made: {error}; mend its arguments") from None
