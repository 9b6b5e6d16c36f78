"""TinyViT, LiteMedSAM's and MobileSAM's encoder, formulated anew for a graph: the same function in fewer operations.

What is different from `tiny_vit.py` (microsoft/Cream), and exact but for rounding:

- Queries, keys and values come from a product each instead of one that is taken apart afterwards. The key's bias is
  gone: it adds the same to every score of a query, and softmax does not see that. The value's bias passes through the
  attention, whose weights sum to 1, into the projection's bias. The scale is in the query's weights.
- Windows and heads are one axis when queries meet keys. Otherwise the exporter makes one transposition of two, of heads
  with tokens and of the key itself, and ONNX Runtime, which takes a product with the key's transpose in its stride, has
  to carry out the whole of it, slowly.
- The projection follows the crop, 4096 tokens instead of 4900.
- `PatchMerging` does not ask for `len(x)`, which a trace takes for a constant: the exporter would fall back to a slower
  way of tracing, and the whole export would take almost twice as long.

docs/export.md has what each of them gives, and what was tried and gave nothing.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn import functional


def faster_tiny_vit(encoder: nn.Module) -> nn.Module:
    """A copy of an image encoder with TinyViT's parts replaced; other encoders come back as they are.

    Args:
        encoder: in evaluation mode; stays untouched. Weights that need no rewriting are shared with the copy.
    """
    layers = getattr(encoder, "layers", None)
    if not isinstance(layers, nn.ModuleList) or not any(_merges(layer) for layer in layers):
        return encoder
    faster = _shallow(encoder)
    faster.layers = nn.ModuleList(_faster_layer(layer) for layer in layers)
    made: nn.Module = faster.eval()
    return made


def _merges(layer: Any) -> bool:
    return type(getattr(layer, "downsample", None)).__name__ == "PatchMerging"


def _faster_layer(layer: Any) -> nn.Module:
    made: nn.Module = _shallow(layer)
    if _merges(layer):
        made.downsample = GraphPatchMerging(layer.downsample)
    made.blocks = nn.ModuleList(
        GraphTinyViTBlock(block) if type(block).__name__ == "TinyViTBlock" else block for block in layer.blocks
    )
    return made


def _shallow(module: nn.Module) -> Any:
    made = copy.copy(module)
    made._modules = dict(module._modules)
    return made


class GraphPatchMerging(nn.Module):
    """`PatchMerging` with the batch left open.

    Args:
        merging: the original.
    """

    def __init__(self, merging: Any) -> None:
        super().__init__()
        self.height, self.width = merging.input_resolution
        self.act, self.conv1, self.conv2, self.conv3 = merging.act, merging.conv1, merging.conv2, merging.conv3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A grid [B, C, H, W] or its tokens [B, H·W, C] → tokens of the merged grid."""
        if x.dim() == 3:
            x = _as_grid(x, self.height, self.width)
        return _as_tokens(self.conv3(self.act(self.conv2(self.act(self.conv1(x))))))


class GraphTinyViTBlock(nn.Module):
    """`TinyViTBlock` in evaluation mode, tokens [B, H·W, C] in and out.

    Args:
        block: the original.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.height, self.width = block.input_resolution
        self.local_conv, self.mlp = block.local_conv, block.mlp
        self.attn = GraphWindowAttention(block.attn, block.input_resolution, block.window_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attention within windows, a convolution of each channel, and two products, as in `TinyViTBlock.forward`."""
        x = x + self.attn(x)
        x = _as_tokens(self.local_conv(_as_grid(x, self.height, self.width)))
        result: torch.Tensor = x + self.mlp(x)
        return result


class GraphWindowAttention(nn.Module):
    """`Attention` with the partition into windows and its reverse, tokens [B, H·W, C] in and out.

    Args:
        attention: the original.
        resolution: of the grid, height and width.
        window: its side.
    """

    ab: torch.Tensor
    query: torch.Tensor
    query_bias: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    out: torch.Tensor
    out_bias: torch.Tensor

    def __init__(self, attention: Any, resolution: tuple[int, int], window: int) -> None:
        super().__init__()
        self.height, self.width, self.window = *resolution, window
        self.heads, self.depth = attention.num_heads, attention.key_dim
        self.norm = attention.norm
        with torch.no_grad():
            # Each head has its query's, key's and value's rows together.
            weights = attention.qkv.weight.unflatten(0, (self.heads, 3, self.depth)).transpose(0, 1).flatten(1, 2)
            biases = attention.qkv.bias.unflatten(0, (self.heads, 3, self.depth)).transpose(0, 1).flatten(1)
            self.register_buffer("query", (attention.scale * weights[0]).t().contiguous())
            self.register_buffer("query_bias", attention.scale * biases[0])
            self.register_buffer("key", weights[1].t().contiguous())
            self.register_buffer("value", weights[2].t().contiguous())
            self.register_buffer("out", attention.proj.weight.t().contiguous())
            self.register_buffer("out_bias", attention.proj.bias + attention.proj.weight @ biases[2])
            self.register_buffer("ab", attention.attention_biases[:, attention.attention_bias_idxs])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What is beside the grid in its last windows is zero before the normalisation, as in the original."""
        window, channels = self.window, x.shape[2]
        below, right = -self.height % window, -self.width % window
        rows, columns = (self.height + below) // window, (self.width + right) // window
        grid = x.view(-1, self.height, self.width, channels)
        if below or right:
            grid = functional.pad(grid, (0, 0, 0, right, 0, below))
        split = grid.view(-1, rows, window, columns, window, channels).transpose(2, 3)
        mixed = self._attend(self.norm(split.reshape(-1, window * window, channels)))
        whole = mixed.view(-1, rows, columns, self.heads, window, window, self.depth).permute(0, 1, 4, 2, 5, 3, 6)
        wide = whole.reshape(-1, rows * window, columns * window, channels)
        if below or right:
            wide = wide[:, : self.height, : self.width]
        return wide.reshape(-1, self.height * self.width, channels) @ self.out + self.out_bias

    def _attend(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens of the windows [b, w², C] → what each head gathered for each, [b · heads, w², C / heads]."""
        count = tokens.shape[1]
        query = self._by_head(tokens @ self.query + self.query_bias)
        key, value = self._by_head(tokens @ self.key), self._by_head(tokens @ self.value)
        scores = (query @ key.transpose(1, 2)).view(-1, self.heads, count, count) + self.ab
        return scores.softmax(dim=-1).view(-1, count, count) @ value

    def _by_head(self, tokens: torch.Tensor) -> torch.Tensor:
        """[b, w², heads · d] → [b · heads, w², d]."""
        count = tokens.shape[1]
        apart = tokens.view(-1, count, self.heads, self.depth).permute(0, 2, 1, 3)
        return apart.reshape(-1, count, self.depth)


def _as_grid(tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """[B, H·W, C] → [B, C, H, W]."""
    return tokens.transpose(1, 2).reshape(-1, tokens.shape[2], height, width)


def _as_tokens(grid: torch.Tensor) -> torch.Tensor:
    """[B, C, H, W] → [B, H·W, C]."""
    return grid.flatten(2).transpose(1, 2)
