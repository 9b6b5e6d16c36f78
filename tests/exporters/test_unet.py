"""The UNet's checkpoint carries its own configuration, and its export computes the same for any batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from pydantic import ValidationError

from exporters.manifest import ExportError, load_manifest
from exporters.unet import CHECKPOINT_FORMAT, build_unet, load_unet, unet_checkpoint
from exporters.unet_config import SlidingWindow, UNetConfig, monai_unet

CONFIG = monai_unet({1: "liver", 4: "spleen"}, SlidingWindow(patch=(16, 24)), (4, 8, 8), (2, 2), 1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("unet") / "unet.pt"
    torch.save(unet_checkpoint(CONFIG, build_unet(CONFIG)), path)
    return path


@pytest.fixture(scope="module")
def folder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unet") / "artifact"
    load_unet(checkpoint).export(out)
    return out


def changed(checkpoint: Path, path: Path, **fields: Any) -> Path:
    content = {**torch.load(checkpoint, weights_only=True), **fields}
    torch.save({key: value for key, value in content.items() if value is not None}, path)
    return path


def test_a_checkpoint_needs_no_pickled_code_and_says_what_its_channels_mean(checkpoint: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    assert content["format"] == CHECKPOINT_FORMAT
    assert UNetConfig.model_validate(content["config"]) == CONFIG


def test_loading_restores_the_very_weights_in_evaluation_mode(checkpoint: Path) -> None:
    torch.manual_seed(0)
    expected = build_unet(CONFIG).state_dict()
    loaded = load_unet(checkpoint)
    assert loaded.config == CONFIG
    state = loaded.unet.module.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in state)
    assert not any(module.training for module in loaded.unet.module.modules())
    assert not any(parameter.requires_grad for parameter in loaded.unet.module.parameters())


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_exported_logits_equal_pytorchs_for_any_batch(batch: int, folder: Path, checkpoint: Path) -> None:
    image = np.random.default_rng(batch).random((batch, 1, 16, 24), dtype=np.float32)
    session = ort.InferenceSession(str(folder / "unet.onnx"), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = load_unet(checkpoint).unet.module(image=torch.from_numpy(image)).numpy()
    (logits,) = session.run(["logits"], {"image": image})
    assert logits.shape == (batch, 3, 16, 24)  # background and two labels
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_instances_in_a_batch_do_not_see_each_other(folder: Path) -> None:
    """Normalisation over the batch, as in training mode, would let them."""
    images = np.random.default_rng(0).random((4, 1, 16, 24), dtype=np.float32)
    session = ort.InferenceSession(str(folder / "unet.onnx"), providers=["CPUExecutionProvider"])
    together = session.run(["logits"], {"image": images})[0]
    alone = session.run(["logits"], {"image": images[1:2]})[0]
    np.testing.assert_allclose(together[1:2], alone, atol=1e-5)


def test_the_graph_normalises_as_in_evaluation(folder: Path) -> None:
    for node in onnx.load(str(folder / "unet.onnx")).graph.node:
        if node.op_type == "BatchNormalization":
            assert {a.name: a.i for a in node.attribute}.get("training_mode", 0) == 0


def test_the_manifest_carries_the_labels(folder: Path, checkpoint: Path) -> None:
    manifest = load_manifest(folder)
    assert UNetConfig.model_validate(manifest.settings) == CONFIG
    assert manifest.weights == load_unet(checkpoint).weights
    assert manifest.files["unet"].inputs[0].dims == ("B", 1, 16, 24)
    assert manifest.files["unet"].outputs[0].dims == ("B", 3, 16, 24)


@pytest.mark.parametrize(
    "content", [{"weight": torch.ones(1)}, {"format": "nnunet", "config": {}}, [1, 2], torch.ones(2), None]
)
def test_a_checkpoint_of_another_kind_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(ExportError, match=r"other\.pt: no UNet checkpoint of sambench"):
        load_unet(tmp_path / "other.pt")


@pytest.mark.parametrize(
    "config",
    [
        None,
        "text",
        {},
        {**CONFIG.model_dump(mode="json"), "windows": {"patch": [15, 24]}},
        {**CONFIG.model_dump(mode="json"), "labels": {"one": "liver"}},
        {**CONFIG.model_dump(mode="json"), "surprise": 1},
        {**CONFIG.model_dump(mode="json"), "windows": {"patch": [16, 24], "mirror_axes": [2]}},
        {**CONFIG.model_dump(mode="json"), "arguments": {"channels": [], "strides": []}},
    ],
)
def test_a_damaged_configuration_is_refused(config: Any, checkpoint: Path, tmp_path: Path) -> None:
    path = changed(checkpoint, tmp_path / "damaged.pt", config=config)
    with pytest.raises(ExportError, match=r"damaged\.pt: its configuration is damaged"):
        load_unet(path)


def test_weights_that_do_not_fit_the_configuration_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    wider = CONFIG.model_copy(update={"labels": {1: "liver", 2: "spleen", 3: "aorta"}})
    path = changed(checkpoint, tmp_path / "wider.pt", config=wider.model_dump(mode="json"))
    with pytest.raises(ExportError, match=r"wider\.pt: the weights are of another model: size mismatch"):
        load_unet(path)
    path = changed(checkpoint, tmp_path / "empty.pt", state_dict=None)
    with pytest.raises(ExportError, match=r"empty\.pt: holds no state dict"):
        load_unet(path)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"patch": (130, 128)}, "not a multiple of 8"),
        ({"patch": (0, 128)}, "patch"),
        ({"channels": (16,), "strides": ()}, "strides at least one"),
        ({"channels": (16, 32)}, "channels must have one entry more than strides"),
        ({"patch": (128,)}, "patch"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(fields: dict[str, Any], told: str) -> None:
    given = {"patch": (128, 128), **fields}
    with pytest.raises(ValidationError, match=told):
        monai_unet({1: "liver"}, SlidingWindow(patch=given.pop("patch")), **given)
