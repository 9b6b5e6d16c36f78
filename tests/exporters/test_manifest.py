"""An artifact from a stranger: nothing in it may lead out of its folder, and it may lie anywhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from torch import nn

from exporters import graph
from exporters.base import export_artifact
from exporters.exportable import Exportable
from exporters.manifest import (
    MANIFEST_FILE,
    ArtifactChangedError,
    TensorSpec,
    Weights,
    external_locations,
    load_manifest,
    require_plain_name,
    sha256_file,
)


def linear() -> Exportable:
    """A module with one matrix: the smallest that has weights to put beside the graph."""
    torch.manual_seed(0)

    def feeds() -> list[dict[str, np.ndarray]]:
        rng = np.random.default_rng(0)
        return [{"rows": rng.random((batch, 32), dtype=np.float32)} for batch in (2, 1)]

    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(32, 48)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return self.linear(rows)

    return Exportable(
        name="linear",
        module=Rows().eval(),
        inputs=(TensorSpec(name="rows", dims=("B", 32)),),
        outputs=(TensorSpec(name="answer", dims=("B", 48)),),
        feeds=feeds,
        tolerance={"answer": 1e-5},
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact whose weights lie beside the graph, as those of a model of more than 2 GB do."""
    folder = tmp_path_factory.mktemp("made") / "artifact"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "INLINE_BYTES", 0)
        export_artifact(folder, "linear", Weights(source="random", seed=0), (linear(),), {})
    return folder


@pytest.fixture
def artifact(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "inner" / "artifact"))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes an artifact's manifest as its author could."""
    path = folder / MANIFEST_FILE
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def sign(folder: Path) -> None:
    """Writes the graph's true hash into the manifest: a hash protects against damage, not against its author."""
    rewrite(folder, lambda content: content["files"]["linear"].update(sha256=sha256_file(folder / "linear.onnx")))


# Names.

OUTSIDE = [
    "", ".", "..", "../x", "a/..", "a/b", "/etc/passwd", "x/", "/", "..\\x", "a\\b", "\\\\server\\share", "C:x",
    "C:\\x", "c:/x", "stream:name", "./x",
]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_could_lead_out_of_the_folder_is_refused(name: str) -> None:
    with pytest.raises(ArtifactChangedError, match="not inside the artifact's folder; refused"):
        require_plain_name(name, Path("manifest.json"))


@pytest.mark.parametrize("name", ["encoder.onnx", "encoder.onnx.data", "..data", "a b", "…", "...", "-rf"])
def test_a_plain_name_is_a_plain_name(name: str) -> None:
    assert require_plain_name(name, Path("manifest.json")) == name


@settings(max_examples=400, deadline=None)
@given(name=st.text(st.sampled_from("./\\:aC~\0 "), max_size=8) | st.text(max_size=30))
@example(name="a/../../b")
def test_whatever_is_accepted_lies_directly_in_the_folder_on_every_system(name: str) -> None:
    from pathlib import PurePosixPath, PureWindowsPath

    try:
        require_plain_name(name, Path("manifest.json"))
    except ArtifactChangedError:
        return
    for system, folder in ((PurePosixPath, "/a/b"), (PureWindowsPath, "D:\\a\\b")):
        path = system(folder) / name
        assert path.parent == system(folder)
        assert ".." not in path.parts


@pytest.mark.parametrize("name", ["../linear.onnx", "/etc/passwd", "sub/linear.onnx", "sub\\linear.onnx", "C:x"])
@pytest.mark.parametrize("where", ["graph", "weights"])
def test_a_manifest_that_names_a_file_elsewhere_is_refused_although_the_file_is_there(
    name: str, where: str, artifact: Path
) -> None:
    source = artifact / ("linear.onnx" if where == "graph" else "linear.onnx.data")
    if name == "../linear.onnx":
        shutil.copy(source, artifact.parent / "linear.onnx")
    elif "sub" in name:
        (artifact / "sub").mkdir()
        shutil.copy(source, artifact / name)

    def change(content: dict[str, Any]) -> None:
        entry = content["files"]["linear"]
        (entry if where == "graph" else entry["external"][0])["file"] = name

    rewrite(artifact, change)
    with pytest.raises(ArtifactChangedError, match="not inside the artifact's folder; refused"):
        load_manifest(artifact)


def test_a_name_too_long_for_the_system_is_a_missing_file(artifact: Path) -> None:
    rewrite(artifact, lambda content: content["files"]["linear"].update(file=300 * "x"))
    with pytest.raises(ArtifactChangedError, match="missing or changed"):
        load_manifest(artifact)


@pytest.mark.parametrize("name", ["linear.onnx", "linear.onnx.data"])
def test_a_link_in_place_of_a_file_is_refused(name: str, artifact: Path, tmp_path: Path) -> None:
    """Its content may be right now and another file's tomorrow."""
    (artifact / name).rename(tmp_path / name)
    (artifact / name).symlink_to(tmp_path / name)
    with pytest.raises(ArtifactChangedError, match=rf"{name}: missing or changed"):
        load_manifest(artifact)


# What a graph itself points at.

ELSEWHERE = ["../../etc/passwd", "/etc/passwd", "..\\x", "C:\\x", "sub/linear.onnx.data", "*/_ORT_MEM_ADDR_/*"]


@pytest.mark.parametrize("location", ELSEWHERE)
def test_a_graph_that_takes_weights_from_elsewhere_is_refused_although_its_hash_is_right(
    location: str, artifact: Path
) -> None:
    point_at(artifact, location)
    with pytest.raises(ArtifactChangedError, match=r"linear\.onnx: names the file .*not inside the artifact's folder"):
        load_manifest(artifact)


def test_a_graph_that_takes_weights_from_a_file_that_is_not_listed_is_refused(artifact: Path) -> None:
    (artifact / "other.data").write_bytes((artifact / "linear.onnx.data").read_bytes())
    point_at(artifact, "other.data")
    with pytest.raises(ArtifactChangedError, match=r"takes weights from 'other\.data', which its manifest does not"):
        load_manifest(artifact)


def point_at(artifact: Path, location: str) -> None:
    model = onnx.load(str(artifact / "linear.onnx"), load_external_data=False)
    places = [entry for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"]
    assert places, "the artifact has no external data to redirect"
    places[-1].value = location
    (artifact / "linear.onnx").write_bytes(model.SerializeToString())
    sign(artifact)


@pytest.mark.parametrize("hidden", ["initializer", "constant", "branch", "function", "function's branch", "sparse"])
def test_weights_from_elsewhere_are_found_wherever_a_graph_can_hide_them(hidden: str, artifact: Path) -> None:
    (artifact / "linear.onnx").write_bytes(hiding(hidden).SerializeToString())
    sign(artifact)
    with pytest.raises(ArtifactChangedError, match=r"names the file '\.\./\.\./etc/passwd'"):
        load_manifest(artifact)


def hiding(where: str) -> onnx.ModelProto:
    """A model with a tensor that lies in another folder, in the given part of it."""
    secret = TensorProto(name="secret", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    secret.external_data.add(key="location", value="../../etc/passwd")
    answer = helper.make_tensor_value_info("answer", TensorProto.FLOAT, [4])
    constant = helper.make_node("Constant", [], ["answer"], value=secret)
    branch = helper.make_graph([helper.make_node("Identity", ["secret"], ["answer"])], "branch", [], [answer])
    branch.initializer.append(secret)
    choice = helper.make_node("If", ["yes"], ["answer"], then_branch=branch, else_branch=branch)
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("local", 1)]
    call = helper.make_node("Hiding", [], ["answer"], domain="local")
    nodes, functions = [], []
    if where == "constant":
        nodes = [constant]
    elif where == "branch":
        nodes = [choice]
    elif where == "function":
        functions, nodes = [helper.make_function("local", "Hiding", [], ["answer"], [constant], opsets)], [call]
    elif where == "function's branch":
        body = [helper.make_node("Constant", [], ["yes"], value=yes), choice]
        functions, nodes = [helper.make_function("local", "Hiding", [], ["answer"], body, opsets)], [call]
    else:
        nodes = [helper.make_node("Identity", ["secret"], ["answer"])]
    graph = helper.make_graph(nodes, "graph", [], [answer])
    if where == "initializer":
        graph.initializer.append(secret)
    elif where == "branch":
        graph.initializer.append(yes)
    elif where == "sparse":
        places = helper.make_tensor("places", TensorProto.INT64, [4], range(4))
        graph.sparse_initializer.append(helper.make_sparse_tensor(secret, places, [8]))
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)


def test_a_file_that_is_no_graph_is_refused_although_its_hash_is_right(artifact: Path) -> None:
    (artifact / "linear.onnx").write_bytes(b"\xff" * 100)
    sign(artifact)
    with pytest.raises(ArtifactChangedError, match=r"linear\.onnx: is no ONNX file"):
        load_manifest(artifact)


# An artifact with its weights beside the graph.


def test_the_weights_beside_a_graph_are_listed_by_a_plain_name_and_counted(made: Path) -> None:
    entry = load_manifest(made).files["linear"]
    data = made / "linear.onnx.data"
    assert [(part.file, part.sha256, part.bytes) for part in entry.external] == [
        ("linear.onnx.data", sha256_file(data), data.stat().st_size)
    ]
    assert external_locations(made / "linear.onnx") == ["linear.onnx.data"]
    assert entry.bytes == data.stat().st_size + (made / "linear.onnx").stat().st_size
    assert data.stat().st_size >= 4 * 32 * 48
    assert sorted(file.name for file in made.iterdir()) == ["linear.onnx", "linear.onnx.data", MANIFEST_FILE]


def test_an_artifact_with_weights_beside_it_runs_after_it_was_moved(artifact: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    artifact.rename(moved)
    load_manifest(moved)
    session = ort.InferenceSession(str(moved / "linear.onnx"), providers=["CPUExecutionProvider"])
    rows = np.random.default_rng(5).random((7, 32), dtype=np.float32)
    with torch.inference_mode():
        expected = linear().module(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(session.run(["answer"], {"rows": rows})[0], expected, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(place=st.floats(0, 0.9999), bit=st.integers(0, 7))
def test_a_changed_bit_in_the_weights_beside_a_graph_is_found(made: Path, place: float, bit: int) -> None:
    path = made / "linear.onnx.data"
    before = path.read_bytes()
    changed = bytearray(before)
    changed[int(place * len(changed))] ^= 1 << bit
    try:
        path.write_bytes(bytes(changed))
        with pytest.raises(ArtifactChangedError, match=r"linear\.onnx\.data: missing or changed since it was verified"):
            load_manifest(made)
    finally:
        path.write_bytes(before)
    load_manifest(made)


# Weights.


def test_the_key_changes_with_the_file_and_with_the_seed_and_with_nothing_else() -> None:
    def named(sha256: str, file: str = "a.pt") -> Weights:
        return Weights(source="checkpoint", file=file, sha256=sha256)

    first, other = 64 * "a", 64 * "b"
    keys = {named(first).key, named(other).key, *(Weights(source="random", seed=seed).key for seed in (0, 1))}
    assert len(keys) == 4
    assert named(first, "renamed.pt").key == named(first).key
    assert Weights(source="cache", file="a.pt", sha256=first, published=True).key == named(first).key
    assert [Weights(source=source).random for source in ("checkpoint", "cache", "package", "random")] == [
        False, False, False, True,
    ]  # fmt: skip
