"""SAM as two modules with a fixed contract: an encoder, and a decoder that takes P prompts on one embedding.

The decoder keeps the input and output names of the official `SamOnnxModel` (facebookresearch/segment-anything,
`segment_anything/utils/onnx.py`) and widens it to P prompts that share one embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

LARGEST_SIDE = 1 << 16

Masks = Literal["one", "three", "all"]
MASK_TOKENS: Mapping[str, tuple[int, ...]] = {"one": (0,), "three": (1, 2, 3), "all": (0, 1, 2, 3)}
"""Which of SAM's four mask tokens answer: `one` is PyTorch's `multimask_output=False`, `three` its `True`, `all` what
the official ONNX file gives. Token 0 is for unambiguous prompts, the others for a point that may mean part or whole."""


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
    """P prompts on one embedding → their masks.

    The official export squares the batch when both the embedding's and the prompts' batch are dynamic, and lets padding
    points change which mask is chosen; here the embedding's batch is 1 and the choice does not look at the points.

    Args:
        prompt_encoder: of `segment-anything`, or one with its attributes.
        mask_decoder: likewise.
        image_size: S, the side of the encoder's square.
        masks: which mask tokens answer, a key of `MASK_TOKENS`; M is their number.
    """

    def __init__(self, prompt_encoder: Any, mask_decoder: Any, image_size: int, masks: Masks = "one") -> None:
        super().__init__()
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.image_size = image_size
        self.mask_tokens = MASK_TOKENS[masks]
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
            mask_input: [P,1,4h,4w] logits of an earlier pass; or [1,1,4h,4w], the same for all, as where there is none:
                what the prompts share is then computed once.
            has_mask_input: [P] or [1]: 1 where `mask_input` counts.
            orig_im_size: [2], height and width of the slice before resizing.

        Returns:
            `masks` [P,M,H,W] logits on the slice's own grid, `iou_predictions` [P,M], `low_res_masks` [P,M,4h,4w].
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
        first, last = self.mask_tokens[0], self.mask_tokens[-1]
        # The mask tokens follow the IoU token; those that nobody asked for are not computed.
        heads = decoder.output_hypernetworks_mlps
        weights = torch.stack([heads[token](tokens[:, 1 + token]) for token in self.mask_tokens], dim=1)
        masks = (weights @ upscaled.flatten(2)).reshape(prompts, len(self.mask_tokens), 4 * height, 4 * width)
        return masks, decoder.iou_prediction_head(tokens[:, 0])[:, first : last + 1]

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
