"""UNets in smaller types: what is reduced, what stays, and that the logits are still those of the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto

from exporters.described import describe
from exporters.manifest import ExportError, Manifest, WindowLadder, load_manifest
from exporters.precision import PRECISIONS
from exporters.unet import LoadedUNet, load_unet
from exporters.window_parity import WindowSample
from runners.onnx_precision import file_precision
from tests.exporters.monai_networks import ARGUMENTS, network_of, patch_of

pytestmark = pytest.mark.usefixtures("traced_once")

CASES = [("UNet", 2), ("UNet", 3), ("SegResNet", 2), ("AttentionUnet", 3), ("BasicUNet", 2)]
SMALLER = [name for name in PRECISIONS if name != "fp32"]
LARGEST_ERROR = {"fp16": 0.01, "int8": 0.15, "int8-static": 0.15}
"""Of the logits' norm."""


def loaded(folder: Path, name: str, dims: int) -> LoadedUNet:
    torch.save(network_of(name, dims).state_dict(), folder / "state.pt")
    fields = {"network": name, "arguments": ARGUMENTS[name], "patch": patch_of(name, dims), "labels": ["a", "b"]}
    return load_unet(folder / "state.pt", describe(fields, "here"))


def windows(name: str, dims: int, count: int = 3, seed: int = 1) -> WindowSample:
    image = np.random.default_rng(seed).random((count, 1, *patch_of(name, dims)), dtype=np.float32)
    return WindowSample("noise", image)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}d")
def network(request: pytest.FixtureRequest) -> tuple[str, int]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def artifacts(network: tuple[str, int], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("precisions")
    unet = loaded(folder, *network)
    for precision in SMALLER:
        unet.export(folder / precision, precision, [windows(*network)])
    return {precision: folder / precision for precision in SMALLER}


@pytest.mark.parametrize("precision", SMALLER)
def test_the_logits_stay_close_for_any_batch(
    precision: str, network: tuple[str, int], artifacts: dict[str, Path]
) -> None:
    session = ort.InferenceSession(str(artifacts[precision] / "unet.onnx"), providers=["CPUExecutionProvider"])
    for batch in (1, 2, 5):
        image = windows(*network, count=batch, seed=batch).image
        with torch.inference_mode():
            expected = network_of(*network)(torch.from_numpy(image)).numpy()
        got = session.run(["logits"], {"image": image})[0]
        assert got.dtype == np.float32
        error = np.linalg.norm(got - expected) / np.linalg.norm(expected)
        assert 0 < error < LARGEST_ERROR[precision]


@pytest.mark.parametrize("precision", SMALLER)
def test_the_manifest_has_the_precision_that_the_file_has(precision: str, artifacts: dict[str, Path]) -> None:
    manifest = load_manifest(artifacts[precision])
    assert manifest.precision == manifest.files["unet"].precision == precision
    assert file_precision(artifacts[precision] / "unet.onnx") == precision
    assert isinstance(manifest.parity, WindowLadder)
    assert manifest.gate == manifest.parity.gate
    assert manifest.files["unet"].tolerance is None


def test_in_fp16_sums_stay_in_fp32_and_everything_else_does_not(artifacts: dict[str, Path]) -> None:
    model = onnx.shape_inference.infer_shapes(onnx.load(str(artifacts["fp16"] / "unet.onnx")), strict_mode=True)
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    kept = {"InstanceNormalization", "GroupNormalization", "ReduceMean", "Softmax"}
    half = {"Conv", "ConvTranspose", "PRelu", "LeakyRelu", "Relu", "Sigmoid", "MaxPool", "Resize"}
    seen = set()
    for node in model.graph.node:
        for output in node.output:
            if node.op_type in kept and output in types:
                assert types[output] == TensorProto.FLOAT, node.name
            if node.op_type in half and output in types:
                assert types[output] == TensorProto.FLOAT16, node.name
                seen.add(node.op_type)
    assert "Conv" in seen


@pytest.mark.parametrize(("precision", "operator"), [("int8", "ConvInteger"), ("int8-static", "QuantizeLinear")])
def test_every_convolution_is_quantised(precision: str, operator: str, artifacts: dict[str, Path]) -> None:
    model = onnx.load(str(artifacts[precision] / "unet.onnx"))
    assert operator in {node.op_type for node in model.graph.node}
    weights = {item.name: item for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv":  # with int8-static, between operators that quantise; its weights are then int8
            assert node.input[1] not in weights, f"{node.name} has weights in fp32"


def test_ranges_need_windows_to_come_from(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="int8-static: needs slices to calibrate with; give a task with --data"):
        loaded(tmp_path, "UNet", 2).export(tmp_path / "artifact", "int8-static")
    with pytest.raises(ExportError, match="precision 'fp8' is not known; choose from fp32, fp16"):
        loaded(tmp_path, "UNet", 2).export(tmp_path / "artifact", "fp8")
    assert not (tmp_path / "artifact").exists()


def test_a_ruined_precision_fails_the_gate_and_is_written_with_the_reason(tmp_path: Path) -> None:
    """Ranges that have nothing to do with the windows: what goes beyond them is cut off."""
    unet, sample = loaded(tmp_path, "UNet", 2), windows("UNet", 2)
    manifest: Manifest = unet.export(tmp_path / "good", "fp32", [sample])
    assert (manifest.gate, manifest.gate_reason) == ("pass", None)
    dark, bright = WindowSample("dark", sample.image * 1e-3), WindowSample("bright", sample.image)

    from exporters import unet as module
    from exporters.precision import unet_reduction

    reduction = unet_reduction("int8-static", dark.feeds())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "unet_reduction", lambda precision, feeds: reduction)
        manifest = unet.export(tmp_path / "bad", "int8-static", [bright])
    assert manifest.gate == "fail"
    assert manifest.gate_reason is not None
    assert manifest.gate_reason.startswith("its masks overlap pytorch's with Dice 0.")
    assert load_manifest(tmp_path / "bad").gate == "fail"
