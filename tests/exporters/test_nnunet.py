"""A trained nnU-Net model is read without running anything in it, and computes what its own class computes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch

from exporters.manifest import ExportError, load_manifest
from exporters.unet import LoadedUNet, load_unet
from exporters.unet_config import NnUNet, UNetConfig

pytest.importorskip("nnunetv2", reason="nnU-Net is not installed")

from tests.exporters.nnunet_folder import (
    DATASET,
    configuration,
    plain_network,
    plans,
    write_fold,
    write_nnunet,
)


@pytest.fixture(scope="module", params=[2, 3])
def dims(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def model(dims: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nnunet(tmp_path_factory.mktemp("nnunet"), dims)


@pytest.fixture(scope="module")
def loaded(model: Path) -> LoadedUNet:
    return load_unet(model)


@pytest.fixture(scope="module")
def artifact(loaded: LoadedUNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    loaded.export(folder := tmp_path_factory.mktemp("nnunet") / "artifact")
    return folder


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A 2-D model that a test may damage."""
    return write_nnunet(tmp_path, 2)


def change(path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_export_computes_what_nnunets_own_class_computes(batch: int, dims: int, artifact: Path) -> None:
    network = plain_network(dims).eval()
    network.decoder.deep_supervision = False  # as nnUNetPredictor wants it
    shape = plans(dims)["configurations"][configuration(dims)]["patch_size"]
    image = np.random.default_rng(batch).standard_normal((batch, 1, *shape), dtype=np.float32)
    session = ort.InferenceSession(str(artifact / "unet.onnx"), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = network(torch.from_numpy(image)).numpy()
    assert expected.shape == (batch, 3, *shape)
    np.testing.assert_allclose(session.run(["logits"], {"image": image})[0], expected, atol=1e-4)


def test_windows_and_preprocessing_are_nnunets(loaded: LoadedUNet, dims: int) -> None:
    config = loaded.config
    assert config.name == f"nnunet-{dims}d"
    assert (config.in_channels, config.labels) == (1, {1: "liver", 2: "spleen"})
    windows = config.windows
    assert windows.patch == ((16, 24) if dims == 2 else (8, 16, 16))
    assert (windows.overlap, windows.blending, windows.sigma, windows.steps) == (0.5, "gaussian", 0.125, "even")
    assert windows.mirror_axes == tuple(range(dims))
    assert config.preprocessing == NnUNet(plans=plans(dims), configuration=configuration(dims), dataset=DATASET)


def test_the_manifest_says_which_fold_it_was_and_carries_the_plans(artifact: Path, loaded: LoadedUNet) -> None:
    manifest = load_manifest(artifact)
    assert UNetConfig.model_validate(manifest.settings) == loaded.config
    name = configuration(loaded.config.spatial_dims)
    assert manifest.weights.file == f"nnUNetTrainer__nnUNetPlans__{name}/fold_0/checkpoint_final.pth"


def test_other_plans_are_other_weights(own: Path) -> None:
    """An export of the same checkpoint is not reused when the plans have changed."""
    before = load_unet(own).weights.key
    change(own / "plans.json", lambda content: content.update(plans_name="others"))
    assert load_unet(own).weights.key != before


def test_the_only_fold_is_taken_and_one_of_several_must_be_named(tmp_path: Path) -> None:
    folder = write_nnunet(tmp_path, 2, "fold_3")
    assert "/fold_3/" in str(load_unet(folder).weights.file)
    write_fold(folder, "fold_1", 2, plain_network(2))
    with pytest.raises(ExportError, match=r"has fold_1, fold_3; give the checkpoint_final\.pth of one of them"):
        load_unet(folder)
    assert "/fold_1/" in str(load_unet(folder / "fold_1" / "checkpoint_final.pth").weights.file)
    write_fold(folder, "fold_all", 2, plain_network(2))
    assert "/fold_all/" in str(load_unet(folder).weights.file)
    write_fold(folder, "fold_0", 2, plain_network(2))
    assert "/fold_0/" in str(load_unet(folder).weights.file)


def test_without_init_args_the_folders_name_tells_the_configuration(own: Path) -> None:
    path = own / "fold_0" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)
    del content["init_args"]
    torch.save(content, path)
    preprocessing = load_unet(own).config.preprocessing
    assert isinstance(preprocessing, NnUNet)
    assert preprocessing.configuration == "2d"


def test_a_missing_package_is_told_with_what_to_install(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "nnunetv2"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nnunetv2", None)
    with pytest.raises(ExportError, match=r'run pip install "sambench\[nnunet\]"'):
        load_unet(own)


# Hostile plans: nnU-Net imports what they name.


@pytest.mark.parametrize("field", ["network_class_name", "conv_op", "nonlin"])
@pytest.mark.parametrize(
    "name", ["evil", "os.system", "torch.nn.modules.conv.os.system", "torch.nn.functional.relu", "torch.nn.init", 3]
)
def test_a_class_that_is_not_nnunets_is_not_imported(
    field: str, name: Any, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('executed')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    def edit(content: dict[str, Any]) -> None:
        architecture = content["configurations"]["2d"]["architecture"]
        (architecture if field in architecture else architecture["arch_kwargs"])[field] = name

    change(own / "plans.json", edit)
    with pytest.raises(ExportError, match=rf"plans\.json: .*{field} is "):
        load_unet(own)


class Malicious:
    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.sentinel,))


def test_a_checkpoint_with_code_is_refused_and_the_code_is_not_executed(own: Path, tmp_path: Path) -> None:
    path = own / "fold_0" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)
    torch.save({**content, "logging": Malicious(tmp_path / "executed")}, path)
    with pytest.raises(ExportError, match=r"checkpoint_final\.pth: refused"):
        load_unet(own)
    assert not (tmp_path / "executed").exists()


# Damaged and unsupported models.


@pytest.mark.parametrize(
    ("file", "edit", "told"),
    [
        ("dataset.json", lambda c: c.update(labels={"background": 0, "organ": [1, 2], "tumour": 2}), "holds regions"),
        ("dataset.json", lambda c: c.update(labels={"background": 0, "liver": 2}), r"has the values \[0, 2\]"),
        ("dataset.json", lambda c: c.update(labels={"background": 0, "liver": "one"}), "labels.liver is 'one'"),
        ("dataset.json", lambda c: c.pop("labels"), "labels is no object"),
        ("dataset.json", lambda c: c.pop("channel_names"), "channel_names is missing"),
        ("plans.json", lambda c: c.pop("configurations"), "nnU-Net cannot build"),
        ("plans.json", lambda c: c["configurations"].pop("2d"), "nnU-Net cannot build its network .*2d not found"),
        ("plans.json", lambda c: c["configurations"]["2d"].update(previous_stage="3d_lowres"), "a stage of a cascade"),
        ("plans.json", lambda c: c["configurations"]["2d"].update(patch_size=[15, 24]), "does not take windows of"),
        ("plans.json", lambda c: c["configurations"]["2d"].update(patch_size="large"), "the patch of 2d"),
        ("plans.json", lambda c: c["configurations"]["2d"].pop("patch_size"), "the patch of 2d"),
    ],
)
def test_an_unsupported_or_damaged_description_is_refused(
    file: str, edit: Callable[[dict[str, Any]], Any], told: str, own: Path
) -> None:
    change(own / file, edit)
    with pytest.raises(ExportError, match=told):
        load_unet(own)


def test_an_ignored_label_has_no_channel(own: Path) -> None:
    """nnU-Net: what carries it is left out of the loss."""
    change(own / "dataset.json", lambda content: content["labels"].update(ignore=3))
    assert load_unet(own).config.labels == {1: "liver", 2: "spleen"}


def test_the_first_stage_of_a_cascade_is_refused(own: Path) -> None:
    path = own / "fold_0" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)
    content["init_args"]["configuration"] = "3d_lowres"
    torch.save(content, path)
    with pytest.raises(ExportError, match="3d_lowres is the first stage of a cascade"):
        load_unet(own)


@pytest.mark.parametrize("file", ["plans.json", "dataset.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", "\udce4"])
def test_a_damaged_file_is_named(file: str, content: str, own: Path) -> None:
    (own / file).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ExportError, match=rf"{file}: (cannot be read|holds no named fields)"):
        load_unet(own)


def test_a_missing_file_is_named(own: Path) -> None:
    (own / "dataset.json").unlink()
    with pytest.raises(ExportError, match=r"dataset\.json: cannot be read \(FileNotFoundError\)"):
        load_unet(own)
    (own / "fold_0" / "checkpoint_final.pth").unlink()
    with pytest.raises(ExportError, match=r"has no fold_\*/checkpoint_final\.pth"):
        load_unet(own)


def test_a_checkpoint_of_other_labels_is_refused(own: Path) -> None:
    change(own / "dataset.json", lambda content: content["labels"].update(kidney=3))
    with pytest.raises(ExportError, match=r"checkpoint_final\.pth: the weights are of another model"):
        load_unet(own)


def test_weights_of_nothing_are_refused(own: Path) -> None:
    torch.save({"model": {}}, own / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(ExportError, match="holds no network_weights"):
        load_unet(own)
