"""A decoder that answers with several masks: three held against `SamPredictor`, four against Meta's ONNX export."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch

from exporters.base import export_artifact
from exporters.sam import load_sam
from tests.exporters.test_sam import NAMES, Asked, ask, assert_same, official_answers

pytestmark = pytest.mark.slow

KINDS = ("point", "points", "box", "box+points")


def decoder_of(masks: Any, folder: Path) -> ort.InferenceSession:
    sam = load_sam("litemedsam", masks=masks)
    # Verified with the shape it is traced with alone: the tests below hold it against Meta's code with many.
    decoder = replace(sam.decoder, feeds=lambda: sam.decoder.feeds()[:1])
    export_artifact(folder / masks, "litemedsam", sam.weights, (decoder,), sam.settings)
    return ort.InferenceSession(str(folder / masks / "decoder.onnx"), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def three(litemedsam: Any, tmp_path_factory: pytest.TempPathFactory) -> ort.InferenceSession:
    return decoder_of("three", tmp_path_factory.mktemp("masks"))


@pytest.fixture(scope="module")
def all_four(litemedsam: Any, tmp_path_factory: pytest.TempPathFactory) -> ort.InferenceSession:
    return decoder_of("all", tmp_path_factory.mktemp("masks"))


@pytest.fixture(scope="module")
def predict(official_sam: Any, embedding: np.ndarray) -> Callable[[Asked, tuple[int, int]], dict[str, np.ndarray]]:
    """The official predictor with `multimask_output=True`."""
    return lambda asked, size: official_answers(official_sam, embedding, asked, size, multimask=True)


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("count", [1, 16])
@pytest.mark.parametrize("kind", KINDS)
def test_three_masks_are_those_of_the_official_predictor(
    kind: str, count: int, with_mask: bool, three: Any, predict: Any, embedding: np.ndarray
) -> None:
    asked = ask(kind, count, with_mask, seed=count)
    theirs = predict(asked, (101, 122))
    assert theirs["masks"].shape == (count, 3, 101, 122)
    assert_same(dict(zip(NAMES, three.run(NAMES, asked.feed(embedding, (101, 122))), strict=True)), theirs)


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_all_four_masks_are_those_of_the_official_export(
    kind: str, with_mask: bool, all_four: Any, official_sam: Any, embedding: np.ndarray
) -> None:
    from segment_anything.utils.onnx import SamOnnxModel

    feed = ask(kind, with_mask=with_mask).feed(embedding, (122, 61))
    model = SamOnnxModel(official_sam, return_single_mask=False).eval()
    official = model(**{name: torch.from_numpy(value) for name, value in feed.items()})
    theirs = {name: value.numpy() for name, value in zip(NAMES, official, strict=True)}
    assert theirs["masks"].shape == (1, 4, 122, 61)
    assert_same(dict(zip(NAMES, all_four.run(NAMES, feed), strict=True)), theirs)


def test_a_client_that_picks_the_best_of_four_by_score_runs_unchanged(all_four: Any, embedding: np.ndarray) -> None:
    """As segment-anything's notebook does with a model exported without `--return-single-mask`."""
    masks, scores, low_res = all_four.run(None, ask("point").feed(embedding, (101, 122)))
    assert (masks.shape, scores.shape, low_res.shape) == ((1, 4, 101, 122), (1, 4), (1, 4, 256, 256))
    best = masks[:, scores[0].argmax()][:, None] > 0.0
    assert best.shape == (1, 1, 101, 122)
    assert best.dtype == bool
