"""Tiny tasks in the Decathlon's layout, and the real ones beside the repository where they are."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from benchmark import cli
from benchmark.measured import Peak
from tests.benchmark.fake_sam import FakeSam
from tests.benchmark.measure.local import SentWorker

MSD_REAL = Path(__file__).parents[2].parent / "shared" / "msd-real"

MakeTask = Callable[..., Path]
Sambench = Callable[..., tuple[int, str, str]]


@pytest.fixture
def make_task(tmp_path: Path) -> MakeTask:
    """Writes a task folder; every argument replaces a part of a sound CT task of one 4 × 5 × 6 case."""

    def make(
        name: str = "Task77_Test",
        *,
        image: np.ndarray | None = None,
        label: np.ndarray | None = None,
        affine: np.ndarray | None = None,
        label_affine: np.ndarray | None = None,
        ending: str = ".nii.gz",
        json_fields: Mapping[str, Any] | None = None,
        cases: tuple[str, ...] = ("case_1",),
    ) -> Path:
        folder = tmp_path / name
        image = np.arange(120, dtype=np.int16).reshape(4, 5, 6) if image is None else image
        label = (np.arange(120).reshape(4, 5, 6) % 3).astype(np.uint8) if label is None else label
        affine = np.diag([2.0, 3.0, 4.0, 1.0]) if affine is None else affine
        label_affine = affine if label_affine is None else label_affine
        training = []
        for sub in ("imagesTr", "labelsTr"):
            (folder / sub).mkdir(parents=True, exist_ok=True)
        for case in cases:
            nib.save(nib.Nifti1Image(image, affine), folder / "imagesTr" / f"{case}{ending}")
            nib.save(nib.Nifti1Image(label, label_affine), folder / "labelsTr" / f"{case}{ending}")
            training.append({"image": f"./imagesTr/{case}{ending}", "label": f"./labelsTr/{case}{ending}"})
        data: dict[str, Any] = {
            "modality": {"0": "CT"},
            "labels": {"0": "background", "1": "organ", "2": "tumour"},
            "training": training,
        }
        data.update(json_fields or {})
        data = {key: value for key, value in data.items() if value is not None}
        (folder / "dataset.json").write_text(json.dumps(data), encoding="utf-8")
        return folder

    return make


@pytest.fixture
def fake_sam(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeSam:
    """In the place of every model that `sambench label` loads, with a cache of its own."""
    from benchmark.labelling import job

    fake = FakeSam()
    monkeypatch.setenv("SAMBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(job, "load_sam", lambda name, checkpoint, masks: fake)
    return fake


@pytest.fixture
def msd_real() -> Path:
    if not MSD_REAL.is_dir():
        pytest.skip("the real volumes are not here: ../shared/msd-real is absent")
    return MSD_REAL


@pytest.fixture
def sambench(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Sambench:
    """Runs the command line in this process: exit code, stdout, stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sambench", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
            sys.exit(0)
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes are called in this process: starting one of their own takes seconds, and is tested by itself."""
    call_lanes_here(monkeypatch)


def call_lanes_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the patch is undone, lanes have no processes of their own, and nothing is asked of the machine."""
    monkeypatch.setattr("benchmark.measure.bench.Worker", SentWorker)
    monkeypatch.setattr("benchmark.early_training.Worker", SentWorker)
    monkeypatch.setattr("benchmark.early_training.idle_cores", lambda: 2)
    # Two collections a lane are exact where a process holds one lane, and here look through all that tests imported.
    monkeypatch.setattr("benchmark.measure.memory.gc", SimpleNamespace(collect=lambda: 0))
    monkeypatch.setattr("benchmark.run.business", lambda: None)
    monkeypatch.setattr("benchmark.measure.peak.measure_peak", lambda device, threads: Peak(fp32_gflops=100.0))
