"""Engines are found again, and never another artifact's, GPU's or version's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from runners.tensorrt_cache import VARIABLE, EngineKey, cache_options, default_root, file_hash

KEY = EngineKey(
    artifact="a1", gpu="NVIDIA H100 80GB HBM3", capability="9.0", tensorrt="10.13.3", onnxruntime="1.31.1",
    precision="fp16", tf32=False, profile=(("trt_profile_min_shapes", "image:1x3"),),
)  # fmt: skip


def test_the_same_key_finds_its_engine_again_under_a_name_that_people_can_read() -> None:
    assert KEY.folder == replace(KEY).folder
    assert KEY.folder.startswith("nvidia-h100-80gb-hbm3-fp16-")


@pytest.mark.parametrize(
    "change",
    [
        {"artifact": "a2"},
        {"gpu": "NVIDIA H200"},
        {"capability": "8.0"},
        {"tensorrt": "10.14.1"},
        {"onnxruntime": "1.31.0"},
        {"precision": "fp32"},
        {"tf32": True},
        {"profile": (("trt_profile_min_shapes", "image:2x3"),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_an_engine_depends_on_makes_another_folder(change: dict[str, Any]) -> None:
    assert replace(KEY, **change).folder != KEY.folder


def test_timings_are_shared_between_artifacts_and_not_between_gpus_or_versions() -> None:
    def timings(**change: Any) -> str:
        return cache_options(Path("/root"), replace(KEY, **change))["trt_timing_cache_path"]

    assert timings(artifact="a2") == timings()
    assert len({timings(), timings(gpu="NVIDIA H200"), timings(capability="8.0"), timings(tensorrt="10.14.1")}) == 4
    asked = cache_options(Path("/root"), KEY)
    assert (asked["trt_engine_cache_enable"], asked["trt_timing_cache_enable"]) == ("1", "1")
    assert Path(asked["trt_engine_cache_path"]) == Path("/root/engines") / KEY.folder


def product(path: Path, weight: float) -> Path:
    """A model whose weights lie in a file beside it."""
    weights = onnx.numpy_helper.from_array(np.full((64, 64), weight, np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["R", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["R", 64])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def test_an_artifact_is_its_graph_and_the_weights_beside_it(tmp_path: Path) -> None:
    """The graph alone is the same for every checkpoint, and its engine is not."""
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    weights = (1.0, 2.0, 1.0)
    first, second, again = (product(folder / "m.onnx", w) for folder, w in zip(folders, weights, strict=True))
    assert first.read_bytes() == second.read_bytes()
    assert file_hash(first) != file_hash(second)
    assert file_hash(first) == file_hash(again)


def test_the_folder_is_the_users_cache_unless_a_variable_names_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/some/where")
    assert default_root() == Path("/some/where")
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    monkeypatch.setattr("sys.platform", "linux")
    assert default_root() == Path("/cache/sambench/tensorrt")
