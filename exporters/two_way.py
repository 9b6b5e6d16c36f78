"""SAM's mask decoder, formulated anew for a graph: the same function with 53 % of the arithmetic.

What is different from `segment_anything/modeling/transformer.py` and `mask_decoder.py`, and exact but for rounding:

- An attention between a handful of tokens and the 4096 pixels of the grid projects the tokens alone. Since
  (q W_q) · (x W_k) = (q W_q W_kᵀ) · x, every head's projection of the grid, 256 × 128, moves to the tokens' side, and
  what meets the grid is one matrix of heads × tokens rows, 56 for a box. The values likewise: the weights sum over the
  grid first and are projected after. The key's bias adds the same to every score of a query, and softmax does not see
  that.
- The bias after the pixels' attention is shared out among the heads: a head's weights sum to 1, so what is added to
  each of its answers arrives once, and the grid is not walked through for it.
- The last attention asks for the tokens that are read after it, two for a single mask, not for all seven, and meets the
  grid's positions in the scores, which are few, instead of in the grid.
- Upscaling stays in channels-last order. A transposed convolution with kernel 2 and stride 2 is one matrix product
  whose answers are new pixels, the normalisation over channels is then an ordinary LayerNormalization, and only the
  finished masks, one number a pixel, are put into rows and columns. Its products are no `Gemm`, whose kernel writes the
  bias to every row before it multiplies: a bias after the product costs less, and with the Gelu behind it next to
  nothing.

With more than about 16 tokens (11 points) the first rewrite computes more than it saves, still exactly.
docs/export.md has what each of them gives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from exporters.sam_modules import MASK_TOKENS, SamDecoder


def faster_decoder(decoder: SamDecoder) -> SamDecoder:
    """The decoder as `GraphDecoder` where its mask decoder is built like segment-anything's; others come back as is.

    Args:
        decoder: in evaluation mode; stays untouched and shares its weights with the result.
    """
    if not _is_official(decoder.mask_decoder):
        return decoder
    masks = next(name for name, tokens in MASK_TOKENS.items() if tokens == decoder.mask_tokens)
    faster = GraphMaskDecoder(decoder.mask_decoder)
    return GraphDecoder(decoder.prompt_encoder, faster, decoder.image_size, masks).eval()  # type: ignore[arg-type]


def _is_official(mask_decoder: Any) -> bool:
    transformer = getattr(mask_decoder, "transformer", None)
    layers = [type(layer).__name__ for layer in getattr(transformer, "layers", [])]
    upscaling = [type(layer).__name__ for layer in getattr(mask_decoder, "output_upscaling", [])]
    return (
        type(transformer).__name__ == "TwoWayTransformer"
        and set(layers) == {"TwoWayAttentionBlock"}
        and upscaling == ["ConvTranspose2d", "LayerNorm2d", "GELU", "ConvTranspose2d", "GELU"]
        and all(_doubles(mask_decoder.output_upscaling[index]) for index in (0, 3))
    )


def _doubles(layer: nn.ConvTranspose2d) -> bool:
    return layer.kernel_size == layer.stride == (2, 2) and layer.padding == (0, 0) and layer.groups == 1


class GraphDecoder(SamDecoder):
    """A `SamDecoder` over a `GraphMaskDecoder`."""

    def _predict(
        self, embeddings: torch.Tensor, sparse: torch.Tensor, dense: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        decoder = self.mask_decoder
        prompts, side = sparse.shape[0], embeddings.shape[-1]
        output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens = torch.cat([output_tokens.unsqueeze(0).expand(prompts, -1, -1), sparse], dim=1)
        pixels = (embeddings + dense).flatten(2).transpose(1, 2)
        positions = self._grid_positions().flatten(2).transpose(1, 2)
        read = [0, *(1 + token for token in self.mask_tokens)]
        tokens, pixels = decoder.transformer(tokens, pixels, positions, read)
        first, last = self.mask_tokens[0], self.mask_tokens[-1]
        heads = decoder.output_hypernetworks_mlps
        weights = torch.stack([heads[token](tokens[:, 1 + at]) for at, token in enumerate(self.mask_tokens)], dim=1)
        logits = weights @ decoder.output_upscaling(pixels).transpose(1, 2)
        return _in_rows(logits, side), decoder.iou_prediction_head(tokens[:, 0])[:, first : last + 1]


class GraphMaskDecoder(nn.Module):
    """The parts of segment-anything's `MaskDecoder`, two of them rewritten.

    They are modules and bear the names of what they replace, because the scopes of a graph's nodes come from modules,
    and by its scope `exporters.half` knows what belongs to a network.

    Args:
        official: stays untouched; its parts are shared.
    """

    def __init__(self, official: Any) -> None:
        super().__init__()
        self.iou_token = official.iou_token
        self.mask_tokens = official.mask_tokens
        self.transformer = GraphTransformer(official.transformer)
        self.output_upscaling = GraphUpscaling(*official.output_upscaling)
        self.output_hypernetworks_mlps = official.output_hypernetworks_mlps
        self.iou_prediction_head = official.iou_prediction_head


class GraphTransformer(nn.Module):
    """`TwoWayTransformer` with tokens and pixels both as [P, count, C]."""

    def __init__(self, official: Any) -> None:
        super().__init__()
        self.layers = official.layers
        self.final_attn_token_to_image = official.final_attn_token_to_image
        self.norm_final_attn = official.norm_final_attn

    def forward(
        self, points: torch.Tensor, pixels: torch.Tensor, positions: torch.Tensor, read: list[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Lets tokens and pixels see each other.

        Args:
            points: tokens, [P, T, C].
            pixels: [P, h·w, C].
            positions: of the pixels, [1, h·w, C].
            read: the tokens that are wanted afterwards.

        Returns:
            Those tokens and the pixels.
        """
        tokens = points
        layer: Any
        for layer in self.layers:
            if layer.skip_first_layer_pe:
                tokens = layer.self_attn(q=tokens, k=tokens, v=tokens)
            else:
                placed = tokens + points
                tokens = tokens + layer.self_attn(q=placed, k=placed, v=tokens)
            tokens = layer.norm1(tokens)
            placed_pixels = pixels + positions
            seen = _tokens_look(layer.cross_attn_token_to_image, tokens + points, placed_pixels, pixels)
            tokens = layer.norm2(tokens + seen)
            tokens = layer.norm3(tokens + layer.mlp(tokens))
            seen = _pixels_look(layer.cross_attn_image_to_token, placed_pixels, tokens + points, tokens)
            pixels = layer.norm4(pixels + seen)
        asking, asked = (tokens + points)[:, read], tokens[:, read]
        seen = _tokens_look(self.final_attn_token_to_image, asking, pixels, pixels, positions)
        return self.norm_final_attn(asked + seen), pixels


class GraphUpscaling(nn.Sequential):
    """`output_upscaling` on pixels [P, h·w, C] → [P, 16 · h·w, C / 8], each pixel's sixteen together."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Doubles the grid twice."""
        layers: Any = self
        first, norm, gelu, second, last = layers
        doubled = _by_pixel(_double(pixels, first))
        normed = functional.layer_norm(doubled, (doubled.shape[-1],), norm.weight, norm.bias, norm.eps)
        return _by_pixel(last(_double(gelu(normed), second)))


def _tokens_look(
    attention: Any, tokens: torch.Tensor, keys: torch.Tensor, values: torch.Tensor,
    positions: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    """`Attention.forward` where T tokens [P, T, C] ask all pixels [P, L, C].

    Positions [1, L, C] are given if the keys are without them: for few tokens their own product is the cheaper way.
    """
    query = _heads(attention.q_proj(tokens), attention) / _root_of_depth(attention)
    # [P, heads · T, C]: each head's query as a direction among the pixels' own channels.
    directions = (query @ _by_head(attention.k_proj.weight, attention)).flatten(1, 2)
    scores = directions @ keys.transpose(1, 2)
    if positions is not None:
        scores = scores + directions @ positions.transpose(1, 2)
    weights = scores.softmax(dim=-1)
    gathered = _split(weights @ values, 1, attention.num_heads)
    mixed = gathered @ _by_head(attention.v_proj.weight, attention).transpose(1, 2)
    together = mixed.transpose(1, 2).flatten(2) + attention.v_proj.bias
    result: torch.Tensor = attention.out_proj(together)
    return result


def _pixels_look(attention: Any, pixels: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """`Attention.forward` where all pixels [P, L, C] ask T tokens [P, T, C]."""
    key = _heads(attention.k_proj(keys), attention) / _root_of_depth(attention)
    directions = (key @ _by_head(attention.q_proj.weight, attention)).flatten(1, 2)
    # The query's bias meets each key alike at every pixel, but not each key like the next.
    offsets = (key * attention.q_proj.bias.view(attention.num_heads, 1, -1)).sum(-1).flatten(1)
    scores = pixels @ directions.transpose(1, 2) + offsets[:, None]
    weights = _split(scores, 2, attention.num_heads).softmax(dim=-1).flatten(2)
    value = _heads(attention.v_proj(values), attention)
    answers = (value @ _by_head(attention.out_proj.weight.t(), attention)).flatten(1, 2)
    result: torch.Tensor = weights @ (answers + attention.out_proj.bias / attention.num_heads)
    return result


def _heads(tokens: torch.Tensor, attention: Any) -> torch.Tensor:
    """[P, T, heads · d] → [P, heads, T, d]."""
    return _split(tokens, 2, attention.num_heads).transpose(1, 2)


def _by_head(weight: torch.Tensor, attention: Any) -> torch.Tensor:
    """A projection's weight [heads · d, C] → [heads, d, C]."""
    return _split(weight, 0, attention.num_heads)


def _split(tensor: torch.Tensor, axis: int, heads: int) -> torch.Tensor:
    """An axis of heads · n as two."""
    split: torch.Tensor = tensor.unflatten(axis, (heads, -1))  # type: ignore[no-untyped-call]
    return split


def _root_of_depth(attention: Any) -> float:
    return float((attention.internal_dim // attention.num_heads) ** 0.5)


def _in_rows(logits: torch.Tensor, side: int) -> torch.Tensor:
    """Masks of upscaled pixels [P, M, 16 · h·w] → [P, M, 4h, 4w]."""
    prompts, count = logits.shape[:2]
    # Row, column, then which of the four new pixels at the first doubling and at the second.
    blocks = logits.view(prompts, count, side, side, 2, 2, 2, 2)
    masks: torch.Tensor = blocks.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(prompts, count, 4 * side, 4 * side)
    return masks


def _double(pixels: torch.Tensor, layer: nn.ConvTranspose2d) -> torch.Tensor:
    """A transposed convolution, kernel 2 and stride 2, on [P, L, C] → [P, L, 4 · C']: each pixel's four one by one."""
    bias = layer.bias if layer.bias is not None else torch.zeros(layer.out_channels)
    wide: torch.Tensor = pixels @ layer.weight.permute(0, 2, 3, 1).flatten(1) + bias.repeat(4)
    return wide


def _by_pixel(wide: torch.Tensor) -> torch.Tensor:
    """[P, L, 4 · C'] → [P, 4 · L, C']."""
    return wide.view(wide.shape[0], -1, wide.shape[-1] // 4)
