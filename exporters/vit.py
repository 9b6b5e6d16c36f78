"""SAM's ViT blocks, formulated anew for a graph: the same function in fewer operations.

What is different from `segment_anything/modeling/image_encoder.py`, and exact but for rounding:

- Queries, keys and values are computed before a window is padded, not after: 4096 tokens instead of 4900. The padding
  is zero there too, because the bias is added elsewhere.
- The key's bias is gone: it adds the same to every score of a query, and softmax does not see that. The value's bias
  passes through the attention, whose weights sum to 1, into the projection's bias. The scale is in the weights.
- The relative positions of the fixed grid are gathered once, not at each call.
- In windows the two position terms are part of the score's matrix product: query · table is appended to the query, and
  the key gets a one-hot code of its row and column. Over the whole grid two additions are cheaper.

docs/export.md has what each of them gives.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn import functional


def faster_vit(encoder: nn.Module) -> nn.Module:
    """A copy of an image encoder with every `Block` of segment-anything replaced; other encoders come back as they are.

    Args:
        encoder: in evaluation mode; stays untouched. Weights that need no rewriting are shared with the copy.
    """
    blocks = getattr(encoder, "blocks", None)
    if not isinstance(blocks, nn.ModuleList) or not all(type(block).__name__ == "Block" for block in blocks):
        return encoder
    size = int(encoder.pos_embed.shape[1])  # type: ignore[index]
    faster = copy.copy(encoder)
    faster._modules = dict(encoder._modules)
    faster.blocks = nn.ModuleList(GraphBlock(block, size) for block in blocks)
    return faster.eval()


class GraphBlock(nn.Module):
    """One transformer block on [B, size, size, C].

    Args:
        block: segment-anything's `Block`, with relative positions.
        size: side of the token grid.
    """

    def __init__(self, block: Any, size: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.mlp = block.norm1, block.norm2, block.mlp
        self.attention = GraphAttention(block.attn, size, block.window_size or size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See `Block.forward`."""
        size, channels = x.shape[1], x.shape[3]
        x = x.reshape(-1, size * size, channels)
        x = x + self.attention(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x.view(-1, size, size, channels)


class GraphAttention(nn.Module):
    """Attention within windows, or over the whole grid when it is one window. Tokens [B, size², C] in and out."""

    qkv: torch.Tensor
    q_bias: torch.Tensor
    out: torch.Tensor
    out_bias: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    places: torch.Tensor

    def __init__(self, attention: Any, size: int, window: int) -> None:
        super().__init__()
        from segment_anything.modeling.image_encoder import get_rel_pos

        channels = attention.qkv.in_features
        self.size, self.window, self.channels = size, window, channels
        self.heads = attention.num_heads
        self.depth = channels // self.heads
        self.padding = -size % window
        with torch.no_grad():
            weight, bias = attention.qkv.weight.clone(), attention.qkv.bias
            weight[:channels] *= attention.scale
            project = attention.proj
            self.register_buffer("qkv", weight.t().contiguous())
            self.register_buffer("q_bias", attention.scale * bias[:channels].view(self.heads, 1, self.depth))
            self.register_buffer("out", project.weight.t().contiguous())
            self.register_buffer("out_bias", project.bias + project.weight @ bias[2 * channels :])
            # The scale is already in the query, and the position terms want the query without it.
            tables = [
                get_rel_pos(window, window, table).transpose(1, 2) / attention.scale
                for table in (attention.rel_pos_h, attention.rel_pos_w)
            ]
            self.register_buffer("rows", tables[0].contiguous())
            self.register_buffer("columns", tables[1].contiguous())
            self.register_buffer("places", _one_hot_places(window))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """See `Attention.forward`, with window partition and its reverse."""
        size, window, padded = self.size, self.window, self.size + self.padding
        count = padded // window
        qkv = (tokens @ self.qkv).view(-1, size, size, 3 * self.channels)
        if self.padding:
            qkv = functional.pad(qkv, (0, 0, 0, self.padding, 0, self.padding))
        split = qkv.view(-1, count, window, count, window, 3, self.heads, self.depth).permute(5, 0, 1, 3, 6, 2, 4, 7)
        query, key, value = split.reshape(3, -1, self.heads, window * window, self.depth).unbind(0)
        mixed = self._scores(query + self.q_bias, key).softmax(dim=-1) @ value
        whole = mixed.view(-1, count, count, self.heads, window, window, self.depth).permute(0, 1, 4, 2, 5, 3, 6)
        cropped = whole.reshape(-1, padded, padded, self.channels)[:, :size, :size]
        return cropped.reshape(-1, size * size, self.channels) @ self.out + self.out_bias

    def _scores(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        """Scaled products with both position terms, [b, heads, w², w²]."""
        window, tokens = self.window, self.window * self.window
        grid = query.reshape(-1, window, window, self.depth)
        by_row = grid @ self.rows
        by_column = (grid.transpose(1, 2) @ self.columns).transpose(1, 2)
        if window == self.size:
            scores = (query @ key.transpose(2, 3)).view(-1, window, window, window, window)
            scores = scores + by_row[..., None] + by_column[..., None, :]
            return scores.view(-1, self.heads, tokens, tokens)
        terms = torch.cat([by_row, by_column], dim=-1).reshape(-1, self.heads, tokens, 2 * window)
        places = self.places.expand(key.shape[0], self.heads, -1, -1)
        scores = torch.cat([query, terms], dim=-1) @ torch.cat([key, places], dim=-1).transpose(2, 3)
        return scores


def _one_hot_places(window: int) -> torch.Tensor:
    """Row and column of each token in one-hot form, [1, 1, w², 2w]."""
    index = torch.arange(window)
    rows = functional.one_hot(index.repeat_interleave(window), window)
    columns = functional.one_hot(index.repeat(window), window)
    return torch.cat([rows, columns], dim=1)[None, None].float()
