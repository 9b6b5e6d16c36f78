"""The traceable TinyViT is the original one, and is traced without the slower way."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._dynamo.exc import UserError

from exporters.sam_modules import SamEncoder
from exporters.tiny_vit import GraphPatchMerging, traceable_tiny_vit


@pytest.fixture(scope="module")
def encoder(litemedsam: Any) -> Any:
    return litemedsam.encoder.module.image_encoder


def images(batch: int) -> torch.Tensor:
    return torch.randn(batch, 3, 256, 256, generator=torch.Generator().manual_seed(batch))


def test_the_embedding_is_the_same_to_the_bit(encoder: Any) -> None:
    made = traceable_tiny_vit(encoder)
    assert sum(isinstance(module, GraphPatchMerging) for module in made.modules()) == 3
    with torch.inference_mode():
        assert torch.equal(made(images(2)), encoder(images(2)))


def test_the_original_stays_as_it_was(encoder: Any) -> None:
    kinds = [type(module) for module in encoder.modules()]
    made = traceable_tiny_vit(encoder)
    assert made is not encoder
    assert [type(module) for module in encoder.modules()] == kinds
    assert not any(isinstance(module, GraphPatchMerging) for module in encoder.modules())


def test_an_encoder_of_another_kind_comes_back_as_it_is() -> None:
    other = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1))
    assert traceable_tiny_vit(other) is other


def test_the_batch_stays_open_in_the_first_way_of_tracing(encoder: Any) -> None:
    """The original fixes it there; should it no longer do so, this module can go."""
    dynamic = {"image": {0: torch.export.Dim.DYNAMIC}}
    with pytest.raises(UserError, match="specialized it to be a constant"):
        torch.export.export(SamEncoder(encoder), (), {"image": images(2)}, dynamic_shapes=dynamic, strict=False)
    module = SamEncoder(traceable_tiny_vit(encoder))
    program = torch.export.export(module, (), {"image": images(2)}, dynamic_shapes=dynamic, strict=False)
    assert program.module()(image=images(1)).shape == (1, 256, 64, 64)
