"""A MONAI bundle is read without running anything in it, and computes what MONAI builds of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
import yaml
from monai.bundle.config_parser import ConfigParser

from exporters.bundle_config import BundleConfig
from exporters.manifest import ExportError, load_manifest
from exporters.unet import load_unet
from exporters.unet_config import Transforms, UNetConfig

Edit = Callable[[dict[str, Any]], Any]


def inference(dims: int = 3) -> dict[str, Any]:
    """As the bundles of MONAI's model zoo are written: expressions around the parts that matter here, references in."""
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cpu')",
        "image_key": "image",
        "pixdim": [1.5, 1.5, 2.0],
        "patch": [16] * dims,
        "network_def": {
            "_target_": "UNet",
            "spatial_dims": dims,
            "in_channels": 1,
            "out_channels": 3,
            "channels": [4, 8, 8],
            "strides": [2, 2],
            "num_res_units": 1,
            "norm": "batch",
        },
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "@image_key"},
                {"_target_": "EnsureChannelFirstd", "keys": "@image_key"},
                {"_target_": "Orientationd", "keys": "@image_key", "axcodes": "RAS"},
                {
                    "_target_": "monai.transforms.Spacingd",
                    "keys": "@image_key",
                    "pixdim": "@pixdim",
                    "mode": "bilinear",
                },
                {"_target_": "ScaleIntensityd", "keys": "image", "_disabled_": True},
                {
                    "_target_": "ScaleIntensityRanged",
                    "keys": "image",
                    "a_min": -57,
                    "a_max": 164,
                    "b_min": 0,
                    "b_max": 1,
                },
                {"_target_": "EnsureTyped", "keys": "image", "device": "@device"},
            ],
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": "@patch",
            "sw_batch_size": 4,
            "overlap": 0.5,
            "mode": "gaussian",
            "sigma_scale": 0.25,
            "device": "@device",
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            ],
        },
        "evaluator": {"_target_": "SupervisedEvaluator", "network": "@network"},
    }


METADATA = {
    "network_data_format": {"outputs": {"pred": {"channel_def": {"0": "background", "1": "liver", "2": "spleen"}}}}
}


def write_bundle(folder: Path, dims: int = 3, edit: Edit = lambda config: None) -> Path:
    for part in ("configs", "models"):
        (folder / part).mkdir(parents=True)
    (folder / "configs/metadata.json").write_text(json.dumps(METADATA), encoding="utf-8")
    torch.manual_seed(0)
    torch.save(by_monai(inference(dims)).state_dict(), folder / "models/model.pt")
    config = inference(dims)
    edit(config)
    (folder / "configs/inference.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def by_monai(config: dict[str, Any]) -> torch.nn.Module:
    network: torch.nn.Module = ConfigParser(config).get_parsed_content("network_def")
    return network


@pytest.fixture(scope="module", params=[2, 3])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "organs", request.param)


@pytest.fixture(scope="module")
def artifact(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    load_unet(bundle).export(folder := tmp_path_factory.mktemp("bundle") / "artifact")
    return folder


def refused(tmp_path: Path, edit: Edit) -> str:
    with pytest.raises(ExportError) as caught:
        load_unet(write_bundle(tmp_path / "bundle", edit=edit))
    return str(caught.value)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_export_computes_what_monai_builds_of_the_bundle(batch: int, bundle: Path, artifact: Path) -> None:
    network = by_monai(json.loads((bundle / "configs/inference.json").read_text(encoding="utf-8"))).eval()
    network.load_state_dict(torch.load(bundle / "models/model.pt", weights_only=True))
    shape = load_unet(bundle).config.windows.patch
    image = np.random.default_rng(batch).standard_normal((batch, 1, *shape), dtype=np.float32)
    session = ort.InferenceSession(str(artifact / "unet.onnx"), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = network(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(session.run(["logits"], {"image": image})[0], expected, atol=1e-4)


def test_the_windows_are_those_of_the_bundles_inferer(tmp_path: Path) -> None:
    ours = load_unet(write_bundle(tmp_path / "bundle")).config.windows
    theirs = ConfigParser(inference()).get_parsed_content("inferer")
    assert list(ours.patch) == theirs.roi_size
    assert (ours.overlap, ours.blending, ours.sigma) == (theirs.overlap, theirs.mode.value, theirs.sigma_scale)
    assert (ours.steps, ours.mirror_axes) == ("fixed", ())


def test_the_preprocessing_is_what_acts_on_the_image(tmp_path: Path) -> None:
    loaded = load_unet(write_bundle(tmp_path / "bundle"))
    assert isinstance(loaded.config.preprocessing, Transforms)
    assert list(loaded.config.preprocessing.transforms) == [
        {"_target_": "monai.transforms.Orientationd", "keys": "image", "axcodes": "RAS"},
        {"_target_": "monai.transforms.Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 2.0], "mode": "bilinear"},
        {
            "_target_": "monai.transforms.ScaleIntensityRanged",
            "keys": "image",
            "a_min": -57,
            "a_max": 164,
            "b_min": 0,
            "b_max": 1,
        },
    ]


def test_of_a_transform_on_image_and_label_the_images_arguments_are_taken(tmp_path: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        spacing = config["preprocessing"]["transforms"][3]
        spacing.update(keys=["label", "image"], mode=["nearest", "bilinear"], pixdim=[1, 1])
        config["preprocessing"]["transforms"].append({"_target_": "AsDiscreted", "keys": "label"})

    (_, spacing, _) = load_unet(write_bundle(tmp_path / "bundle", edit=edit)).config.preprocessing.transforms  # type: ignore[union-attr]
    assert spacing == {"_target_": "monai.transforms.Spacingd", "keys": "image", "mode": "bilinear", "pixdim": [1, 1]}


def test_labels_and_weights_are_in_the_manifest(bundle: Path, artifact: Path) -> None:
    manifest = load_manifest(artifact)
    assert UNetConfig.model_validate(manifest.settings).labels == {1: "liver", 2: "spleen"}
    assert manifest.weights.file == "organs/models/model.pt"
    assert manifest.weights == load_unet(bundle).weights


def test_the_weights_alone_lead_to_their_bundle(bundle: Path) -> None:
    """`export verify` asks for the file that the manifest names."""
    assert load_unet(bundle / "models" / "model.pt").weights == load_unet(bundle).weights


def test_channels_without_names_are_numbered(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    (folder / "configs/metadata.json").unlink()
    assert load_unet(folder).config.labels == {1: "channel 1", 2: "channel 2"}


def test_yaml_is_read_as_json_is(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    expected = load_unet(folder).config
    (folder / "configs/inference.json").unlink()
    (folder / "configs/inference.yaml").write_text(yaml.safe_dump(inference()), encoding="utf-8")
    assert load_unet(folder).config == expected


def test_references_are_found_as_monai_finds_them(tmp_path: Path) -> None:
    path = tmp_path / "inference.json"
    content = {"a": {"b": [10, {"c": "@a::d"}], "d": "@#e", "e": "@f", "up": {"g": "@##d"}}, "f": [1, 2]}
    path.write_text(json.dumps(content), encoding="utf-8")
    ours, theirs = BundleConfig(path), ConfigParser(content)
    for field in ("a", "a::b::1::c", "a#d", "f", "a::up::g"):
        assert ours.value(field) == theirs.get_parsed_content(field)


# Hostile bundles.


@pytest.mark.parametrize("field", ["network_def", "preprocessing", "inferer", "roi", "channels", "transform", "import"])
def test_no_expression_is_run(field: str, tmp_path: Path) -> None:
    sentinel = tmp_path / "executed"
    code = f"$__import__('pathlib').Path({str(sentinel)!r}).touch()"

    def edit(config: dict[str, Any]) -> None:
        places: dict[str, tuple[Any, Any]] = {
            "roi": (config["inferer"], "roi_size"),
            "channels": (config["network_def"], "channels"),
            "transform": (config["preprocessing"]["transforms"][2], "axcodes"),
            "import": (config, "pixdim"),
        }
        place, key = places.get(field, (config, field))
        place[key] = code if field != "import" else "$import os"
        config["imports"].append(code)
        config["initialize"] = [code]

    folder = write_bundle(tmp_path / "bundle", edit=edit)
    with pytest.raises(ExportError, match=r"inference\.json: "):
        load_unet(folder)
    assert not sentinel.exists()
    # The sentinel works: MONAI runs it.
    ConfigParser({"item": code}).get_parsed_content("item")
    assert sentinel.exists()


def test_an_expression_is_told_with_its_field_and_what_to_write(tmp_path: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["pixdim"] = "$[1.5, 1.5, 2.0] if True else [3, 3, 3]"

    assert refused(tmp_path, edit).endswith(
        "configs/inference.json: pixdim is '$[1.5, 1.5, 2.0] if True else [3, 3, 3]', which MONAI would run; sambench "
        "runs nothing of a bundle, so write the value itself there"
    )


def test_other_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"key": [1, 2]}', encoding="utf-8")
    macro = f"%{tmp_path / 'secret.json'}::key"
    assert "pixdim is '%" in refused(tmp_path, lambda config: config.update(pixdim=macro))


@pytest.mark.parametrize(
    "target", ["os.system", "torch.nn.Linear", "subprocess.run", "monai.networks.blocks.Warp", "Discriminator"]
)
def test_only_networks_of_monai_are_built(target: str, tmp_path: Path) -> None:
    told = refused(tmp_path, lambda config: config["network_def"].update(_target_=target))
    assert f"network_def is {target!r}; only networks of monai.networks.nets" in told


@pytest.mark.parametrize("target", ["SaveImaged", "Lambdad", "monai.transforms.TorchVisiond", "RandFlipd"])
def test_only_transforms_that_prepare_an_image_are_taken(target: str, tmp_path: Path) -> None:
    told = refused(tmp_path, lambda config: config["preprocessing"]["transforms"][2].update(_target_=target))
    assert f"{target.rpartition('.')[2]} is not among AdjustContrastd, " in told


def test_a_transform_of_somebody_elses_is_refused(tmp_path: Path) -> None:
    told = refused(tmp_path, lambda config: config["preprocessing"]["transforms"][2].update(_target_="scripts.Mine"))
    assert "preprocessing::transforms::2 is 'scripts.Mine'; only transforms of monai.transforms" in told


def test_weights_are_not_downloaded(tmp_path: Path) -> None:
    told = refused(tmp_path, lambda config: config["network_def"].update(_target_="FlexibleUNet", pretrained=True))
    assert "pretrained is set, which would download weights" in told


# What cannot be served.


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda c: c["postprocessing"]["transforms"][0].update(softmax=False, sigmoid=True), "channels overlap"),
        (lambda c: c["postprocessing"]["transforms"][1].update(threshold=0.5), "channels overlap"),
        (lambda c: c["inferer"].update(_target_="SimpleInferer"), "write a SlidingWindowInferer with its roi_size"),
        (lambda c: c.pop("inferer"), "inferer is None; write a SlidingWindowInferer"),
        (lambda c: c["inferer"].update(roi_size=[-1, 16, 16]), "roi_size is [-1, 16, 16]; write 3 positive sizes"),
        (lambda c: c["inferer"].update(roi_size=[16, 16]), "write 3 positive sizes"),
        (lambda c: c["inferer"].update(padding_mode="replicate"), "pads with 'replicate'; sambench pads with 0"),
        (lambda c: c["inferer"].update(overlap=[0.5, 0.25, 0.5]), "overlap is [0.5, 0.25, 0.5]; sambench takes one"),
        (lambda c: c["inferer"].update(overlap=1.5), "overlap: Input should be less than 1"),
        (lambda c: c["inferer"].update(mode="median"), "blending: Input should be 'constant' or 'gaussian'"),
        (lambda c: c["inferer"].update(roi_size=15), "patch (15, 15, 15) is not a multiple of 4"),
        (lambda c: c["network_def"].pop("in_channels"), "network_def::in_channels is None; write a whole number"),
        (lambda c: c["network_def"].update(surprise=1), "cannot be built of its arguments"),
        (lambda c: c["network_def"].update(out_channels=4), "the weights are of another model"),
        (lambda c: c.pop("network_def"), "network_def is no component"),
        (lambda c: c.pop("preprocessing"), "preprocessing has no list of transforms"),
        (lambda c: c["preprocessing"]["transforms"][2].update(keys="ct"), "keys is 'ct'; sambench has an `image`"),
        (lambda c: c.update(pixdim="@pixdim"), "pixdim refers to pixdim, which leads back to itself"),
        (lambda c: c.update(pixdim="@gone"), "pixdim refers to gone, which is not there"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_is_told_with_its_field(edit: Edit, told: str, tmp_path: Path) -> None:
    assert told in refused(tmp_path, edit)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": '])
def test_a_damaged_configuration_is_refused(content: str, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    (folder / "configs/inference.json").write_text(content, encoding="utf-8")
    with pytest.raises(ExportError, match=r"inference\.json: (cannot be read|holds no named fields)"):
        load_unet(folder)


def test_missing_files_are_told(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    (folder / "models/model.pt").unlink()
    with pytest.raises(ExportError, match=r"models/model\.pt: no such checkpoint file"):
        load_unet(folder)
    (folder / "configs/inference.json").unlink()
    with pytest.raises(ExportError, match=r"is a bundle without configs/inference\.json"):
        load_unet(folder)
    with pytest.raises(ExportError, match="neither a MONAI bundle"):
        load_unet(tmp_path)
