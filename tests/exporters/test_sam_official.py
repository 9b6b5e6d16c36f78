"""SAM ViT-B from the pixels to the masks, with random weights: our two ONNX files against Meta's `SamPredictor`.

Of the encoder's twelve blocks only the first four, at full size: three with windows and one with global attention. The
others are the same again, and at 1024² each takes a second or more wherever it runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from benchmark.data.slices import Slice
from benchmark.samples import MIN_PIXELS
from benchmark.stages.sam_input import SamInput, decoder_inputs, preprocess
from exporters.sam import SAM_MODELS, LoadedSam, load_sam
from tests.exporters.test_sam import NAMES

pytestmark = pytest.mark.slow

BLOCKS = 4
LOGIT_TOLERANCE, PIXELS_DIFFERING = 1e-3, 1e-4


@pytest.fixture(scope="module")
def vit_b() -> Iterator[LoadedSam]:
    pytest.importorskip("segment_anything", reason="the official implementation is not installed")
    model = SAM_MODELS["vit_b"]

    def shallow() -> Any:
        network: Any = model.build()
        blocks = network.image_encoder.blocks[:BLOCKS]
        assert sorted({block.window_size for block in blocks}) == [0, 14]
        network.image_encoder.blocks = blocks
        return network

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SAM_MODELS, "vit_b", replace(model, build=shallow))  # type: ignore[arg-type]
        yield load_sam("vit_b", random_seed=0)


@pytest.fixture(scope="module")
def artifact(vit_b: LoadedSam, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vit_b") / "artifact"
    vit_b.export(folder)
    return folder


@pytest.fixture(scope="module")
def predictor(vit_b: LoadedSam, abdomen_slice: Slice) -> Any:
    """Meta's, after `set_image` with the slice as an RGB picture."""
    from segment_anything import SamPredictor, sam_model_registry

    official = sam_model_registry["vit_b"]().eval()
    official.image_encoder = vit_b.encoder.module.image_encoder
    official.prompt_encoder = vit_b.decoder.module.prompt_encoder
    official.mask_decoder = vit_b.decoder.module.mask_decoder
    found = SamPredictor(official)
    with torch.inference_mode():
        found.set_image(rgb(abdomen_slice))
    return found


def rgb(piece: Slice) -> np.ndarray:
    return np.repeat(np.round(piece.image).astype(np.uint8)[..., None], 3, axis=2)


@pytest.fixture(scope="module")
def our_embedding(artifact: Path, predictor: Any, abdomen_slice: Slice) -> np.ndarray:
    """Our encoder on the very pixels that the predictor gave to its own: resized and padded by its code."""
    resized = torch.as_tensor(predictor.transform.apply_image(rgb(abdomen_slice))).permute(2, 0, 1)[None]
    image = predictor.model.preprocess(resized.float())
    session = ort.InferenceSession(str(artifact / "encoder.onnx"), providers=["CPUExecutionProvider"])
    return session.run(["image_embeddings"], {"image": image.numpy()})[0]


@pytest.fixture(scope="module")
def decoder(artifact: Path) -> ort.InferenceSession:
    return ort.InferenceSession(str(artifact / "decoder.onnx"), providers=["CPUExecutionProvider"])


def test_the_embedding_is_the_official_encoders(our_embedding: np.ndarray, predictor: Any) -> None:
    np.testing.assert_allclose(our_embedding, predictor.features.numpy(), atol=1e-4)


@pytest.mark.parametrize("count", [1, 16])
@pytest.mark.parametrize("kind", ["point", "points", "box", "box+points"])
def test_masks_are_those_of_the_official_predictor(
    kind: str, count: int, our_embedding: np.ndarray, predictor: Any, decoder: Any, abdomen_slice: Slice
) -> None:
    from tests.exporters.test_sam import ask

    asked, size = ask(kind, count, seed=count), abdomen_slice.label.shape
    with torch.inference_mode():
        results = predictor.predict_torch(
            asked.points, asked.labels, asked.boxes, None, multimask_output=False, return_logits=True
        )
    theirs = {name: value.numpy() for name, value in zip(NAMES, results, strict=True)}
    ours = dict(zip(NAMES, decoder.run(NAMES, asked.feed(our_embedding, size)), strict=True))
    assert np.abs(ours["low_res_masks"] - theirs["low_res_masks"]).max() <= LOGIT_TOLERANCE
    assert np.abs(ours["iou_predictions"] - theirs["iou_predictions"]).max() <= 1e-4
    assert np.mean((ours["masks"] > 0) != (theirs["masks"] > 0)) <= PIXELS_DIFFERING
    assert 0 < np.mean(theirs["masks"] > 0) < 1, "masks that are all one value would agree by chance"


def test_our_preprocessing_is_the_predictors_but_for_rounding(predictor: Any, abdomen_slice: Slice) -> None:
    """Its pictures hold whole grey levels before and after the resize, ours do not: one level is 1/58 after scaling."""
    resized = torch.as_tensor(predictor.transform.apply_image(rgb(abdomen_slice))).permute(2, 0, 1)[None]
    theirs = predictor.model.preprocess(resized.float()).numpy()
    ours = preprocess(abdomen_slice.image, SamInput.of(SAM_MODELS["vit_b"]))
    assert ours.shape == theirs.shape == (1, 3, 1024, 1024)
    assert np.abs(ours - theirs).max() <= 1.6 / 57
    assert np.abs(ours - theirs).mean() <= 0.5 / 57


def test_our_prompts_are_the_predictors(predictor: Any, abdomen_slice: Slice) -> None:
    from benchmark.prompts import tight_box

    value = max(np.unique(abdomen_slice.label), key=lambda v: np.count_nonzero(abdomen_slice.label == v) * (v > 0))
    mask = abdomen_slice.label == value
    assert np.count_nonzero(mask) >= MIN_PIXELS
    box = tight_box(mask)
    feed = decoder_inputs([box], mask.shape, np.zeros(0, np.float32), SamInput.of(SAM_MODELS["vit_b"]))
    theirs = predictor.transform.apply_boxes(box.coords.reshape(1, 4), mask.shape).reshape(1, 2, 2)
    # Ours count from the voxel's edge, SAM from the first pixel's centre.
    np.testing.assert_allclose(feed["point_coords"], theirs - 0.5, atol=1e-3)


def test_positions_are_constants_of_the_graph(artifact: Path) -> None:
    """The official encoder gathers its relative positions at every call."""
    operators = {node.op_type for node in onnx.load(str(artifact / "encoder.onnx")).graph.node}
    assert not operators & {"Gather", "GatherND", "Resize", "BatchNormalization", "Dropout", "Erf"}
    assert {"Gelu", "LayerNormalization"} <= operators
