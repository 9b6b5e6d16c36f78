"""A SAM that answers a box with the box, in PyTorch and in hand-written ONNX: a whole run in seconds.

Whatever a prompt is, its first two points are taken for a box's corners.

Its int8 decoder is as wrong as asked: its boxes are moved and shrunk by a factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import onnx.parser
import torch
from torch import nn

from exporters.exportable import Exportable
from exporters.manifest import TensorSpec, Weights
from exporters.sam import SAM_MODELS

SIDE = 32
MODEL = replace(SAM_MODELS["litemedsam"], image_size=SIDE, stride=4)
LOW = 4 * MODEL.grid
HEAD = '<ir_version: 10, opset_import: ["" : 20]>\n'


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), 0.5))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image * self.weight


class Decoder(nn.Module):
    """Logits are the distance to the nearest edge of the box, positive within it."""

    def __init__(self) -> None:
        super().__init__()
        self.centre = nn.Parameter(torch.full((1,), 0.5))

    def forward(self, point_coords: torch.Tensor, orig_im_size: torch.Tensor, **_: torch.Tensor) -> Any:
        corners = (point_coords + self.centre) * (orig_im_size.max() / SIDE)
        rows, columns = (torch.arange(int(size)) + self.centre for size in orig_im_size)
        across = torch.minimum(columns - corners[:, :1, 0], corners[:, 1:2, 0] - columns)
        down = torch.minimum(rows - corners[:, :1, 1], corners[:, 1:2, 1] - rows)
        masks = torch.minimum(across[:, None, None, :], down[:, None, :, None])
        prompts = len(point_coords)
        return masks, torch.ones(prompts, 1), torch.zeros(prompts, 1, LOW, LOW)


ENCODER = f"""encoder (float[B,3,{SIDE},{SIDE}] image) => (float[B,3,{SIDE},{SIDE}] image_embeddings)
<float[1] weight = {{0.5}}> {{ image_embeddings = Mul(image, weight) }}"""

DECODER = f"""decoder (float[1,3,{SIDE},{SIDE}] image_embeddings, float[P,N,2] point_coords, float[P,N] point_labels,
  float[R,1,{LOW},{LOW}] mask_input, float[Q] has_mask_input, float[2] orig_im_size)
=> (float[P,1,H,W] masks, float[P,1] iou_predictions, float[P,1,{LOW},{LOW}] low_res_masks)
<float[1] half = {{0.5}}, float[1] side = {{{SIDE}}}, float zero = {{0}}, float one = {{1}},
 float[1] factor = {{FACTOR}},
 int64[1] i0 = {{0}}, int64[1] i1 = {{1}}, int64[1] i2 = {{2}}, int64[1] i3 = {{3}}, int64[2] spatial = {{2, 3}},
 int64 first = {{0}}, int64 second = {{1}}>
{{
  quantised, q_scale, q_zero = DynamicQuantizeLinear(point_coords)
  coarse = DequantizeLinear(quantised, q_scale, q_zero)
  coords = Mul(coarse, factor)
  largest = ReduceMax(orig_im_size)
  scale = Div(largest, side)
  moved = Add(coords, half)
  corners = Mul(moved, scale)
  height = Gather(orig_im_size, first)
  width = Gather(orig_im_size, second)
  rows_from = Range(zero, height, one)
  columns_from = Range(zero, width, one)
  rows = Add(rows_from, half)
  columns = Add(columns_from, half)
  low = Slice(corners, i0, i1, i1)
  high = Slice(corners, i1, i2, i1)
  x0 = Slice(low, i0, i1, i2)
  x1 = Slice(high, i0, i1, i2)
  y0 = Slice(low, i1, i2, i2)
  y1 = Slice(high, i1, i2, i2)
  from_left = Sub(columns, x0)
  from_right = Sub(x1, columns)
  across = Min(from_left, from_right)
  from_top = Sub(rows, y0)
  from_bottom = Sub(y1, rows)
  down = Min(from_top, from_bottom)
  across_4 = Unsqueeze(across, i1)
  down_4 = Unsqueeze(down, i3)
  masks = Min(across_4, down_4)
  unasked = Mul(mask_input, zero)
  some_mask = ReduceMax<keepdims = 1>(masks, spatial)
  no_mask = Mul(some_mask, zero)
  low_res_masks = Add(unasked, no_mask)
  some = ReduceMax<keepdims = 0>(low_res_masks, spatial)
  iou_predictions = Add(some, one)
}}"""
QUANTISED = """  quantised, q_scale, q_zero = DynamicQuantizeLinear(point_coords)
  coarse = DequantizeLinear(quantised, q_scale, q_zero)
  coords = Mul(coarse, factor)
"""


def decoder_graph(precision: str, factor: float) -> onnx.ModelProto:
    """The decoder in fp32, or with its coordinates quantised and multiplied by a factor."""
    text = DECODER.replace("FACTOR", str(factor))
    if precision == "fp32":
        text = text.replace(QUANTISED, "").replace("Add(coords,", "Add(point_coords,")
    return onnx.parser.parse_model(HEAD + text)


@dataclass
class FakeSam:
    """In the place of `LoadedSam`. Its int8 file multiplies coordinates by `factor`; `exported` notes precisions."""

    factor: float = 0.8
    weights: Weights = field(default_factory=lambda: Weights(source="package", file="w.pth", sha256="5a" * 32))
    exported: list[str] = field(default_factory=list)
    model: Any = MODEL

    @property
    def encoder(self) -> Exportable:
        image = TensorSpec(name="image", dims=("B", 3, SIDE, SIDE))
        embedding = TensorSpec(name="image_embeddings", dims=("B", 3, SIDE, SIDE))
        return Exportable("encoder", Encoder().eval(), (image,), (embedding,), lambda: [], {})

    @property
    def decoder(self) -> Exportable:
        inputs = {
            "image_embeddings": (1, 3, SIDE, SIDE),
            "point_coords": ("P", "N", 2),
            "point_labels": ("P", "N"),
            "mask_input": ("R", 1, LOW, LOW),
            "has_mask_input": ("Q",),
            "orig_im_size": (2,),
        }
        outputs = {"masks": ("P", 1, "H", "W"), "iou_predictions": ("P", 1), "low_res_masks": ("P", 1, LOW, LOW)}
        return Exportable("decoder", Decoder().eval(), _specs(inputs), _specs(outputs), lambda: [], {})

    def export(self, out_dir: Path, precision: str = "fp32", samples: Sequence[Any] = (), **_: Any) -> Any:
        """Writes both files. The encoder stays in fp32, as a part of a reduced artifact may."""
        self.exported.append(precision)
        out_dir.mkdir(parents=True, exist_ok=True)
        onnx.save(onnx.parser.parse_model(HEAD + ENCODER), out_dir / "encoder.onnx")
        onnx.save(decoder_graph(precision, self.factor), out_dir / "decoder.onnx")
        files = {"encoder": SimpleNamespace(precision="fp32"), "decoder": SimpleNamespace(precision=precision)}
        return SimpleNamespace(precision=precision, files=files)


def _specs(dims: dict[str, tuple[int | str, ...]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name=name, dims=shape) for name, shape in dims.items())
