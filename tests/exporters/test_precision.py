"""fp16 and int8: which parts become what, where the ranges come from, and that no fp32 weights are left behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import nn

from exporters import graph, precision
from exporters.base import ExportOptions, export_artifact
from exporters.exportable import Exportable
from exporters.manifest import MANIFEST_FILE, ExportError, TensorSpec, Weights, load_manifest
from exporters.parity import Answer, Sample
from exporters.precision import DECODER_STAYS, PRECISIONS, PRODUCTS, sam_reduction, to_int8, to_int8_static

pytestmark = pytest.mark.usefixtures("traced_once")

QUANTISED = {"MatMulInteger", "DynamicQuantizeMatMul"}


class Products(nn.Module):
    """Two matrix products in a scope of a SAM, so that every precision has something to do."""

    def __init__(self) -> None:
        super().__init__()
        self.image_encoder = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 32))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.image_encoder(image)


def part(name: str) -> Exportable:
    torch.manual_seed(0)
    return Exportable(
        name=name,
        module=Products().eval(),
        inputs=(TensorSpec(name="image", dims=("B", 64)),),
        outputs=(TensorSpec(name="answer", dims=("B", 32)),),
        feeds=lambda: [{"image": feed(batch)} for batch in (3, 1)],
        tolerance={"answer": 1e-4},
    )


def feed(batch: int, scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(batch).standard_normal((batch, 64), dtype=np.float32)


def answers(scale: float = 1.0) -> list[Answer]:
    """Calibration slices, of which only the images are looked at."""
    images = [feed(batch, scale) for batch in (4, 5)]
    return [Answer(Sample("", image, (8, 8), {}), np.zeros(0, np.float32), {}, {}) for image in images]


def reduced(name: str, folder: Path, *parts: str, of: list[Answer] | None = None) -> Path:
    options = ExportOptions(reduction=sam_reduction(name, of or []))
    exportables = [part(each) for each in parts or ("encoder",)]
    export_artifact(folder, "model", Weights(source="random", seed=0), exportables, {}, options)
    return folder


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reduced("fp32", tmp_path_factory.mktemp("full") / "artifact") / "encoder.onnx"


@pytest.fixture
def source(full: Path, tmp_path: Path) -> Path:
    """A copy, because the quantiser's preparation changes its source."""
    return Path(shutil.copy(full, tmp_path / "source.onnx"))


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(str(path), load_external_data=False).graph.node]


def run(path: Path, image: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    answer: np.ndarray = session.run(["answer"], {"image": image})[0]
    return answer


def relative_error(path: Path, image: np.ndarray) -> float:
    with torch.inference_mode():
        expected = part("encoder").module(torch.from_numpy(image)).numpy()
    return float(np.linalg.norm(run(path, image) - expected) / np.linalg.norm(expected))


# What is refused.


@pytest.mark.parametrize("name", ["fp8", "", "FP16", "int8_static"])
def test_an_unknown_precision_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ExportError, match=f"precision {name!r} is not known; choose from {', '.join(PRECISIONS)}"):
        sam_reduction(name, answers())


def test_ranges_need_slices_to_come_from() -> None:
    with pytest.raises(ExportError, match="int8-static: needs slices to calibrate with; give a task with --data"):
        sam_reduction("int8-static", [])


def test_fp32_needs_no_reduction() -> None:
    assert sam_reduction("fp32", []) is None


# int8.


@pytest.mark.parametrize(("vnni", "largest"), [(True, 127), (False, 64)])
def test_int8_quantises_every_product_at_run_time(
    vnni: bool, largest: int, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 7 bits where a CPU without VNNI would add two products of 8 bits in 16."""
    adds_8_bits = precision.has_vnni()
    monkeypatch.setattr(precision, "has_vnni", lambda: vnni)
    to_int8(source, tmp_path / "int8.onnx", replace(PRODUCTS, not_after=()))
    found = operators(tmp_path / "int8.onnx")
    assert sum(operator in QUANTISED for operator in found) == 2
    assert not {"MatMul", "Gemm", "QuantizeLinear"} & set(found)
    weights = matrices(tmp_path / "int8.onnx")
    assert {array.dtype for array in weights} == {np.dtype(np.int8)}
    assert sorted(array.size for array in weights) == [32 * 128, 64 * 128]
    assert all(np.abs(array.astype(int)).max() == largest for array in weights)
    size = (tmp_path / "int8.onnx").stat().st_size
    assert size < 0.6 * source.stat().st_size
    if adds_8_bits or not vnni:  # elsewhere a file for VNNI saturates, which is why there are two
        assert 0 < relative_error(tmp_path / "int8.onnx", feed(7)) < 0.05


@pytest.mark.parametrize("how", ["at run time", "beforehand"])
def test_a_product_after_a_gelu_stays_in_fp32(how: str, source: Path, tmp_path: Path) -> None:
    """Its input has a few large values, for whose sake the others would be rounded to few steps."""
    if how == "beforehand":
        to_int8_static(source, tmp_path / "int8.onnx", [{"image": feed(4)}])
    else:
        to_int8(source, tmp_path / "int8.onnx")
    weights = matrices(tmp_path / "int8.onnx")
    assert sorted((str(array.dtype), array.size) for array in weights) == [("float32", 128 * 32), ("int8", 64 * 128)]


def matrices(path: Path) -> list[np.ndarray]:
    arrays = [numpy_helper.to_array(item) for item in onnx.load(str(path)).graph.initializer]
    return [array for array in arrays if array.ndim == 2]


def test_int8_static_takes_its_ranges_from_the_calibration_feeds(full: Path, tmp_path: Path) -> None:
    scales = {}
    for factor in (1.0, 10.0):
        images = [{"image": feed(batch, factor)} for batch in (4, 5)]
        target = tmp_path / f"{factor}.onnx"
        to_int8_static(Path(shutil.copy(full, tmp_path / "source.onnx")), target, images)
        found = operators(target)
        assert found.count("QuantizeLinear") >= 2
        assert not QUANTISED & set(found)
        scales[factor] = scale_of_input(target)
        seen = np.concatenate([image["image"] for image in images])
        # Unsigned activations of 8 bits: 255 steps between the smallest and the largest.
        assert scales[factor] == pytest.approx((seen.max() - seen.min()) / 255, rel=1e-3)
    assert scales[10.0] == pytest.approx(10 * scales[1.0], rel=1e-3)
    assert relative_error(tmp_path / "1.0.onnx", feed(4)) < 0.05
    assert relative_error(tmp_path / "1.0.onnx", feed(4, 10)) > 0.3, "beyond the ranges it was calibrated for"


def scale_of_input(path: Path) -> float:
    model = onnx.load(str(path))
    arrays = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    (node,) = [node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "image"]
    return float(arrays[node.input[1]])


@pytest.mark.parametrize(("name", "operator"), [("int8-static", "QuantizeLinear"), ("int8", "DynamicQuantizeLinear")])
@pytest.mark.parametrize(("vnni", "bits"), [(True, precision.EIGHT_BITS), (False, precision.SEVEN_BITS)])
def test_int8_leaves_the_decoder_in_fp32_and_says_so(
    name: str, operator: str, vnni: bool, bits: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "has_vnni", lambda: vnni)
    folder = reduced(name, tmp_path / "artifact", "encoder", "decoder", of=answers())
    manifest = load_manifest(folder)
    assert manifest.precision == name
    assert manifest.precision_notes == [bits, DECODER_STAYS[name]]
    encoder, decoder = manifest.files["encoder"], manifest.files["decoder"]
    assert (encoder.precision, decoder.precision) == (name, "fp32")
    assert operator in encoder.nodes
    assert operator not in decoder.nodes
    # What is fp32 is held to its tolerance, what is not to the gate.
    assert encoder.tolerance is None
    assert decoder.tolerance == {"answer": 1e-4}
    assert encoder.max_abs_error["answer"] > 10 * decoder.max_abs_error["answer"]
    assert encoder.bytes < 0.6 * decoder.bytes


# Weights beside the graph: a model of more than 2 GB, here of any size.


@pytest.fixture
def everything_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "INLINE_BYTES", 0)
    monkeypatch.setattr(precision, "INLINE_BYTES", 0)


@pytest.fixture
def fp32_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ViT-H: in fp32 it is too large for one file, reduced it is not."""
    monkeypatch.setattr(graph, "INLINE_BYTES", 0)


@pytest.mark.parametrize("name", ["fp16", "int8", "int8-static"])
@pytest.mark.parametrize("sizes", ["everything_beside", "fp32_beside"])
def test_a_large_model_leaves_no_fp32_weights_behind_and_runs_wherever_it_lies(
    name: str, sizes: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    request.getfixturevalue(sizes)
    folder = reduced(name, tmp_path / "artifact", of=answers())
    entry = load_manifest(folder).files["encoder"]
    assert entry.precision == name
    listed = {MANIFEST_FILE, entry.file, *(file.file for file in entry.external)}
    assert {file.name for file in folder.iterdir()} == listed
    total = sum(file.stat().st_size for file in folder.iterdir() if file.name != MANIFEST_FILE)
    assert entry.bytes == total
    in_fp32 = sum(4 * parameter.numel() for parameter in part("encoder").module.parameters())
    assert total < 0.75 * in_fp32
    moved = folder.rename(tmp_path / "moved")
    assert relative_error(moved / "encoder.onnx", feed(4)) < (1e-2 if name == "fp16" else 0.05)


@pytest.mark.usefixtures("everything_beside")
def test_a_part_that_stays_in_fp32_keeps_its_weights_beside_it(tmp_path: Path) -> None:
    folder = reduced("int8-static", tmp_path / "artifact", "encoder", "decoder", of=answers())
    (beside,) = load_manifest(folder).files["decoder"].external
    assert beside.file == "decoder.onnx.data"
    assert relative_error(folder / "decoder.onnx", feed(4)) < 1e-5


def test_fp16_gives_the_network_half_the_bytes(full: Path, tmp_path: Path) -> None:
    folder = reduced("fp16", tmp_path / "artifact")
    kinds = {item.data_type for item in onnx.load(str(folder / "encoder.onnx")).graph.initializer if len(item.dims) > 1}
    assert kinds == {TensorProto.FLOAT16}
    assert load_manifest(folder).files["encoder"].precision == "fp16"
    assert 0 < relative_error(folder / "encoder.onnx", feed(4)) < 1e-2


def test_the_quantisers_advice_is_not_shown_and_logging_is_as_before(
    full: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    import logging

    reduction: Any = sam_reduction("int8", [])
    apply: Callable[..., Any] = reduction.apply
    apply("encoder", Path(shutil.copy(full, tmp_path / "encoder.onnx")))
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == logging.NOTSET


def test_a_process_that_is_spawned_after_a_reduction_finds_our_modules() -> None:
    """ONNX Runtime's quantiser puts a folder on the path in which there is another `benchmark`."""
    code = (
        "import sys; before = list(sys.path); from exporters.precision import onnxruntime_quantization as quantiser; "
        "assert quantiser().quantize_dynamic and 'onnxruntime.transformers' in sys.modules; assert sys.path == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(precision.__file__).parents[1])
