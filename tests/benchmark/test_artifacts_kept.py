"""Exports in the user's cache: taken whole or not at all, and never in the way of a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import onnx.parser
import pytest

from benchmark.artifacts import ARTIFACTS, ensure_artifact, kept_for_all_runs
from exporters.exportable import Exportable
from exporters.manifest import MANIFEST_FILE, ExportError, FileEntry, Manifest, TensorSpec, Weights, sha256_file

DIMS = (TensorSpec(name="x", dims=("B",)),)
GRAPH = '<ir_version: 10, opset_import: ["" : 20]> unet (float[B] x) => (float[B] y) { y = Neg(x) }'
Ensure = Callable[[str], Path]


class Exporter:
    """Writes a real, small artifact and counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, folder: Path, precision: str) -> Manifest:
        self.count += 1
        folder.mkdir(parents=True)
        file = folder / "unet.onnx"
        onnx.save(onnx.parser.parse_model(GRAPH), file)
        entry = FileEntry(
            file=file.name, sha256=sha256_file(file), bytes=file.stat().st_size, inputs=DIMS, outputs=DIMS, nodes={},
            parameters=0, flops=None, flops_shapes={}, max_abs_error={}, tolerance=None, export_seconds=0,
        )  # fmt: skip
        manifest = Manifest(
            model="unet", weights=Weights(source="random", seed=0), opset=20, precision=precision, versions={},
            settings={}, files={"unet": entry}, export_seconds=0,
        )  # fmt: skip
        (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(), encoding="utf-8")
        return manifest


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAMBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / ARTIFACTS


@pytest.fixture
def export() -> Exporter:
    return Exporter()


@pytest.fixture
def ensure(cache: Path, export: Exporter, tmp_path: Path) -> Ensure:
    part = Exportable("unet", None, DIMS, DIMS, lambda: [], {})

    def of_run(run: str, weights: str = "a") -> Path:
        (source,) = ensure_artifact(tmp_path / run, "unet", weights, [part], "fp32", kept_for_all_runs(export), {})
        assert source.onnx_path is not None
        assert source.onnx_path.is_relative_to(tmp_path / run)
        assert onnx.load(source.onnx_path).graph.node[0].op_type == "Neg"
        return source.onnx_path

    return of_run


def test_a_second_run_exports_nothing_and_other_weights_are_exported(ensure: Ensure, export: Exporter) -> None:
    assert ensure("first").parent.name == ensure("second").parent.name
    assert export.count == 1
    ensure("second", "other weights")
    assert export.count == 2


def test_a_run_folder_can_be_removed_and_so_can_the_cache(ensure: Ensure, export: Exporter, cache: Path) -> None:
    shutil.rmtree(ensure("first").parents[2])
    second = ensure("second")
    shutil.rmtree(cache)
    assert second.is_file()
    assert ensure("second") == second
    assert export.count == 1


@pytest.mark.parametrize("damage", ["file", "manifest", "missing", "link"])
def test_what_is_damaged_in_the_cache_is_made_again_and_never_run(
    damage: str, ensure: Ensure, export: Exporter, cache: Path
) -> None:
    file = cache / ensure("first").parent.name / "unet.onnx"
    whole = file.read_bytes()
    shutil.rmtree(file.parents[3] / "first")
    if damage == "file":
        onnx.save(onnx.parser.parse_model(GRAPH.replace("Neg", "Abs")), file)
    elif damage == "manifest":
        file.with_name(MANIFEST_FILE).write_text("{}", encoding="utf-8")
    else:
        file.unlink()
    if damage == "link":
        elsewhere = cache / "elsewhere.onnx"
        elsewhere.write_bytes(whole)  # the right content, where anybody may change it after the check
        file.symlink_to(elsewhere)
    ensure("second")
    assert export.count == 2
    ensure("third")
    assert export.count == 2, "the damaged one was replaced"


def test_a_cache_that_cannot_be_written_costs_an_export_and_nothing_else(
    ensure: Ensure, export: Exporter, cache: Path
) -> None:
    cache.parent.parent.mkdir(exist_ok=True)
    cache.parent.write_text("a file, and no folder", encoding="utf-8")
    ensure("first")
    ensure("second")
    assert export.count == 2


def test_an_export_that_fails_leaves_nothing_behind(cache: Path, tmp_path: Path) -> None:
    def fails(folder: Path, precision: str) -> Manifest:
        raise ExportError("unet: no")

    with pytest.raises(ExportError, match="unet: no"):
        kept_for_all_runs(fails)(tmp_path / "run" / "unet-fp32-0", "fp32")
    assert not cache.exists()
    assert not (tmp_path / "run").exists()


def test_links_that_the_disk_does_not_allow_become_copies(
    ensure: Ensure, export: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    ensure("first")
    assert ensure("second").stat().st_nlink == 1
    assert export.count == 1
