"""The graph's TinyViT is the original one but for rounding, and is traced without the slower way."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch._dynamo.exc import UserError

from exporters.sam_modules import SamEncoder
from exporters.tiny_vit import GraphPatchMerging, GraphTinyViTBlock, faster_tiny_vit


@pytest.fixture(scope="module")
def encoder(litemedsam: Any) -> Any:
    return litemedsam.encoder.module.image_encoder


def images(batch: int) -> torch.Tensor:
    return torch.randn(batch, 3, 256, 256, generator=torch.Generator().manual_seed(batch))


def kinds(encoder: torch.nn.Module) -> Counter[type]:
    return Counter(type(module) for module in encoder.modules())


@pytest.mark.slow
def test_the_embedding_is_the_same(encoder: Any) -> None:
    made = faster_tiny_vit(encoder)
    found = kinds(made)
    assert (found[GraphPatchMerging], found[GraphTinyViTBlock]) == (3, 10)
    with torch.inference_mode():
        expected = encoder(images(2))
        torch.testing.assert_close(made(images(2)), expected, atol=1e-5, rtol=0)
    assert expected.abs().max() > 0.3


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_a_block_is_the_same_with_biases_that_matter(encoder: Any, layer: int) -> None:
    """Trained biases of keys and values are small: with large ones a term that is left out would show."""
    block = copy.deepcopy(encoder.layers[layer].blocks[0])
    generator = torch.Generator().manual_seed(layer)
    with torch.inference_mode():
        for parameter in (block.attn.qkv.bias, block.attn.norm.bias, block.attn.proj.bias, block.attn.attention_biases):
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        block.attn.eval()  # gathers the relative positions anew
        height, width = block.input_resolution
        tokens = torch.randn(2, height * width, block.dim, generator=generator)
        expected = block(tokens)
        assert expected.std() > 0.5
        torch.testing.assert_close(GraphTinyViTBlock(block).eval()(tokens), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_no_key_is_transposed_apart_from_its_product(litemedsam_folder: Path, tmp_path: Path) -> None:
    """ONNX Runtime takes a product with a key's transpose in its stride, unless the exporter has merged that with the
    transposition of heads and tokens; then it took 7 % of the encoder's time.
    """
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(str(litemedsam_folder / "encoder.onnx"), options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(str(tmp_path / "optimised.onnx")).graph.node
    orders = {tuple(node.attribute[0].ints) for node in nodes if node.op_type == "Transpose"}
    assert (0, 2, 1, 3) in orders and (0, 2, 3, 1) not in orders
    assert sum(node.op_type == "FusedMatMul" for node in nodes) == 10


def test_the_original_stays_as_it_was(encoder: Any) -> None:
    before, weights = kinds(encoder), {name: value.clone() for name, value in encoder.state_dict().items()}
    made = faster_tiny_vit(encoder)
    assert made is not encoder
    assert kinds(encoder) == before and not before[GraphPatchMerging]
    assert all(torch.equal(value, weights[name]) for name, value in encoder.state_dict().items())


def test_an_encoder_of_another_kind_comes_back_as_it_is() -> None:
    other = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1))
    assert faster_tiny_vit(other) is other


@pytest.mark.slow
def test_the_batch_stays_open_in_the_first_way_of_tracing(encoder: Any) -> None:
    """The original fixes it there; should it no longer do so, this module can go."""
    dynamic = {"image": {0: torch.export.Dim.DYNAMIC}}
    with pytest.raises(UserError, match="specialized it to be a constant"):
        torch.export.export(SamEncoder(encoder), (), {"image": images(2)}, dynamic_shapes=dynamic, strict=False)
    module = SamEncoder(faster_tiny_vit(encoder))
    program = torch.export.export(module, (), {"image": images(2)}, dynamic_shapes=dynamic, strict=False)
    assert program.module()(image=images(1)).shape == (1, 256, 64, 64)
