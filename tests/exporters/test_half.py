"""fp16 for the networks alone: what a client sees, sums over many values and arithmetic on coordinates stay in fp32."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto
from torch import nn

from exporters.base import export_artifact
from exporters.exportable import Exportable
from exporters.half import LARGEST, NETWORKS, to_half
from exporters.manifest import TensorSpec, Weights
from exporters.precision import to_fp16
from exporters.sam import LoadedSam

HALF, FULL = TensorProto.FLOAT16, TensorProto.FLOAT
HUGE = 1e6


class Attention(nn.Module):
    """Convolution, normalisation, attention, a residual and a perceptron: what a SAM's encoder is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 16, 4, 4), nn.LayerNorm(16)
        self.qkv, self.out, self.mlp = nn.Linear(16, 48), nn.Linear(16, 16), nn.Linear(16, 16)
        # Where a model masks with a large number instead of -inf.
        self.register_buffer("masked", torch.tensor([0.0, -HUGE]).repeat(8))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = self.conv(image).flatten(2).transpose(1, 2)
        query, key, value = self.qkv(self.norm(tokens)).chunk(3, dim=-1)
        scores = query @ key.transpose(1, 2) + self.masked
        tokens = tokens + self.out(scores.softmax(dim=-1) @ value)
        return tokens + nn.functional.gelu(self.mlp(self.norm(tokens)))


class Model(nn.Module):
    """A network in one of the scopes, and beside it what a decoder computes with coordinates."""

    def __init__(self) -> None:
        super().__init__()
        self.image_encoder = Attention()
        self.register_buffer("scale", torch.ones(2))
        self.register_buffer("rows", 2000 * torch.eye(2))

    def forward(self, image: torch.Tensor, coords: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        moved = coords * self.scale + 0.5
        return self.image_encoder(image), moved, moved @ self.rows


NAMES = ["tokens", "moved", "product"]


def feed(batch: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(batch)
    coords = np.array([[1023, 511], [700.3, 0.25], [2047, 3]], dtype=np.float32)[:batch]
    return {"image": rng.random((batch, 3, 16, 16), dtype=np.float32), "coords": coords}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    part = Exportable(
        name="model",
        module=Model().eval(),
        inputs=(TensorSpec(name="image", dims=("B", 3, 16, 16)), TensorSpec(name="coords", dims=("B", 2))),
        outputs=(
            TensorSpec(name="tokens", dims=("B", 16, 16)),
            TensorSpec(name="moved", dims=("B", 2)),
            TensorSpec(name="product", dims=("B", 2)),
        ),
        feeds=lambda: [feed(2), feed(3)],
        tolerance={"tokens": 1e-4, "moved": 0, "product": 1},
    )
    folder = tmp_path_factory.mktemp("full") / "artifact"
    export_artifact(folder, "model", Weights(source="random", seed=0), (part,), {})
    return folder / "model.onnx"


@pytest.fixture(scope="module")
def half(full: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("half") / "model.onnx"
    to_fp16(full, target)
    onnx.checker.check_model(str(target), full_check=True)
    return target


class Graph:
    """A graph with the type of every value, as onnx infers them from the weights on: independent of our converter."""

    def __init__(self, path: Path) -> None:
        model = onnx.load(str(path))
        del model.graph.value_info[:]
        self.graph = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
        self.types: dict[str, int] = {item.name: item.data_type for item in self.graph.initializer}
        for value in (*self.graph.input, *self.graph.output, *self.graph.value_info):
            self.types[value.name] = value.type.tensor_type.elem_type
        self.maker = {name: node for node in self.graph.node for name in node.output}

    def nodes(self, *operators: str) -> list[Any]:
        return [node for node in self.graph.node if node.op_type in operators]

    def floats_in(self, node: Any) -> set[int]:
        return {self.types[name] for name in node.input if name and self.types[name] in (HALF, FULL)}

    def round_trips(self) -> Iterator[str]:
        for cast in self.nodes("Cast"):
            before = self.maker.get(cast.input[0])
            if before is None or before.op_type != "Cast" or self.types[cast.output[0]] != HALF:
                continue
            if self.types[before.input[0]] == HALF:
                yield cast.name


def run(path: Path, inputs: dict[str, np.ndarray], names: list[str]) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, inputs), strict=True))


def test_a_client_sees_the_same_names_shapes_and_types(full: Path, half: Path) -> None:
    def contract(path: Path) -> list[tuple[str, str, list[Any]]]:
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return [(put.name, put.type, put.shape) for put in (*session.get_inputs(), *session.get_outputs())]

    assert contract(half) == contract(full)
    assert {kind for _, kind, _ in contract(half)} == {"tensor(float)"}


def test_products_of_the_network_run_in_fp16_with_weights_in_fp16(half: Path) -> None:
    graph = Graph(half)
    products = [node for node in graph.nodes("MatMul", "Gemm", "Conv") if graph.floats_in(node) == {HALF}]
    # A convolution, queries with keys and values, scores, the mix, its projection, and the perceptron.
    assert len(products) == 6
    weights = [item for item in graph.graph.initializer if item.data_type in (HALF, FULL) and len(item.dims) > 1]
    outside = [item for item in weights if item.data_type == FULL]
    assert [list(item.dims) for item in outside] == [[2, 2]], "only the matrix outside the network stays"
    assert len(weights) == 5


def test_sums_over_many_values_run_in_fp32(half: Path) -> None:
    graph = Graph(half)
    sums = graph.nodes("LayerNormalization", "Softmax")
    assert Counter(node.op_type for node in sums) == {"LayerNormalization": 2, "Softmax": 1}
    for node in sums:
        assert graph.floats_in(node) == {FULL}, node.op_type
        assert graph.types[node.output[0]] == FULL


def test_the_answer_is_close_to_that_of_fp32(full: Path, half: Path) -> None:
    expected, got = run(full, feed(3), NAMES), run(half, feed(3), NAMES)
    error = np.abs(got["tokens"] - expected["tokens"]).max()
    assert 0 < error < 1e-2
    assert np.abs(expected["tokens"]).max() > 1


def test_coordinates_stay_exact(full: Path, half: Path) -> None:
    """fp16 has only halves between 512 and 1024, and only whole numbers above: 2047.5 would become 2048."""
    moved = run(half, feed(3), NAMES)["moved"]
    expected = np.array([[1023.5, 511.5], [700.8, 0.75], [2047.5, 3.5]], dtype=np.float32)
    np.testing.assert_array_equal(moved, expected)
    assert np.count_nonzero(expected.astype(np.float16) != expected) == 2
    # Above fp16's largest number as well.
    np.testing.assert_array_equal(run(half, feed(3), NAMES)["product"], 2000 * moved)


def test_nothing_is_cast_to_fp32_and_back(half: Path) -> None:
    assert list(Graph(half).round_trips()) == []


def test_a_weight_beyond_fp16_becomes_its_largest_number_and_not_infinity(full: Path, half: Path) -> None:
    def smallest(path: Path) -> float:
        arrays = [onnx.numpy_helper.to_array(item) for item in onnx.load(str(path)).graph.initializer]
        floats = [array for array in arrays if array.dtype.kind == "f"]
        assert all(np.isfinite(array).all() for array in floats)
        return float(min(array.min() for array in floats))

    assert smallest(full) == -HUGE
    assert smallest(half) == -LARGEST == -65504
    assert np.isfinite(run(half, feed(), NAMES)["tokens"]).all()


def test_a_graph_without_one_of_the_networks_stays_as_it_is(full: Path) -> None:
    model = onnx_ir.load(full)
    for node in model.graph:
        for key, value in node.metadata_props.items():
            if any(network in value for network in NETWORKS):
                node.metadata_props[key] = value.replace("image_encoder", "another")
    before = [node.op_type for node in model.graph]
    after = to_half(model)
    assert [node.op_type for node in after.graph] == before
    assert not [name for name, value in after.graph.initializers.items() if value.dtype == onnx_ir.DataType.FLOAT16]


# LiteMedSAM's decoder.


@pytest.fixture(scope="module")
def half_decoder(decoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("decoder") / "decoder.onnx"
    to_fp16(decoder_folder / "decoder.onnx", target)
    return target


def test_the_decoders_masks_of_a_real_slice_stay_what_they_were(
    half_decoder: Path, decoder_folder: Path, litemedsam: LoadedSam, abdomen_slice: Any, embedding: np.ndarray
) -> None:
    from benchmark.prompts import tight_box
    from benchmark.stages.sam_input import SamInput, decoder_inputs

    masks = [abdomen_slice.label == value for value in np.unique(abdomen_slice.label) if value]
    boxes = [tight_box(mask) for mask in masks if np.count_nonzero(mask) >= 20]
    inputs = decoder_inputs(boxes, abdomen_slice.label.shape, embedding, SamInput.of(litemedsam.model))
    expected, got = (
        run(path, inputs, ["masks"])["masks"] > 0 for path in (decoder_folder / "decoder.onnx", half_decoder)
    )
    assert expected.reshape(len(boxes), -1).any(axis=1).all(), "fp32 finds every object"
    for ours, theirs in zip(got, expected, strict=True):
        assert 2 * np.count_nonzero(ours & theirs) / (np.count_nonzero(ours) + np.count_nonzero(theirs)) >= 0.995


def test_the_decoders_attention_and_upscaling_run_in_fp16_and_its_geometry_does_not(half_decoder: Path) -> None:
    """They are recognised by the scopes of modules: a product in a plain function would silently stay in fp32."""
    graph = Graph(half_decoder)
    full = [node for node in graph.nodes("MatMul", "Gemm", "Conv") if graph.floats_in(node) != {HALF}]
    assert len(full) == 6, "a point's position, the masks' last product, and four that resize them to the slice"
    weights = [item.dims for item in graph.graph.initializer if item.data_type == FULL and len(item.dims) > 1]
    assert max(np.prod(dims[-2:]) for dims in weights if len(dims) == 2) <= 256 * 256, "resizing matrices alone"
    assert len([dims for dims in weights if 128 in dims and 256 in dims]) == 0, "no projection of an attention"


def test_the_decoder_has_half_its_weights_and_no_round_trip(half_decoder: Path, decoder_folder: Path) -> None:
    before, after = (decoder_folder / "decoder.onnx").stat().st_size, half_decoder.stat().st_size
    assert 0.5 < after / before < 0.65
    graph = Graph(half_decoder)
    assert list(graph.round_trips()) == []
    for node in graph.nodes("LayerNormalization", "Softmax"):
        assert graph.floats_in(node) == {FULL}
