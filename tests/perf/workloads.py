"""The modules whose speed issue and documentation speak of, each with one input, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmark.lanes import module_source
from exporters.base import export_artifact
from exporters.exportable import Exportable
from exporters.manifest import ExportError, Weights
from exporters.sam import load_sam
from exporters.unet import build_unet, load_unet, unet_checkpoint
from exporters.unet_config import SlidingWindow, monai_unet
from runners.base import ModuleSource

Feed = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Workload:
    """One module and what it is shown.

    Attributes:
        name: as tables show it.
        part: the module.
        weights: where it has them from.
        feed: one array per input.
    """

    name: str
    part: Exportable
    weights: Weights
    feed: Feed

    def source(self, artifact: Path) -> ModuleSource:
        """The module with its fp32 export, which is made if it is not in this folder."""
        if not artifact.exists():
            export_artifact(artifact, self.part.name, self.weights, (self.part,), {})
        return module_source(self.part, artifact)


def encoder(model: str) -> Workload:
    """A SAM's encoder on one image; random weights where its own are not here: speed does not depend on them."""
    try:
        sam = load_sam(model)
    except ExportError:
        sam = load_sam(model, random_seed=0)
    side = sam.model.image_size
    image = np.random.default_rng(0).random((1, 3, side, side), dtype=np.float32)
    return Workload(f"{model} encoder, {side}²", sam.encoder, sam.weights, {"image": image})


def decoder_feed(prompts: int) -> dict[str, np.ndarray]:
    """Random boxes on a random embedding of LiteMedSAM's; a slice of 512²."""
    rng = np.random.default_rng(0)
    return {
        "image_embeddings": 0.1 * rng.standard_normal((1, 256, 64, 64), dtype=np.float32),
        "point_coords": np.sort(256 * rng.random((prompts, 2, 2), dtype=np.float32), axis=1),
        "point_labels": np.tile(np.array([2, 3], dtype=np.float32), (prompts, 1)),
        "mask_input": np.zeros((1, 1, 256, 256), dtype=np.float32),
        "has_mask_input": np.zeros(1, dtype=np.float32),
        "orig_im_size": np.array([512, 512], dtype=np.float32),
    }


def decoder(prompts: int) -> Workload:
    """LiteMedSAM's decoder on so many boxes."""
    sam = load_sam("litemedsam")
    name = f"litemedsam decoder, {prompts} box{'es' * (prompts > 1)}"
    return Workload(name, sam.decoder, sam.weights, decoder_feed(prompts))


def unet(patch: tuple[int, ...], batch: int) -> Workload:
    """The MONAI UNet that sambench trains, with random weights, on a batch of windows."""
    torch.manual_seed(0)
    config = monai_unet({1: "liver", 2: "spleen"}, SlidingWindow(patch=patch))
    with TemporaryDirectory() as folder:
        torch.save(unet_checkpoint(config, build_unet(config)), Path(folder) / "unet.pt")
        loaded = load_unet(Path(folder) / "unet.pt")
    feed = {"image": np.random.default_rng(0).random((batch, 1, *patch), dtype=np.float32)}
    size = f"{patch[0]}{'²' if len(patch) == 2 else '³'}"
    return Workload(f"{len(patch)}-D UNet, {batch} of {size}", loaded.unet, loaded.weights, feed)


WORKLOADS: Mapping[str, Callable[[], Workload]] = {
    "litemedsam": lambda: encoder("litemedsam"),
    "vit_b": lambda: encoder("vit_b"),
    "decoder-1": lambda: decoder(1),
    "decoder-8": lambda: decoder(8),
    "decoder-40": lambda: decoder(40),
    "unet-2d": lambda: unet((256, 256), 8),
    "unet-3d": lambda: unet((96, 96, 96), 1),
}
"""Name on the command line → the workload, made when it is asked for."""
