"""Our decoder against Meta's own code: the ONNX export of `SamOnnxModel`, and what `SamPredictor` runs in PyTorch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from exporters import sam as sam_module
from exporters.manifest import ExportError, load_manifest
from exporters.sam import load_sam
from exporters.sam_modules import SamDecoder

NAMES = ["masks", "iou_predictions", "low_res_masks"]
TOLERANCE = dict(zip(NAMES, (1e-3, 1e-4, 1e-3), strict=True))

Decode = Callable[..., dict[str, np.ndarray]]


@dataclass(frozen=True)
class Asked:
    """Prompts as PyTorch's API takes them, in pixels of the padded square."""

    points: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    boxes: torch.Tensor | None = None
    masks: torch.Tensor | None = None

    def feed(self, embedding: np.ndarray, size: tuple[int, int]) -> dict[str, np.ndarray]:
        """The same prompts as a client of the ONNX file writes them: box corners are points; no box, so one padding."""
        coords, labels = [], []
        if self.points is not None and self.labels is not None:
            coords, labels = [self.points], [self.labels]
        count = len(coords[0]) if coords else len(self.boxes)
        if self.boxes is not None:
            coords.append(self.boxes.reshape(count, 2, 2))
            labels.append(torch.tensor([[2.0, 3.0]]).expand(count, 2))
        else:
            coords.append(torch.zeros(count, 1, 2))
            labels.append(-torch.ones(count, 1))
        masks = torch.zeros(count, 1, 256, 256) if self.masks is None else self.masks
        return {
            "image_embeddings": embedding,
            "point_coords": torch.cat(coords, dim=1).numpy(),
            "point_labels": torch.cat(labels, dim=1).numpy(),
            "mask_input": masks.numpy(),
            "has_mask_input": np.array([0 if self.masks is None else 1], dtype=np.float32),
            "orig_im_size": np.array(size, dtype=np.float32),
        }


def ask(kind: str, count: int = 1, with_mask: bool = False, seed: int = 0) -> Asked:
    """Random prompts: `point`, `points` (positive and negative), `box`, `box+points`."""
    rng = np.random.default_rng(seed)
    points = labels = boxes = None
    if kind != "box":
        number = 1 if kind == "point" else 3
        points = torch.from_numpy(rng.uniform(10, 180, (count, number, 2)).astype(np.float32))
        labels = torch.tensor([[1.0, 0.0, 1.0][:number]]).expand(count, number)
    if kind.startswith("box"):
        corner = rng.uniform(5, 100, (count, 2))
        boxes = torch.from_numpy(np.concatenate([corner, corner + rng.uniform(20, 90, (count, 2))], 1)).float()
    masks = torch.from_numpy(3 * rng.standard_normal((count, 1, 256, 256), dtype=np.float32)) if with_mask else None
    return Asked(points, labels, boxes, masks)


@pytest.fixture(scope="session")
def session(decoder_folder: Path) -> ort.InferenceSession:
    return ort.InferenceSession(str(decoder_folder / "decoder.onnx"), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="session")
def decode(session: ort.InferenceSession) -> Decode:
    """Our exported decoder in ONNX Runtime."""
    return lambda feed: dict(zip(NAMES, session.run(NAMES, feed), strict=True))


def official_answers(
    official_sam: Any, embedding: np.ndarray, asked: Asked, size: tuple[int, int], multimask: bool = False
) -> dict[str, np.ndarray]:
    """Meta's `SamPredictor.predict_torch` on the given embedding."""
    from segment_anything import SamPredictor

    official_sam.image_encoder.embedding = torch.from_numpy(embedding)
    predictor = SamPredictor(official_sam)
    height, width = predictor.transform.get_preprocess_shape(*size, 256)
    predictor.set_torch_image(torch.zeros(1, 3, height, width), size)
    results = predictor.predict_torch(
        asked.points, asked.labels, asked.boxes, asked.masks, multimask_output=multimask, return_logits=True
    )
    return {name: value.numpy() for name, value in zip(NAMES, results, strict=True)}


@pytest.fixture(scope="session")
def predict(official_sam: Any, embedding: np.ndarray) -> Callable[[Asked, tuple[int, int]], dict[str, np.ndarray]]:
    """The official predictor with `multimask_output=False`."""
    return lambda asked, size: official_answers(official_sam, embedding, asked, size)


@pytest.fixture(scope="session")
def official_export(official_sam: Any) -> Callable[..., dict[str, np.ndarray]]:
    """Meta's `SamOnnxModel`: what the official ONNX file computes."""
    from segment_anything.utils.onnx import SamOnnxModel

    def run(feed: dict[str, np.ndarray], single: bool = False) -> dict[str, np.ndarray]:
        model = SamOnnxModel(official_sam, return_single_mask=single).eval()
        tensors = {name: torch.from_numpy(value) for name, value in feed.items()}
        return {name: value.numpy() for name, value in zip(NAMES, model(**tensors), strict=True)}

    return run


def assert_same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    for name in NAMES:
        assert ours[name].shape == theirs[name].shape, name
        error = float(np.abs(ours[name] - theirs[name]).max())
        assert error <= TOLERANCE[name], f"{name} differs by {error:.3g}"


# The same answers as Meta's code.


@pytest.mark.parametrize(
    ("kind", "with_mask", "size"),
    [
        ("point", False, (101, 122)),
        ("point", True, (512, 300)),
        ("points", False, (256, 256)),
        ("box", False, (512, 300)),
        ("box", False, (40, 200)),
        ("box", True, (101, 122)),
        ("box+points", False, (256, 256)),
        ("box+points", True, (40, 200)),
    ],
)
def test_one_prompt_gives_token_0_of_the_official_export(
    kind: str, with_mask: bool, size: tuple[int, int], decode: Decode, official_export: Decode, embedding: np.ndarray
) -> None:
    feed = ask(kind, with_mask=with_mask).feed(embedding, size)
    official = official_export(feed)
    assert official["masks"].shape == (1, 4, *size), "the official export answers with all four tokens"
    assert_same(decode(feed), {name: value[:, :1] for name, value in official.items()})


@pytest.mark.parametrize(
    ("kind", "with_mask", "count", "size"),
    [
        ("point", False, 1, (101, 122)),
        ("points", True, 1, (122, 61)),
        pytest.param("points", True, 16, (122, 61), marks=pytest.mark.slow),
        ("box", False, 1, (101, 122)),
        pytest.param("box", False, 16, (101, 122), marks=pytest.mark.slow),
        ("box", True, 2, (40, 200)),
        ("box+points", True, 3, (70, 70)),
    ],
)
def test_one_and_sixteen_prompts_give_what_the_official_predictor_gives(
    kind: str, with_mask: bool, count: int, size: tuple[int, int], decode: Decode, predict: Decode,
    embedding: np.ndarray,
) -> None:  # fmt: skip
    asked = ask(kind, count, with_mask, seed=count)
    theirs = predict(asked, size)
    assert theirs["masks"].shape == (count, 1, *size)
    assert_same(decode(asked.feed(embedding, size)), theirs)


# The traps of the official export.


def test_a_box_is_not_padded_because_pytorch_does_not_pad_it(
    decode: Decode, predict: Decode, embedding: np.ndarray
) -> None:
    asked = ask("box", count=3)
    feed = asked.feed(embedding, (101, 122))
    assert feed["point_labels"].tolist() == [[2, 3]] * 3
    theirs = predict(asked, (101, 122))
    assert_same(decode(feed), theirs)
    padded = {
        **feed,
        "point_coords": np.concatenate([feed["point_coords"], np.zeros((3, 1, 2), np.float32)], axis=1),
        "point_labels": np.concatenate([feed["point_labels"], -np.ones((3, 1), np.float32)], axis=1),
    }
    assert np.abs(decode(padded)["low_res_masks"] - theirs["low_res_masks"]).max() > 0.1, "padding must matter"


def test_a_bare_point_needs_the_padding_point_that_pytorch_adds(
    decode: Decode, predict: Decode, embedding: np.ndarray
) -> None:
    asked = ask("point", count=3)
    feed = asked.feed(embedding, (101, 122))
    assert feed["point_labels"].tolist() == [[1, -1]] * 3
    theirs = predict(asked, (101, 122))
    assert_same(decode(feed), theirs)
    bare = {**feed, "point_coords": feed["point_coords"][:, :1], "point_labels": feed["point_labels"][:, :1]}
    assert np.abs(decode(bare)["low_res_masks"] - theirs["low_res_masks"]).max() > 0.1, "the padding must matter"


def test_a_bare_box_gets_token_0_where_the_official_single_mask_export_takes_the_best_of_the_other_three(
    decode: Decode, official_export: Decode, predict: Decode, embedding: np.ndarray
) -> None:
    asked = ask("box")
    feed = asked.feed(embedding, (101, 122))
    single, pytorch = official_export(feed, single=True), predict(asked, (101, 122))
    assert np.abs(single["low_res_masks"] - pytorch["low_res_masks"]).max() > 0.1, "the trap is gone upstream"
    assert_same(decode(feed), pytorch)


@pytest.mark.parametrize("points", range(1, 7))
def test_the_choice_of_token_does_not_depend_on_the_number_of_points(
    points: int, decode: Decode, official_export: Decode, embedding: np.ndarray
) -> None:
    rng = np.random.default_rng(points)
    feed = {
        **ask("box").feed(embedding, (64, 80)),
        "point_coords": rng.uniform(0, 200, (1, points, 2)).astype(np.float32),
        "point_labels": np.array([[2, 3, 1, 0, -1, -1][:points]], dtype=np.float32),
    }
    token_0 = {name: value[:, :1] for name, value in official_export(feed).items()}
    assert_same(decode(feed), token_0)


@pytest.mark.parametrize("prompts", range(1, 6))
def test_prompts_together_equal_each_alone_and_the_batch_is_not_squared(
    prompts: int, decode: Decode, embedding: np.ndarray
) -> None:
    with_mask = prompts % 2 == 1
    asked = ask("box+points", prompts, with_mask)
    together = decode(asked.feed(embedding, (50, 44)))
    assert together["masks"].shape == (prompts, 1, 50, 44)
    for row in range(prompts):
        alone = replace(
            asked,
            points=asked.points[row : row + 1],
            labels=asked.labels[row : row + 1],
            boxes=asked.boxes[row : row + 1],
            masks=asked.masks[row : row + 1] if with_mask else None,
        )
        assert_same({k: v[row : row + 1] for k, v in together.items()}, decode(alone.feed(embedding, (50, 44))))


# The exported graph.


def test_inputs_and_outputs_have_the_official_names_and_order(session: ort.InferenceSession) -> None:
    assert [put.name for put in session.get_inputs()] == [
        "image_embeddings",
        "point_coords",
        "point_labels",
        "mask_input",
        "has_mask_input",
        "orig_im_size",
    ]
    assert [put.name for put in session.get_outputs()] == NAMES
    assert {put.type for put in (*session.get_inputs(), *session.get_outputs())} == {"tensor(float)"}


def test_a_client_of_the_official_export_runs_unchanged(
    session: ort.InferenceSession, official_sam: Any, embedding: np.ndarray
) -> None:
    """Written as in segment-anything's notebook onnx_model_example.ipynb, down to the mask of an earlier pass."""
    from segment_anything.utils.transforms import ResizeLongestSide

    size = (101, 122)
    transform = ResizeLongestSide(256)
    input_box, input_point, input_label = np.array([30, 20, 90, 80]), np.array([[60, 50]]), np.array([0])
    box_coords, box_labels = input_box.reshape(2, 2), np.array([2, 3])
    onnx_coord = np.concatenate([input_point, box_coords], axis=0)[None, :, :]
    onnx_label = np.concatenate([input_label, box_labels], axis=0)[None, :].astype(np.float32)
    onnx_coord = transform.apply_coords(onnx_coord, size).astype(np.float32)
    inputs = {
        "image_embeddings": embedding,
        "point_coords": onnx_coord,
        "point_labels": onnx_label,
        "mask_input": np.zeros((1, 1, 256, 256), dtype=np.float32),
        "has_mask_input": np.zeros(1, dtype=np.float32),
        "orig_im_size": np.array(size, dtype=np.float32),
    }
    masks, scores, low_res_logits = session.run(None, inputs)
    assert (masks.shape, scores.shape, low_res_logits.shape) == ((1, 1, *size), (1, 1), (1, 1, 256, 256))
    inputs["mask_input"], inputs["has_mask_input"] = low_res_logits, np.ones(1, dtype=np.float32)
    again, _, _ = session.run(None, inputs)
    assert again.shape == masks.shape
    assert np.abs(again - masks).max() > 1e-2, "the mask prompt must count"


@pytest.mark.parametrize("prompts", [1, 3])
def test_has_mask_input_may_be_one_for_all_or_one_each(prompts: int, decode: Decode, embedding: np.ndarray) -> None:
    feed = ask("box", prompts, with_mask=True).feed(embedding, (60, 60))
    assert feed["has_mask_input"].shape == (1,)
    for value in (0, 1):
        one = decode({**feed, "has_mask_input": np.full(1, value, np.float32)})
        each = decode({**feed, "has_mask_input": np.full(prompts, value, np.float32)})
        assert_same(one, each)
    flags = (np.arange(prompts) % 2).astype(np.float32)
    mixed, without, using = (
        decode({**feed, "has_mask_input": f})["low_res_masks"] for f in (flags, 0 * flags, 0 * flags + 1)
    )
    np.testing.assert_allclose(mixed, np.where(flags[:, None, None, None] > 0, using, without), atol=1e-3)


@pytest.mark.parametrize("prompts", [1, 3])
@pytest.mark.parametrize("value", [0, 1])
def test_mask_input_may_be_one_for_all(prompts: int, value: int, decode: Decode, embedding: np.ndarray) -> None:
    """What the prompts share is computed once then; nothing else may come out."""
    feed = ask("box", prompts, with_mask=True).feed(embedding, (60, 60))
    same = np.repeat(feed["mask_input"][:1], prompts, axis=0)
    given = {**feed, "has_mask_input": np.full(1, value, np.float32)}
    assert_same(decode({**given, "mask_input": same[:1]}), decode({**given, "mask_input": same}))


def test_no_shape_in_the_graph_takes_one_mask_for_all_for_one_each(decoder_folder: Path) -> None:
    """ONNX Runtime lets values of one dimension's name share memory; the exporter gives both counts the same name."""
    graph = onnx.load(str(decoder_folder / "decoder.onnx")).graph
    (mask,) = (value for value in graph.input if value.name == "mask_input")
    (points,) = (value for value in graph.input if value.name == "point_coords")
    names = {value.type.tensor_type.shape.dim[0].dim_param for value in (mask, points)}
    assert names == {"R", "P"}
    between = {dim.dim_param for value in graph.value_info for dim in value.type.tensor_type.shape.dim}
    assert not between & names


def test_the_graph_is_in_an_opset_with_gelu_and_uses_it(decoder_folder: Path) -> None:
    model = onnx.load(str(decoder_folder / "decoder.onnx"))
    onnx.checker.check_model(model)
    assert {opset.domain: opset.version for opset in model.opset_import}[""] >= 20
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("Gelu") == 4  # two in the upscaling, two in the mask prompt's downscaling
    assert "Erf" not in operators


def test_the_graph_is_the_one_with_less_arithmetic(decoder_folder: Path) -> None:
    """No transposed convolution, and no product projects the 64² pixels of the grid to an attention's 128 channels."""
    model = onnx.load(str(decoder_folder / "decoder.onnx"))
    operators = {node.op_type for node in model.graph.node}
    assert "ConvTranspose" not in operators
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.value_info
    }
    products = [shapes.get(node.output[0], []) for node in model.graph.node if node.op_type in ("MatMul", "Gemm")]
    assert any(shape[-2:] == [4096, 256] for shape in products), "pixels take in what the tokens answer"
    assert not any(shape[-2:] == [4096, 128] for shape in products)


@pytest.mark.slow
def test_the_encoder_has_its_gelus_fused_no_training_mode_and_a_dynamic_batch(
    litemedsam_folder: Path, litemedsam: Any, embedding: np.ndarray
) -> None:
    model = onnx.load(str(litemedsam_folder / "encoder.onnx"))
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("Gelu") > 10
    assert "Erf" not in operators
    assert "Dropout" not in operators
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            assert {a.name: a.i for a in node.attribute}.get("training_mode", 0) == 0
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert (session.get_inputs()[0].name, session.get_outputs()[0].name) == ("image", "image_embeddings")
    images = np.random.default_rng(1).random((3, 3, 256, 256), dtype=np.float32)
    together = session.run(None, {"image": images})[0]
    alone = session.run(None, {"image": images[2:]})[0]
    with torch.inference_mode():
        expected = litemedsam.encoder.module(torch.from_numpy(images[2:])).numpy()
    np.testing.assert_allclose(alone, expected, atol=1e-3)
    np.testing.assert_allclose(together[2:], expected, atol=1e-3)


def test_the_manifest_says_what_was_verified(decoder_folder: Path, litemedsam: Any) -> None:
    manifest = load_manifest(decoder_folder)
    assert manifest.model == "litemedsam"
    assert manifest.weights == litemedsam.weights
    entry = manifest.files["decoder"]
    assert [spec.name for spec in entry.outputs] == NAMES
    assert set(entry.max_abs_error) == set(NAMES)
    assert all(0 < entry.max_abs_error[name] <= entry.tolerance[name] <= TOLERANCE[name] for name in NAMES)
    assert entry.nodes["Gelu"] == 4


def test_an_export_writes_both_parts_and_what_a_client_needs(
    litemedsam: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(sam_module, "export_artifact", lambda *given: asked.append(given))
    litemedsam.export(tmp_path)
    ((folder, model, weights, parts, settings, _),) = asked
    assert (folder, model, weights) == (tmp_path, "litemedsam", litemedsam.weights)
    assert [part.name for part in parts] == ["encoder", "decoder"]
    assert settings.items() >= {"image_size": 256, "normalisation": "minmax", "mask_threshold": 0.0}.items()


def test_loaded_weights_are_in_evaluation_mode(litemedsam: Any) -> None:
    for part in (litemedsam.encoder, litemedsam.decoder):
        assert not [name for name, module in part.module.named_modules() if module.training]


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ExportError, match=r"'sam3'.*medsam.*litemedsam"):
        load_sam("sam3")


# Resizing without `interpolate`.


@pytest.fixture(scope="session")
def resizer() -> Any:
    """A decoder of which only the resizing is used."""
    return SamDecoder(SimpleNamespace(get_dense_pe=lambda: torch.zeros(1)), torch.nn.Identity(), 256).eval()


@settings(max_examples=60, deadline=None)
@given(height=st.integers(4, 700), width=st.integers(4, 700), seed=st.integers(0, 9))
def test_resizing_by_matrices_equals_official_postprocessing_for_any_slice_size(
    resizer: Any, height: int, width: int, seed: int
) -> None:
    from segment_anything.utils.transforms import ResizeLongestSide

    if 2 * min(height, width) <= max(height, width) / 128:
        return  # the short side would vanish in the square; SAM cannot take such an image at all
    logits = 10 * torch.randn(2, 1, 256, 256, generator=torch.Generator().manual_seed(seed))
    valid = ResizeLongestSide.get_preprocess_shape(height, width, 256)
    square = functional.interpolate(logits, (256, 256), mode="bilinear", align_corners=False)
    cropped = square[..., : valid[0], : valid[1]]
    expected = functional.interpolate(cropped, (height, width), mode="bilinear", align_corners=False)
    got = resizer._to_original_size(logits, torch.tensor([float(height), float(width)]))
    torch.testing.assert_close(got, expected, atol=1e-3, rtol=0)


@settings(max_examples=60, deadline=None)
@given(low=st.integers(1, 64), side=st.sampled_from([32, 64, 256]), valid=st.integers(1, 64), count=st.integers(1, 300))
def test_a_bilinear_matrix_equals_interpolate(low: int, side: int, valid: int, count: int) -> None:
    """Also where the low resolution differs from the square, as in SAM ViT-B (256 to 1024), and where a part is cut."""
    from exporters.sam_modules import _bilinear

    signal = torch.randn(1, 1, low, generator=torch.Generator().manual_seed(low))
    up = functional.interpolate(signal, side, mode="linear", align_corners=False)
    to_square = _bilinear(side, low / side, torch.tensor(float(low)), low)
    torch.testing.assert_close(signal @ to_square.T, up, atol=1e-4, rtol=0)
    valid = min(valid, side)
    down = functional.interpolate(up[..., :valid], count, mode="linear", align_corners=False)
    to_original = _bilinear(count, torch.tensor(valid / count), torch.tensor(float(valid)), side)
    torch.testing.assert_close(up @ to_original.T, down, atol=1e-3, rtol=0)


def test_moving_a_decoder_moves_its_positions_too(litemedsam: Any) -> None:
    """A plain attribute would stay on the CPU when the module goes to the GPU."""
    module = litemedsam.decoder.module
    assert "dense_pe" in dict(module.named_buffers())
    assert "dense_pe" not in module.state_dict(), "it is no weight"
    assert copy.deepcopy(module).double().get_buffer("dense_pe").dtype == torch.float64
