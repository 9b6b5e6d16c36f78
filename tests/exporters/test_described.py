"""A MONAI network given by its name, its arguments and a state dict computes what MONAI's own class computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
import yaml
from monai.networks import nets

from exporters.described import describe
from exporters.manifest import ExportError, load_manifest
from exporters.unet import load_unet
from exporters.unet_config import UNetConfig
from exporters.unet_networks import NETWORKS
from tests.exporters.monai_networks import ARGUMENTS, network_of, patch_of

# Other files export the same networks.
pytestmark = pytest.mark.usefixtures("traced_once")


def fields(name: str = "UNet", dims: int = 2, **changes: Any) -> dict[str, Any]:
    given = {
        "network": name,
        "arguments": ARGUMENTS[name],
        "patch": list(patch_of(name, dims)),
        "labels": {1: "liver", 4: "spleen"},
        "weights": "state_dict.pt",
        **changes,
    }
    return {key: value for key, value in given.items() if value is not None}


def write(folder: Path, description: dict[str, Any], state: Any) -> Path:
    torch.save(state, folder / "state_dict.pt")
    path = folder / "network.yaml"
    path.write_text(yaml.safe_dump(description), encoding="utf-8")
    return path


def test_every_network_is_tested() -> None:
    assert set(ARGUMENTS) == set(NETWORKS)


QUICK = (("UNet", 2), ("UNet", 3), ("DynUNet", 2))


@pytest.mark.parametrize(
    ("name", "dims"),
    [
        pytest.param(name, dims, marks=[] if (name, dims) in QUICK else pytest.mark.slow)
        for name in NETWORKS
        for dims in (2, 3)
    ],
)
def test_the_export_computes_what_monais_class_computes_for_any_batch(name: str, dims: int, tmp_path: Path) -> None:
    network = network_of(name, dims)
    load_unet(write(tmp_path, fields(name, dims), network.state_dict())).export(tmp_path / "artifact")
    session = ort.InferenceSession(str(tmp_path / "artifact/unet.onnx"), providers=["CPUExecutionProvider"])
    for batch in (1, 2, 5):
        image = np.random.default_rng(batch).standard_normal((batch, 1, *patch_of(name, dims)), dtype=np.float32)
        with torch.inference_mode():
            expected = network(torch.from_numpy(image)).numpy()
        assert expected.shape == (batch, 3, *patch_of(name, dims))
        np.testing.assert_allclose(session.run(["logits"], {"image": image})[0], expected, atol=1e-4)


def test_the_description_travels_in_the_manifest(tmp_path: Path) -> None:
    description = fields(
        "SegResNet", 3, overlap=0.5, blending="gaussian", mirror_axes=[0, 2], spacing=[1.5, 1.5, 2], in_channels=1
    )
    path = write(tmp_path, description, network_of("SegResNet", 3).state_dict())
    manifest = load_unet(path).export(tmp_path / "artifact")
    config = UNetConfig.model_validate(load_manifest(tmp_path / "artifact").settings)
    assert manifest.model == config.name == "segresnet-3d"
    assert config.labels == {1: "liver", 4: "spleen"}
    windows = config.windows
    assert (windows.patch, windows.overlap, windows.blending) == (patch_of("SegResNet", 3), 0.5, "gaussian")
    assert windows.mirror_axes == (0, 2)
    assert config.preprocessing.model_dump() == {"kind": "volumes", "spacing": (1.5, 1.5, 2.0)}


def test_names_alone_are_labels_one_two_and_so_on() -> None:
    assert describe(fields(labels=["liver", "spleen"], weights=None), "here").labels == {1: "liver", 2: "spleen"}


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "net", None])
@pytest.mark.parametrize("prefix", ["module.", "network.", "_orig_mod.module.", "net.", ""])
def test_what_training_scripts_wrap_around_a_state_dict_is_taken_off(
    wrapper: str | None, prefix: str, tmp_path: Path
) -> None:
    state: Any = {f"{prefix}{name}": value for name, value in network_of("UNet", 2).state_dict().items()}
    path = write(tmp_path, fields(), {wrapper: state, "epoch": 3} if wrapper else state)
    got = load_unet(path).unet.module.network.state_dict()
    expected = network_of("UNet", 2).state_dict()
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_the_same_weights_in_another_network_are_another_key(tmp_path: Path) -> None:
    """An export is not reused for a network with another activation, which the state dict does not show."""
    state = network_of("UNet", 2).state_dict()
    keys = [
        load_unet(write(tmp_path, fields(arguments={**ARGUMENTS["UNet"], "dropout": rate}), state)).weights.key
        for rate in (0.0, 0.5)
    ]
    assert keys[0] != keys[1]


def test_a_state_dict_needs_a_description(tmp_path: Path) -> None:
    write(tmp_path, fields(), network_of("UNet", 2).state_dict())
    path = tmp_path / "state_dict.pt"
    with pytest.raises(ExportError, match="say what network it is of with --network, --patch and --labels"):
        load_unet(path)
    config = describe(fields(weights=None), "the options")
    assert load_unet(path, config).config == config
    # However it is described, it is the same network.
    assert load_unet(path, config).weights == load_unet(tmp_path / "network.yaml").weights


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"network": "VNet"}, "network 'VNet' is not known; choose from UNet, BasicUNet, DynUNet"),
        ({"network": "os.system"}, "network 'os.system' is not known"),
        ({"network": None}, "network: Field required"),
        ({"arguments": {"out_channels": 3}}, "arguments: out_channels follows from patch, in_channels and labels"),
        ({"arguments": {**ARGUMENTS["UNet"], "surprise": 1}}, "cannot be built of its arguments: .*surprise"),
        ({"arguments": {}}, "cannot be built of its arguments"),
        ({"arguments": [1]}, "arguments: Input should be a valid dictionary"),
        ({"patch": [16]}, "patch"),
        ({"patch": [15, 16]}, r"patch \(15, 16\) is not a multiple of 4"),
        ({"patch": None}, "patch: Field required"),
        ({"patch": [0, 16]}, r"patch\.0: Input should be greater than 0"),
        ({"in_channels": 2}, "the weights are of another model: size mismatch"),
        ({"labels": {1: "liver"}}, "the weights are of another model: size mismatch"),
        ({"labels": {"one": "liver"}}, "labels"),
        ({"overlap": 1}, "overlap: Input should be less than 1"),
        ({"blending": "median"}, "blending: Input should be 'constant' or 'gaussian'"),
        ({"mirror_axes": [2]}, "mirror_axes"),
        ({"spacing": [1, 1, 1]}, "spacing: slices keep their own grid"),
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        ({"weights": None}, "weights is None; name the file of the network's state dict"),
        ({"weights": "gone.pt"}, r"gone\.pt: no such checkpoint file"),
    ],
)
def test_what_cannot_be_is_told_with_its_field(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    path = write(tmp_path, fields(**changes), network_of("UNet", 2).state_dict())
    with pytest.raises(ExportError, match=told):
        load_unet(path)


def test_a_patch_that_the_network_cannot_take_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    """SegResNet halves twice here: MONAI says so only by failing somewhere inside."""
    path = write(tmp_path, fields("SegResNet", 2, patch=[15, 16]), network_of("SegResNet", 2).state_dict())
    with pytest.raises(ExportError, match=r"network\.yaml: the network does not take windows of \(15, 16\)"):
        load_unet(path)


def test_a_network_that_answers_in_another_size_is_refused(tmp_path: Path) -> None:
    arguments = {**ARGUMENTS["DynUNet"], "strides": [2, 2, 2]}
    network = nets.DynUNet(spatial_dims=2, in_channels=1, out_channels=3, **arguments)
    path = write(tmp_path, fields("DynUNet", 2, arguments=arguments), network.state_dict())
    with pytest.raises(ExportError, match=r"answers a window of \(16, 24\) with \(2, 3, 8, 12\) instead of logits"):
        load_unet(path)


@pytest.mark.parametrize("content", ["", "[1, 2]", "a: [", "1: 2", "!!python/object/apply:os.system ['true']"])
def test_a_damaged_description_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "network.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ExportError, match=r"network\.yaml: (cannot be read|holds no named fields)"):
        load_unet(path)
