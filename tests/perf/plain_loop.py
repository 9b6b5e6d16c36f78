"""Pseudo-labelling as a first script does it: PyTorch eager, `set_image` once a slice, one `predict` a prompt.

The official `SamPredictor` of segment-anything, with LiteMedSAM in the place of SAM. Nothing here is sambench's but the
slices and the prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from segment_anything import SamPredictor
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

from benchmark.data.slices import Slice
from benchmark.prompts import BOX_CORNER, ObjectPrompt, Prompt
from exporters.sam import LoadedSam

SIDE = 256


class LiteMedSam(Sam):
    """Meta's `Sam` with LiteMedSAM's parts; its pixels are scaled to [0, 1] slice by slice, as MedSAM's are."""

    def preprocess(self, x: torch.Tensor) -> torch.Tensor:
        x = (x - x.min()) / (x.max() - x.min()).clamp(min=1e-8)
        return torch.nn.functional.pad(x, (0, SIDE - x.shape[-1], 0, SIDE - x.shape[-2]))


def official_parts(loaded: LoadedSam) -> tuple[PromptEncoder, MaskDecoder]:
    """Meta's own prompt encoder and mask decoder with LiteMedSAM's weights."""
    prompts = PromptEncoder(
        embed_dim=256, image_embedding_size=(64, 64), input_image_size=(SIDE, SIDE), mask_in_chans=16
    )
    masks = MaskDecoder(
        num_multimask_outputs=3,
        transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
        transformer_dim=256,
    )
    prompts.load_state_dict(loaded.decoder.module.prompt_encoder.state_dict())
    masks.load_state_dict(loaded.decoder.module.mask_decoder.state_dict())
    return prompts, masks


def official_predictor(loaded: LoadedSam) -> SamPredictor:
    """The official predictor over LiteMedSAM's weights."""
    encoder = loaded.encoder.module.image_encoder
    encoder.img_size = SIDE  # where `Sam` looks for it
    return SamPredictor(LiteMedSam(encoder, *official_parts(loaded)).eval().requires_grad_(False))


def label_slice(
    predictor: SamPredictor, piece: Slice, asked: Mapping[str, Sequence[ObjectPrompt]]
) -> dict[str, np.ndarray]:
    """Strategy → label map of one slice, [H, W].

    LiteMedSAM wants slices turned by 180°, and prompts with them.
    """
    turned = np.ascontiguousarray(piece.image[::-1, ::-1])
    set_image(predictor, turned)
    found = {}
    for strategy, prompts in asked.items():
        labels, highest = np.zeros(piece.label.shape, np.uint8), np.zeros(piece.label.shape, np.float32)
        for given in prompts:
            logits, _, _ = predictor.predict(
                **turned_prompt(given.prompt, piece.label.shape), multimask_output=False, return_logits=True
            )
            mask = logits[0, ::-1, ::-1]
            higher = mask > highest
            labels[higher], highest[higher] = given.value, mask[higher]
        found[strategy] = labels
    return found


def set_image(predictor: SamPredictor, image: np.ndarray) -> None:
    """`SamPredictor.set_image` for grey levels that are not whole numbers.

    The resize is its own `apply_image_torch`, which takes the batch and the channels for height and width.
    """
    tensor = torch.from_numpy(image)[None, None]
    size = predictor.transform.get_preprocess_shape(*image.shape, predictor.transform.target_length)
    small = torch.nn.functional.interpolate(tensor, size, mode="bilinear", align_corners=False, antialias=True)
    predictor.set_torch_image(small.expand(1, 3, -1, -1), image.shape)


def turned_prompt(prompt: Prompt, shape: tuple[int, ...]) -> dict[str, Any]:
    """The arguments of `SamPredictor.predict`, which counts from the middle of the first pixel."""
    scale = SIDE / max(shape)
    # Half a pixel of the resized square, which the predictor's own scaling then leaves in place.
    coords = np.array([shape[1], shape[0]], dtype=np.float64) - prompt.coords - 0.5 / scale
    is_corner = prompt.labels >= BOX_CORNER
    box = None
    if is_corner.any():
        first, second = coords[is_corner]
        box = np.concatenate([np.minimum(first, second), np.maximum(first, second)])
    if is_corner.all():
        return {"box": box}
    return {"point_coords": coords[~is_corner], "point_labels": prompt.labels[~is_corner], "box": box}
