"""An artifact exists only if its ONNX files compute what PyTorch computes and are still the files that were checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from exporters import base
from exporters.base import export_artifact
from exporters.exportable import Exportable
from exporters.graph import OPSET
from exporters.hold import verify
from exporters.manifest import MANIFEST_FILE, ExportError, Manifest, TensorSpec, Weights, load_manifest, sha256_file


class Tiny(nn.Module):
    """A convolution with normalisation and dropout: both behave otherwise in training."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Dropout(0.5)
        self.norm.running_mean.fill_(0.3)
        self.norm.running_var.fill_(2.0)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return nn.functional.gelu(self.drop(self.norm(self.conv(image))))


class OtherWhenExported(Tiny):
    """Stands for every exporter bug: the graph computes something else than the module."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        result = super().forward(image)
        return result + 0.01 if torch.compiler.is_compiling() else result


class NotANumber(Tiny):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward(image) * float("nan")


class Frozen(Tiny):
    """Answers with as many rows as the traced example had."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        result = super().forward(image)
        return result[:1].expand(2, -1, -1, -1) if torch.compiler.is_compiling() else result


def tiny(module: nn.Module | None = None, name: str = "tiny", **changes: Any) -> Exportable:
    def feeds() -> list[dict[str, np.ndarray]]:
        rng = np.random.default_rng(0)
        return [{"image": rng.random((batch, 1, 8, 8), dtype=np.float32)} for batch in (2, 1, 3)]

    torch.manual_seed(0)
    part = Exportable(
        name=name,
        module=(module or Tiny()).eval(),
        inputs=(TensorSpec(name="image", dims=("B", 1, 8, 8)),),
        outputs=(TensorSpec(name="logits", dims=("B", 2, 8, 8)),),
        feeds=feeds,
        tolerance={"logits": 1e-5},
    )
    return replace(part, **changes)


WEIGHTS = Weights(source="checkpoint", file="tiny.pt", sha256="0" * 64)


def export(folder: Path, *parts: Exportable) -> Manifest:
    return export_artifact(folder, "tiny", WEIGHTS, parts or (tiny(),), {"note": 1})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One artifact for the tests that only read it."""
    folder = tmp_path_factory.mktemp("made") / "artifact"
    export(folder)
    return folder


@pytest.fixture
def artifact(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    folder = tmp_path / "artifact"
    folder.mkdir()
    for file in made.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture
def without_exporter(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Replaces the slow exporter by one that writes nothing, and counts its calls."""
    calls: list[Path] = []
    monkeypatch.setattr(base, "export_onnx", lambda part, feed, path: calls.append(path))
    return lambda: len(calls)


def test_the_graph_computes_what_the_module_computes_for_other_batches_than_the_traced_one(made: Path) -> None:
    module = tiny().module
    session = ort.InferenceSession(str(made / "tiny.onnx"), providers=["CPUExecutionProvider"])
    for batch in (1, 2, 7):
        image = np.random.default_rng(batch).random((batch, 1, 8, 8), dtype=np.float32)
        with torch.inference_mode():
            expected = module(torch.from_numpy(image)).numpy()
        np.testing.assert_allclose(session.run(["logits"], {"image": image})[0], expected, atol=1e-5)


def test_the_graph_keeps_gelu_whole_and_neither_dropout_nor_batch_statistics(made: Path) -> None:
    model = onnx.load(str(made / "tiny.onnx"))
    assert model.opset_import[0].version == OPSET >= 20
    operators = [node.op_type for node in model.graph.node]
    assert "Gelu" in operators
    assert "Dropout" not in operators
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            assert {a.name: a.i for a in node.attribute}.get("training_mode", 0) == 0


def test_the_manifest_describes_every_file(made: Path) -> None:
    manifest = load_manifest(made)
    assert (manifest.model, manifest.weights, manifest.opset) == ("tiny", WEIGHTS, OPSET)
    assert manifest.precision == "fp32"
    assert manifest.settings == {"note": 1}
    assert {"torch", "onnx"} <= set(manifest.versions)
    entry = manifest.files["tiny"]
    path = made / "tiny.onnx"
    assert (entry.file, entry.sha256, entry.bytes) == ("tiny.onnx", sha256_file(path), path.stat().st_size)
    assert entry.inputs == (TensorSpec(name="image", dims=("B", 1, 8, 8)),)
    assert entry.outputs == (TensorSpec(name="logits", dims=("B", 2, 8, 8)),)
    assert 0 <= entry.max_abs_error["logits"] <= entry.tolerance["logits"] == 1e-5
    assert entry.nodes["Gelu"] == 1
    assert entry.export_seconds > 0


def test_the_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256_file(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# What is refused.


def test_a_changed_file_is_refused(artifact: Path) -> None:
    data = bytearray((artifact / "tiny.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (artifact / "tiny.onnx").write_bytes(bytes(data))
    with pytest.raises(ExportError, match=r"tiny\.onnx: missing or changed since it was verified"):
        load_manifest(artifact)


def test_a_missing_file_is_refused(artifact: Path) -> None:
    (artifact / "tiny.onnx").unlink()
    with pytest.raises(ExportError, match="missing or changed"):
        load_manifest(artifact)


@pytest.mark.parametrize("damage", ["missing", "no json", "a field less", "a field more", "binary"])
def test_a_damaged_manifest_is_refused(damage: str, artifact: Path) -> None:
    path = artifact / MANIFEST_FILE
    content = json.loads(path.read_text(encoding="utf-8"))
    if damage == "missing":
        path.unlink()
    elif damage == "no json":
        path.write_text("{", encoding="utf-8")
    elif damage == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    else:
        content = (
            {**content, "surprise": 1} if damage == "a field more" else {k: content[k] for k in ("model", "opset")}
        )
        path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ExportError, match=r"manifest\.json: no readable manifest"):
        load_manifest(artifact)


def test_training_mode_is_refused_before_anything_is_exported(
    tmp_path: Path, without_exporter: Callable[[], int]
) -> None:
    module = Tiny().eval()
    module.norm.train()
    part = replace(tiny(), module=module)
    with pytest.raises(ExportError, match=r"tiny: norm is in training mode; call \.eval\(\)"):
        export(tmp_path / "out", part)
    assert without_exporter() == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (OtherWhenExported(), r"tiny\.onnx: logits differs from PyTorch by 0\.01, over 1e-05"),
        (NotANumber(), r"logits differs from PyTorch by nan"),
    ],
)
def test_a_wrong_export_is_refused_and_leaves_nothing(module: nn.Module, told: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=told):
        export(tmp_path / "out", tiny(module))
    assert list(tmp_path.iterdir()) == []


def test_a_batch_frozen_by_tracing_is_found_with_the_second_feed(tmp_path: Path) -> None:
    """The traced example alone would agree."""
    with pytest.raises(ExportError, match=r"logits is \(2, 2, 8, 8\) where PyTorch gives \(1, 2, 8, 8\)"):
        part = tiny(Frozen())
        torch.onnx.export(
            part.module,
            (torch.zeros(2, 1, 8, 8),),
            tmp_path / "frozen.onnx",
            dynamo=True,
            verbose=False,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes={"image": {0: "B"}},
        )
        feeds = [{"image": np.zeros((batch, 1, 8, 8), np.float32)} for batch in (2, 1)]
        part = replace(part, tolerance={"logits": 10.0})
        assert verify(part, tmp_path / "frozen.onnx", feeds[:1])["logits"] < 10
        verify(part, tmp_path / "frozen.onnx", feeds)


def test_a_failed_export_keeps_the_older_artifact(artifact: Path, tmp_path: Path) -> None:
    """The first part succeeds, the second fails: neither a half artifact nor a temporary folder may remain."""
    before = {file.name: file.read_bytes() for file in artifact.iterdir()}
    bad = tiny(NotANumber(), name="bad")
    with pytest.raises(ExportError, match=r"bad\.onnx"):
        export(artifact, tiny(), bad)
    assert {file.name: file.read_bytes() for file in artifact.iterdir()} == before
    assert list(tmp_path.iterdir()) == [artifact]


def test_an_older_artifact_is_replaced_whole(artifact: Path, tmp_path: Path) -> None:
    (artifact / "stale.onnx").write_bytes(b"of an older version")
    export(artifact, tiny(name="newer"))
    assert sorted(file.name for file in artifact.iterdir()) == [MANIFEST_FILE, "newer.onnx"]
    assert list(load_manifest(artifact).files) == ["newer"]
    assert list(tmp_path.iterdir()) == [artifact]


def test_a_folder_that_is_no_artifact_is_never_deleted(tmp_path: Path, without_exporter: Callable[[], int]) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "thesis.tex").write_text("years", encoding="utf-8")
    # Of a web application: many folders have a file of that name.
    (work / "manifest.json").write_text('{"name": "app", "icons": []}', encoding="utf-8")
    with pytest.raises(ExportError, match="not empty and no artifact of sambench; name a new folder"):
        export(work)
    with pytest.raises(ExportError, match="is a file; name a folder"):
        export(work / "thesis.tex")
    assert (work / "thesis.tex").read_text(encoding="utf-8") == "years"
    assert without_exporter() == 0


def test_tolerances_are_per_output_and_exact(made: Path) -> None:
    """What `verify` reports is the largest difference; a tolerance below it refuses, one at it accepts."""
    part = tiny()
    shifted = replace(part, module=_Shifted(part.module, 0.25), tolerance={"logits": 0.3})
    path = made / "tiny.onnx"
    error = verify(shifted, path, part.feeds())["logits"]
    assert error == pytest.approx(0.25, abs=1e-5)
    assert verify(replace(shifted, tolerance={"logits": error}), path, part.feeds()) == {"logits": error}
    with pytest.raises(ExportError, match=r"logits differs from PyTorch by 0\.25"):
        verify(replace(shifted, tolerance={"logits": 0.2}), path, part.feeds())


class _Shifted(nn.Module):
    def __init__(self, module: nn.Module, by: float) -> None:
        super().__init__()
        self.module, self.by = module, by

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.module(image) + self.by


def test_an_interrupt_between_the_renames_brings_the_older_artifact_back(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {file.name: file.read_bytes() for file in artifact.iterdir()}
    rename = Path.replace

    def interrupted(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(artifact, tiny(name="newer"))
    assert {file.name: file.read_bytes() for file in artifact.iterdir()} == before
    assert list(tmp_path.iterdir()) == [artifact]
