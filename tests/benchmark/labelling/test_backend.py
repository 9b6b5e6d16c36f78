"""The pipeline that labels: what was asked for runs, or nothing does; what is exported is kept for the next time."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from benchmark.data.msd import open_task
from benchmark.labelling import backend as backends
from benchmark.labelling.backend import open_pipeline
from benchmark.labelling.settings import LabelSettings
from benchmark.lanes import Lane, module_source
from runners.base import RunnerError
from tests.benchmark.fake_sam import FakeSam
from tests.benchmark.labelling.conftest import Silent


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, str, str]]:
    """Folder, weights' key and precision of every artifact that was asked for; all are exported anew."""
    asked: list[tuple[Path, str, str]] = []

    def ensure(folder, name, key, parts, precision, export, libraries):  # type: ignore[no-untyped-def]
        asked.append((folder, key, precision))
        where = folder / f"{name}-{len(asked)}"
        manifest = export(where, precision)
        return [module_source(part, where, manifest.files[part.name].precision) for part in parts]

    monkeypatch.setattr(backends, "ensure_artifact", ensure)
    return asked


def open_and_close(data: Path, fake: FakeSam, **settings: object) -> None:
    with open_pipeline(open_task(data), fake, LabelSettings(threads=1, **settings), {}, Silent()) as pipeline:  # type: ignore[arg-type]
        assert pipeline.encoder.source.name == "encoder" and pipeline.decoder.source.name == "decoder"


def test_pytorch_needs_no_export(task: Path, fake_sam: FakeSam) -> None:
    open_and_close(task, fake_sam, backend="pytorch")
    assert fake_sam.exported == []


def test_artifacts_are_kept_in_the_cache_by_weights_and_masks(
    task: Path, fake_sam: FakeSam, kept: list[tuple[Path, str, str]], tmp_path: Path
) -> None:
    for masks in ("one", "three", "one"):
        open_and_close(task, fake_sam, masks=masks)
    assert {folder for folder, _, _ in kept} == {tmp_path / "cache"}
    one, three, again = (key for _, key, _ in kept)
    assert one == again != three


def test_reduced_precisions_are_gated_and_calibrated_on_the_task_so_another_task_has_its_own(
    task: Path, fake_sam: FakeSam, kept: list[tuple[Path, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "task_samples", lambda task, model: ["slices"])
    monkeypatch.setattr(backends, "load_manifest", lambda folder: SimpleNamespace(gate="pass"))
    for precision in ("fp32", "int8", "int8-static"):
        for changed in (False, True):
            if changed:
                file = task / "labelsTr/case_1.nii.gz"
                label = nib.load(file)
                nib.save(nib.Nifti1Image(np.roll(np.asarray(label.dataobj), 1), label.affine), file)
            # The fake's decoder is plain int8, so that the static one is refused once it is loaded.
            with suppress(RunnerError):
                open_and_close(task, fake_sam, precision=precision)
    full, full_again, *reduced = (key for _, key, _ in kept)
    assert full == full_again
    assert reduced[0] != reduced[1] and reduced[2] != reduced[3]


def test_an_export_that_fails_its_gate_labels_nothing(
    task: Path, fake_sam: FakeSam, kept: list[tuple[Path, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = SimpleNamespace(gate="fail", gate_reason="box: Dice 0.8 is below", precision="int8")
    monkeypatch.setattr(backends, "task_samples", lambda task, model: ["slices"])
    monkeypatch.setattr(backends, "load_manifest", lambda folder: failed)
    with pytest.raises(
        RunnerError, match=r"--precision int8: fails the gate .* \(box: Dice 0.8 is below\), so nothing"
    ):
        open_and_close(task, fake_sam, precision="int8")


def test_what_is_not_what_was_asked_for_labels_nothing(
    task: Path, fake_sam: FakeSam, monkeypatch: pytest.MonkeyPatch
) -> None:
    attestation = Lane.__init__

    def elsewhere(self: Lane, pipeline: Any, attested: dict[str, Any], load_ms: float, **rest: Any) -> None:
        moved = {part: what.model_copy(update={"device": "cuda"}) for part, what in attested.items()}
        attestation(self, pipeline, moved, load_ms, **rest)

    monkeypatch.setattr(Lane, "__init__", elsewhere)
    with pytest.raises(RunnerError, match="asked to run on cpu and ran on cuda; nothing was labelled"):
        open_and_close(task, fake_sam)


def test_the_decoders_batch_can_be_chosen(task: Path, fake_sam: FakeSam) -> None:
    settings = LabelSettings(threads=1, prompts_per_call=3)
    with open_pipeline(open_task(task), fake_sam, settings, {}, Silent()) as pipeline:  # type: ignore[arg-type]
        assert pipeline.prompts_per_call == 3
