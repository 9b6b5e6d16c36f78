from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmark import artifacts
from benchmark.artifacts import ensure_artifact
from exporters.exportable import Exportable
from exporters.manifest import ExportError, TensorSpec
from runners.base import ModuleSource

DIMS = (TensorSpec(name="x", dims=("B",)),)
PARTS = [Exportable(name, None, DIMS, DIMS, lambda: [], {}) for name in ("encoder", "decoder")]


class Exporter:
    """Notes what is exported and keeps manifests in memory; the decoder always stays in fp32."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.exported: list[tuple[str, str]] = []
        self.kept: dict[Path, Any] = {}

    def export(self, folder: Path, precision: str) -> Any:
        self.exported.append((folder.name, precision))
        precisions = {"encoder": precision, "decoder": "fp32"}
        files = {name: SimpleNamespace(precision=value) for name, value in precisions.items()}
        self.kept[folder] = SimpleNamespace(precision=precision, files=files)
        return self.kept[folder]

    def load_manifest(self, folder: Path) -> Any:
        if folder not in self.kept:
            raise ExportError("none")
        return self.kept[folder]

    def ensure(self, precision: str, weights: str = "a", **libraries: str) -> list[ModuleSource]:
        return ensure_artifact(self.run_dir, "sam", weights, PARTS, precision, self.export, libraries)


@pytest.fixture
def exporter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Exporter:
    made = Exporter(tmp_path)
    monkeypatch.setattr(artifacts, "load_manifest", made.load_manifest)
    return made


def test_each_precision_is_exported_once_into_a_folder_of_its_own(exporter: Exporter) -> None:
    full, int8 = exporter.ensure("fp32"), exporter.ensure("int8")
    assert [precision for _, precision in exporter.exported] == ["fp32", "int8"]
    assert [folder.rpartition("-")[0] for folder, _ in exporter.exported] == ["sam-fp32", "sam-int8"]
    assert full[0].onnx_path != int8[0].onnx_path
    assert exporter.ensure("int8")[0].onnx_path == int8[0].onnx_path
    assert len(exporter.exported) == 2


def test_the_manifest_says_what_each_file_should_be(exporter: Exporter) -> None:
    """An int8 artifact may keep its decoder in fp32; that is a choice and no mismatch."""
    sources = exporter.ensure("int8")
    assert [(source.name, source.precision) for source in sources] == [("encoder", "int8"), ("decoder", "fp32")]


def test_other_weights_and_other_libraries_are_exported_anew(exporter: Exporter) -> None:
    exporter.ensure("fp32")
    exporter.ensure("fp32", weights="b")
    exporter.ensure("fp32", torch="3.0")
    assert len({folder for folder, _ in exporter.exported}) == 3


def test_what_other_exporters_wrote_is_exported_anew(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier version's decoder takes a mask input for each prompt; today's pipeline gives it one for all."""
    exporter.ensure("fp32")
    monkeypatch.setattr(artifacts, "exporter_digest", lambda: "another")
    exporter.ensure("fp32")
    assert len({folder for folder, _ in exporter.exported}) == 2


def test_bf16_is_made_of_the_fp32_file_and_called_bf16(exporter: Exporter) -> None:
    """Nothing is exported twice, and what runs is held against the precision that was asked for."""
    full, reduced = exporter.ensure("fp32"), exporter.ensure("bf16")
    assert [precision for _, precision in exporter.exported] == ["fp32"]
    assert [source.onnx_path for source in reduced] == [source.onnx_path for source in full]
    assert [source.precision for source in reduced] == ["bf16", "bf16"]
