"""`verify` finds what a hash cannot: a graph that was replaced together with its hash."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from exporters.manifest import (
    MANIFEST_FILE,
    ArtifactChangedError,
    ExportError,
    Ladder,
    Manifest,
    Weights,
    WindowLadder,
    load_manifest,
    sha256_file,
)
from exporters.unet import build_unet, load_unet, unet_checkpoint
from exporters.unet_config import SlidingWindow, monai_unet
from exporters.verify import _must_pass, verify_artifact
from exporters.window_parity import WindowSample

CONFIG = monai_unet({1: "spleen"}, SlidingWindow(patch=(16, 16)), (4, 8), (2,), 1)


def save_unet(path: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    torch.save(unet_checkpoint(CONFIG, build_unet(CONFIG)), path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_unet(tmp_path_factory.mktemp("weights") / "unet.pt", seed=0)


@pytest.fixture(scope="module")
def made(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "artifact"
    load_unet(checkpoint).export(folder)
    return folder


@pytest.fixture
def artifact(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "artifact"))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / MANIFEST_FILE
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def replace_graph(folder: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    """Another graph, and the manifest says that it is the right one."""
    path = folder / "unet.onnx"
    model = onnx.load(str(path))
    change(model)
    onnx.save(model, str(path))
    rewrite(folder, lambda content: content["files"]["unet"].update(sha256=sha256_file(path)))
    load_manifest(folder)  # nothing is wrong with the hashes


def test_an_untouched_artifact_verifies_and_says_how_far_it_is_from_pytorch(made: Path, checkpoint: Path) -> None:
    steps: list[str] = []
    before = {file.name: file.read_bytes() for file in made.iterdir()}
    found = verify_artifact(made, checkpoint, on_step=steps.append)
    assert found.manifest == load_manifest(made)
    assert found.errors.keys() == {"unet"}
    assert 0 <= found.errors["unet"]["logits"] <= 1e-3
    assert found.ladder is None
    assert steps == ["check the hashes", "hold the unet against PyTorch"]
    assert {file.name: file.read_bytes() for file in made.iterdir()} == before


def test_a_changed_byte_is_found_before_pytorch_is_asked(artifact: Path) -> None:
    data = bytearray((artifact / "unet.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (artifact / "unet.onnx").write_bytes(bytes(data))
    with pytest.raises(ArtifactChangedError, match=r"unet\.onnx: missing or changed since it was verified"):
        verify_artifact(artifact)


def slightly_other_weights(model: onnx.ModelProto) -> None:
    """The largest weight a tenth larger: no shape and no name tells."""
    largest = max(
        (item for item in model.graph.initializer if item.data_type == onnx.TensorProto.FLOAT),
        key=lambda item: np.abs(numpy_helper.to_array(item)).max(),
    )
    array = numpy_helper.to_array(largest).copy()
    array.flat[np.abs(array).argmax()] *= 1.1
    largest.CopyFrom(numpy_helper.from_array(array, largest.name))


def other_shape(model: onnx.ModelProto) -> None:
    rename(model.graph, "logits", "inner")
    axes = numpy_helper.from_array(np.array([0], dtype=np.int64), "axes")
    model.graph.initializer.append(axes)
    model.graph.node.append(onnx.helper.make_node("Unsqueeze", ["inner", "axes"], ["logits"]))
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, "B", 2, 16, 16]))


def other_output_name(model: onnx.ModelProto) -> None:
    rename(model.graph, "logits", "scores")
    model.graph.output[0].name = "scores"


def other_input_name(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.input[:] = ["picture" if name == "image" else name for name in node.input]
    model.graph.input[0].name = "picture"


def fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 7


def other_operator(model: onnx.ModelProto) -> None:
    """A valid file that ONNX Runtime cannot run."""
    model.graph.node[-1].op_type = "NoSuchOperator"


def rename(graph: onnx.GraphProto, name: str, to: str) -> None:
    for node in graph.node:
        node.output[:] = [to if output == name else output for output in node.output]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (slightly_other_weights, r"logits differs from PyTorch by .*does not compute what the module computes"),
        (other_shape, r"logits is \(1, 2, 2, 16, 16\) where PyTorch gives \(2, 2, 16, 16\)"),
        (other_output_name, "ONNX Runtime cannot run it"),
        (other_input_name, "ONNX Runtime cannot run it"),
        (fixed_batch, "ONNX Runtime cannot run it"),
        (other_operator, "ONNX Runtime cannot load it"),
    ],
)
def test_a_graph_replaced_together_with_its_hash_is_found_because_it_computes_something_else(
    change: Callable[[onnx.ModelProto], None], told: str, artifact: Path, checkpoint: Path
) -> None:
    replace_graph(artifact, change)
    with pytest.raises(ArtifactChangedError, match=told) as caught:
        verify_artifact(artifact, checkpoint)
    assert str(caught.value).startswith(f"{artifact}: unet.onnx: ")
    assert "\n" not in str(caught.value)


def test_a_manifest_without_the_models_file_is_refused(artifact: Path, checkpoint: Path) -> None:
    rewrite(artifact, lambda content: content.update(files={"other": content["files"]["unet"]}))
    with pytest.raises(ArtifactChangedError, match="its manifest names no file for the unet"):
        verify_artifact(artifact, checkpoint)


# The weights it was made from.


def test_other_weights_than_those_it_was_made_from_are_refused_with_both_names(made: Path, tmp_path: Path) -> None:
    """Else it would look as if the artifact were wrong."""
    other = save_unet(tmp_path / "retrained.pt", seed=1)
    with pytest.raises(
        ExportError, match=r"was made from other weights \(unet\.pt, SHA-256 .* than retrained\.pt; give"
    ):
        verify_artifact(made, other)


def test_a_renamed_checkpoint_is_the_same(made: Path, checkpoint: Path, tmp_path: Path) -> None:
    assert verify_artifact(made, Path(shutil.copy(checkpoint, tmp_path / "renamed.pt"))).errors["unet"]["logits"] < 1e-3


def test_a_missing_checkpoint_is_told_with_the_file_that_it_was(made: Path) -> None:
    with pytest.raises(ExportError, match=r"was made from unet\.pt; give that file with --checkpoint"):
        verify_artifact(made)


def test_a_sam_of_a_named_checkpoint_wants_that_file_too(artifact: Path) -> None:
    """Not the package's or the cache's, which may be another training's."""
    rewrite(artifact, lambda content: content.update(model="litemedsam"))
    with pytest.raises(ExportError, match=r"was made from unet\.pt; give that file with --checkpoint") as caught:
        verify_artifact(artifact)
    assert not isinstance(caught.value, ArtifactChangedError), "the artifact may well be as it was"


def test_a_setting_that_no_decoder_has_is_refused(artifact: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        weights = Weights(source="random", seed=0).model_dump()
        content.update(model="litemedsam", weights=weights, settings={"masks": "four"})

    rewrite(artifact, change)
    with pytest.raises(ExportError, match="masks 'four' is not known; choose from one, three, all"):
        verify_artifact(artifact)


def test_a_folder_without_an_artifact_is_told(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(ExportError, match=r"manifest\.json: no readable manifest"):
        verify_artifact(tmp_path, checkpoint)


@pytest.mark.parametrize(
    ("precision", "gate", "same_slices", "expected"),
    [
        ("fp32", "pass", False, True),
        ("fp32", None, False, True),
        ("int8", "pass", True, True),
        ("int8", "pass", False, False),
        ("int8", "fail", True, False),
        ("int8", None, True, False),
    ],
)
def test_a_failed_gate_tells_of_a_change_only_where_the_same_was_passed(
    precision: str, gate: Any, same_slices: bool, expected: bool
) -> None:
    """int8 may pass on the slices of its export and fail on others, unchanged."""
    ladder = Ladder(samples=["a", "b"], embedding_cosine=1, embedding_max_error=0, kinds={}, gate="fail")
    then = ladder.model_copy(update={"samples": ["a", "b"] if same_slices else ["c"]})
    manifest = Manifest.model_construct(precision=precision, gate=gate, parity=then)
    assert _must_pass(manifest, ladder) is expected


# The ladder of a UNet.


@pytest.fixture(scope="module")
def noise() -> WindowSample:
    return WindowSample("noise", np.random.default_rng(0).random((2, 1, 16, 16), dtype=np.float32))


def test_a_unets_ladder_is_climbed_again(made: Path, checkpoint: Path, noise: WindowSample) -> None:
    ladder = verify_artifact(made, checkpoint, [noise]).ladder
    assert isinstance(ladder, WindowLadder)
    assert (ladder.gate, ladder.samples, ladder.windows) == ("pass", ["noise"], 2)


def test_a_reduced_graph_that_fails_its_gate_now_was_changed(
    checkpoint: Path, noise: WindowSample, tmp_path: Path
) -> None:
    """Of a reduced precision no tolerance tells: a graph of other weights is found by the ladder alone."""
    folder = tmp_path / "artifact"
    assert load_unet(checkpoint).export(folder, "fp16", [noise]).gate == "pass"

    def negate(model: onnx.ModelProto) -> None:
        for item in model.graph.initializer:
            array = numpy_helper.to_array(item)
            if array.ndim == 4:
                item.CopyFrom(numpy_helper.from_array(-array, item.name))

    replace_graph(folder, negate)
    with pytest.raises(ArtifactChangedError, match="fails the gate that it passed: its masks overlap"):
        verify_artifact(folder, checkpoint, [noise])
