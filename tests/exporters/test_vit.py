"""The reformulated ViT computes what Meta's `ImageEncoderViT` computes, in PyTorch and as a graph."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

pytest.importorskip("segment_anything", reason="the official implementation is not installed")
from segment_anything.modeling import ImageEncoderViT

from exporters.base import export_artifact
from exporters.exportable import Exportable
from exporters.manifest import TensorSpec, Weights
from exporters.sam_modules import SamEncoder
from exporters.sam_networks import randomise
from exporters.vit import GraphBlock, faster_vit

SIDE = 128


def official(window: int = 5, seed: int = 0, side: int = SIDE) -> Any:
    """Meta's encoder, small: an 8 × 8 grid, so that windows of 5 are padded to 10 and windows of 4 are not."""
    torch.manual_seed(seed)
    encoder = ImageEncoderViT(
        img_size=side, embed_dim=48, depth=3, num_heads=3, out_chans=32, window_size=window, use_rel_pos=True,
        global_attn_indexes=(1,),
    )  # fmt: skip
    randomise(encoder, seed)
    strengthen(encoder)
    return encoder.eval().requires_grad_(False)


def strengthen(encoder: Any) -> None:
    """Scores of trained weights are far apart; where all are about 0, a wrong term would hardly show."""
    with torch.no_grad():
        for block in encoder.blocks:
            block.attn.rel_pos_h.mul_(25)
            block.attn.rel_pos_w.mul_(25)
            block.attn.qkv.bias.mul_(10)


def images(batch: int, side: int = SIDE) -> torch.Tensor:
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(batch))


def run(encoder: Any, image: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return encoder(image)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("window", "side"),
    [(5, 128), (4, 128), (14, 128), (14, 224), (14, 240)],
    ids=["padded", "not padded", "window larger than the grid", "window equal to the grid", "grid of 15"],
)
def test_the_embedding_is_the_official_one(window: int, side: int, batch: int) -> None:
    encoder = official(window, side=side)
    faster = faster_vit(encoder)
    assert all(isinstance(block, GraphBlock) for block in faster.blocks)
    expected = run(encoder, images(batch, side))
    assert expected.abs().max() > 1
    torch.testing.assert_close(run(faster, images(batch, side)), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("window", [4, 5])
def test_in_double_precision_nothing_is_left_of_the_difference(window: int) -> None:
    """So it is rounding alone: a wrong term as small as fp32's noise would show here."""
    encoder, image = official(window).double(), images(2).double()
    torch.testing.assert_close(run(faster_vit(encoder), image), run(encoder, image), atol=1e-12, rtol=0)


@pytest.mark.parametrize("left_out", ["rel_pos_h", "rel_pos_w", "qkv.bias", "proj.bias", "pos_embed"])
def test_every_part_that_is_rewritten_matters_so_that_the_comparison_is_not_vacuous(left_out: str) -> None:
    encoder, image = official(), images(2)
    without = copy.deepcopy(encoder)
    with torch.no_grad():
        for name, parameter in without.named_parameters():
            if name.endswith(left_out):
                parameter.zero_()
    changed = (run(without, image) - run(encoder, image)).abs().max()
    assert changed > 1e-2
    torch.testing.assert_close(run(faster_vit(without), image), run(without, image), atol=1e-5, rtol=0)


def test_rows_and_columns_of_the_relative_positions_are_not_exchanged() -> None:
    """With the same table for both, an exchange would pass."""
    encoder, image = official(), images(1)
    exchanged = copy.deepcopy(encoder)
    for block in exchanged.blocks:
        attention = block.attn
        attention.rel_pos_h, attention.rel_pos_w = attention.rel_pos_w, attention.rel_pos_h
    assert (run(exchanged, image) - run(faster_vit(encoder), image)).abs().max() > 1e-2


@pytest.mark.parametrize("side", [64, 192])
def test_tables_of_another_grid_are_interpolated_as_the_official_code_does(side: int) -> None:
    """A checkpoint trained at another size brings longer or shorter tables for global attention."""
    encoder, other = official(), official(side=side, seed=1)
    encoder.blocks[1].attn.rel_pos_h = other.blocks[1].attn.rel_pos_h
    encoder.blocks[1].attn.rel_pos_w = other.blocks[1].attn.rel_pos_w
    torch.testing.assert_close(run(faster_vit(encoder), images(1)), run(encoder, images(1)), atol=1e-5, rtol=0)


def test_the_original_stays_as_it_was() -> None:
    encoder, image = official(), images(1)
    before, answer = copy.deepcopy(encoder.state_dict()), run(encoder, image)
    kinds = [type(module) for module in encoder.modules()]
    faster = faster_vit(encoder)
    run(faster, image)
    assert faster is not encoder
    assert [type(module) for module in encoder.modules()] == kinds
    after = encoder.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert torch.equal(run(encoder, image), answer)
    assert not any(module.training for module in faster.modules())


def test_an_encoder_of_another_kind_comes_back_as_it_is(litemedsam: Any) -> None:
    tiny_vit = litemedsam.encoder.module.image_encoder
    assert faster_vit(tiny_vit) is tiny_vit
    other = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1))
    assert faster_vit(other) is other


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The faster graph, held against the official module as in an export of vit_b."""
    module = SamEncoder(official()).eval()
    part = Exportable(
        name="encoder",
        module=module,
        inputs=(TensorSpec(name="image", dims=("B", 3, SIDE, SIDE)),),
        outputs=(TensorSpec(name="image_embeddings", dims=("B", 32, 8, 8)),),
        feeds=lambda: [{"image": images(batch).numpy()} for batch in (2, 1)],
        tolerance={"image_embeddings": 1e-4},
        graph_module=lambda: SamEncoder(faster_vit(module.image_encoder)).eval(),
    )
    folder = tmp_path_factory.mktemp("vit") / "artifact"
    export_artifact(folder, "small", Weights(source="random", seed=0), (part,), {})
    return folder / "encoder.onnx"


@pytest.mark.parametrize("batch", [1, 3])
def test_the_exported_graph_gives_the_official_embedding(batch: int, exported: Path) -> None:
    session = ort.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    got = session.run(["image_embeddings"], {"image": images(batch).numpy()})[0]
    np.testing.assert_allclose(got, run(official(), images(batch)).numpy(), atol=1e-5, rtol=0)


def test_the_graph_gathers_no_positions_at_run_time_and_pads_after_the_products(exported: Path) -> None:
    graph = onnx.load(str(exported)).graph
    operators = [node.op_type for node in graph.node]
    assert "Einsum" not in operators
    assert "Resize" not in operators
    assert operators.count("Softmax") == 3
    (first_padding, *_) = [index for index, operator in enumerate(operators) if operator == "Pad"]
    assert operators.count("Pad") == 2, "two blocks have windows, the global one has none"
    assert {"MatMul", "Gemm"} & set(operators[:first_padding])
