"""The whole line, from an MSD folder to a report, on a small phantom: with a SAM of a few operators and lanes that are
called in this process; in the slow tests with real weights and real processes."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from benchmark.data.phantom import PHANTOM_TASK, PhantomSpec, write_phantom
from benchmark.measure import group
from benchmark.records import CaseRecord, RecordStore
from benchmark.results import Results, load_results
from benchmark.run import Run
from benchmark.spec import parse_spec
from reports.html import write_html
from tests.benchmark.conftest import call_lanes_here
from tests.benchmark.fake_sam import FakeSam

PHANTOM = PhantomSpec(cases=3, slices=4, spacing_mm=(3.0, 3.0, 36.0))
SMALL = PhantomSpec(cases=3, size=64, slices=4, spacing_mm=(6.0, 6.0, 36.0))


class Silent:
    """A progress that only remembers what was begun."""

    def __init__(self) -> None:
        self.titles: list[str] = []

    def start(self, title: str, total: float) -> Callable[[float, str], None]:
        self.titles.append(title)
        return lambda amount, note: None

    def say(self, text: str) -> None: ...


@pytest.fixture(scope="module", params=["quick", pytest.param("real", marks=pytest.mark.slow)])
def real(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether LiteMedSAM and processes are used. Otherwise the fake SAM stands in for it and lanes are called here."""
    if request.param == "real":
        yield True
        return
    with pytest.MonkeyPatch.context() as patch:
        call_lanes_here(patch)
        patch.setattr("benchmark.run.load_sam", lambda name, checkpoint, seed, masks: FakeSam())
        yield False


ONLY_REAL = pytest.mark.parametrize(
    "real", [pytest.param("real", marks=pytest.mark.slow)], indirect=True, scope="module"
)
"""For what a SAM of a few operators, or a lane without a process, cannot show."""


@pytest.fixture(scope="module")
def root(real: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(folder, PHANTOM if real else SMALL)
    return folder


def make_run(root: Path, out: Path, **fields: object) -> Run:
    content = {
        "name": "small",
        "data": {"root": str(root), "tasks": [PHANTOM_TASK]},
        "sam": {"models": ["litemedsam"], "prompts": ["box", "point"]},
        "unet": {"epochs": 2, "patch": [64, 64], "channels": [8, 16, 32], "strides": [2, 2]},
        "measure": {"samples": 2, "budget_s": 1, "warmup": 1, "warmup_limit_s": 0.5, "offline_s": 3600},
        **fields,
    }
    return Run(parse_spec(content, "test", root), out, Silent(), "sambench run test")


@pytest.fixture(scope="module")
def finished(root: Path, traced_once: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Results, Path]]:
    out = tmp_path_factory.mktemp("runs") / "small"
    yield make_run(root, out).execute(), out


def test_every_cell_of_both_stages_is_measured_on_both_backends(finished: tuple[Results, Path]) -> None:
    results, _ = finished
    found = {(cell.stage, cell.prompt, cell.backend): cell for cell in results.cells}
    assert set(found) == {
        (stage, prompt, backend)
        for stage, prompts in (("pseudolabel", ("box", "point")), ("segment", ("box", "reference")))
        for prompt in prompts
        for backend in ("pytorch", "onnxruntime")
    }
    for cell in found.values():
        assert cell.status == "ok", cell.reason
        assert cell.latency_ms is not None
        assert len(cell.latency_ms.samples) >= 2
        assert cell.throughput is not None
        assert cell.throughput.value > 0
        assert all(what.device == "cpu" for what in cell.attestation.values())


def test_the_backends_give_the_same_masks(finished: tuple[Results, Path]) -> None:
    for cell in finished[0].cells:
        if cell.backend == "onnxruntime" and cell.prompt != "point":
            assert cell.parity is not None
            assert cell.parity.mask_dice is not None
            assert cell.parity.mask_dice >= 0.999
            assert cell.parity.dice_delta == pytest.approx(0, abs=5e-4)


@ONLY_REAL
def test_a_box_makes_good_pseudo_labels_of_large_organs(finished: tuple[Results, Path]) -> None:
    """Guards preprocessing and prompt geometry: a shifted box or an unwindowed image ends far below."""
    box = next(c for c in finished[0].cells if (c.stage, c.prompt, c.backend) == ("pseudolabel", "box", "onnxruntime"))
    liver = [entry.dice for entry in box.dice_per_case if entry.label == "liver" and entry.dice is not None]
    assert liver
    assert np.mean(liver) > 0.9


def test_surfaces_are_measured_and_weak_is_set_against_full(finished: tuple[Results, Path], real: bool) -> None:
    """One test case: a difference of both UNets on each backend, and plainly no interval."""
    results, _ = finished
    box = next(c for c in results.cells if (c.stage, c.prompt, c.backend) == ("pseudolabel", "box", "pytorch"))
    liver = [entry for entry in box.surface_per_case if entry.label == "liver"]
    assert len(liver) == PHANTOM.cases and all(
        entry.nsd is not None and entry.nsd > (0.7 if real else 0.5) for entry in liver
    )
    assert box.hd95_mm is not None and 0 < box.hd95_mm < 40
    effects = [effect for effect in results.supervision if effect.label is None]
    assert [(effect.labels, effect.backend) for effect in effects] == [("box", "pytorch"), ("box", "onnxruntime")]
    for effect in effects:
        assert effect.difference is not None and effect.ci95 is None and effect.cases == 1
        assert effect.reason is not None and "one case is no evidence of accuracy" in effect.reason


def test_no_case_is_trained_and_tested_on(finished: tuple[Results, Path]) -> None:
    (task,) = finished[0].tasks
    assert set(task.train_cases) | set(task.test_cases) == set(task.cases)
    assert not set(task.train_cases) & set(task.test_cases)
    for cell in finished[0].cells:
        if cell.stage == "segment":
            assert {entry.case for entry in cell.dice_per_case} == set(task.test_cases)
    for training in finished[0].trainings:
        assert training.cases == task.train_cases


def test_pseudo_labels_lie_in_the_images_own_grid(finished: tuple[Results, Path], root: Path, real: bool) -> None:
    files = sorted((finished[1] / "pseudolabels").rglob("box/*.nii.gz"))
    assert len(files) == PHANTOM.cases
    for file in files:
        label, image = nib.load(file), nib.load(root / PHANTOM_TASK / "imagesTr" / file.name)
        assert label.shape == image.shape
        np.testing.assert_allclose(label.affine, image.affine)
        reference = np.asarray(nib.load(root / PHANTOM_TASK / "labelsTr" / file.name).dataobj)
        liver = np.asarray(label.dataobj) == 1
        overlap = 2 * np.sum(liver & (reference == 1)) / (np.sum(liver) + np.sum(reference == 1))
        # The fake SAM answers a box with all that it holds.
        assert overlap > (0.85 if real else 0.7), "read by nibabel alone, the liver lies where the reference has it"


@ONLY_REAL
def test_each_lane_lived_in_a_process_of_its_own_and_told_of_it(finished: tuple[Results, Path]) -> None:
    """In processes, so that recipes with real weights, volumes and settings were sent there."""
    results, out = finished
    for cell in results.cells:
        assert cell.worker is not None
        assert cell.memory is not None and cell.memory.peak_mib is not None and cell.memory.before_mib is not None
        assert 0 < cell.memory.before_mib < cell.memory.peak_mib == cell.memory_mib
        assert cell.warmup is not None and (cell.warmup.samples_ms or cell.warmup.reason)
        assert cell.energy is not None and (cell.energy.joules_per_unit is not None or cell.energy.reason)
        assert cell.device_latency_ms is not None and cell.latency_ms is not None
        assert len(cell.device_latency_ms.samples) == len(cell.latency_ms.samples)
        for both in zip(cell.device_latency_ms.samples, cell.latency_ms.samples, strict=True):
            assert 0 < both[0] <= both[1], "what the modules took is a part of the whole"
        assert set(cell.modules) == ({"encoder", "decoder"} if cell.stage == "pseudolabel" else {"unet"})
        for module in cell.modules.values():
            assert module.calls > 0 and module.gflops_per_call is not None and module.gflops_per_call > 0
            # A machine that other work slowed while its peak was measured reaches more than that, which is told.
            slowed = module.reason is not None and "above the measured peak" in module.reason
            assert slowed if module.share_of_peak is None else module.share_of_peak > 0
    logs = {path.name for path in (out / "logs").rglob("*.log")}
    assert logs == {"pytorch.log", "onnxruntime.log"}


def test_a_run_tells_where_its_time_went_and_what_the_machine_can_do(finished: tuple[Results, Path]) -> None:
    results, _ = finished
    took = results.measuring
    assert took is not None
    assert 0 < took.busy <= took.wall
    assert took.starting > 0 and took.data > 0 and took.scoring > 0
    assert 0 <= took.parent_cpu < took.wall
    peak = results.peak["cpu"]
    assert peak.fp32_gflops is not None and peak.fp32_gflops > 0
    assert all(comparison.margin >= 0.02 for comparison in results.comparisons)


def test_what_was_written_is_what_was_returned(finished: tuple[Results, Path]) -> None:
    results, out = finished
    assert load_results(out) == results
    for picture in results.pictures:
        for name in (picture.image, picture.reference, *picture.predictions.values()):
            assert (out / name).is_file()
    page = write_html(results, out).read_text(encoding="utf-8")
    assert "ONNX Runtime" in page


def test_every_export_that_ran_is_named_with_the_hashes_of_its_files(
    finished: tuple[Results, Path], real: bool
) -> None:
    results, out = finished
    exported = {cell.model for cell in results.cells} - (
        set() if real else {"litemedsam"}
    )  # the fake one has no manifest
    assert {artifact.model for artifact in results.artifacts} == exported
    for artifact in results.artifacts:
        assert artifact.files
        for name, sha256 in artifact.files.items():
            assert hashlib.sha256((out / artifact.folder / name).read_bytes()).hexdigest() == sha256
    trained = {training.checkpoint_sha256 for training in results.trainings}
    assert trained <= {artifact.weights_sha256 for artifact in results.artifacts}
    assert all(task.data_sha256 for task in results.tasks)


def test_running_again_measures_exports_and_trains_nothing(
    finished: tuple[Results, Path], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was done again")

    monkeypatch.setattr(group, "open_bench", refuse)
    monkeypatch.setattr("exporters.sam.export_artifact", refuse)
    monkeypatch.setattr("exporters.unet.export_artifact", refuse)
    monkeypatch.setattr("benchmark.training.loop.train_unet", refuse)
    again = make_run(root, finished[1]).execute()
    assert again.cells == finished[0].cells
    assert again.comparisons == finished[0].comparisons


@pytest.mark.usefixtures("in_process")
def test_an_interrupted_run_goes_on_with_the_cases_that_are_missing(
    finished: tuple[Results, Path], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished[1] / "artifacts", out / "artifacts")
    shutil.copy(finished[1] / "spec.yaml", out)
    save, saved = RecordStore.save, []

    def interrupt_after_the_first(store: RecordStore, record: CaseRecord) -> None:
        if saved:
            raise KeyboardInterrupt
        save(store, record)
        saved.append(record.case)

    measure = {"samples": 1, "budget_s": 0, "warmup": 0, "scenarios": ["single-stream"]}
    only_labels = {"unet": None, "sam": {"prompts": ["box"]}, "measure": measure}
    monkeypatch.setattr(RecordStore, "save", interrupt_after_the_first)
    with pytest.raises(KeyboardInterrupt):
        make_run(root, out, **only_labels).execute()
    assert not (out / "results.json").exists()
    assert not [path for path in out.rglob("*") if path.name.startswith(".") and path.name != ".elapsed"]

    measured = []

    def note_and_save(store: RecordStore, record: CaseRecord) -> None:
        measured.append(record.case)
        save(store, record)

    monkeypatch.setattr(RecordStore, "save", note_and_save)
    results = make_run(root, out, **only_labels).execute()
    assert saved == ["phantom_001"]
    assert measured == ["phantom_002", "phantom_003"]
    assert all(cell.status == "ok" for cell in results.cells)


@pytest.mark.usefixtures("in_process")
def test_a_trained_unet_can_be_brought_as_a_checkpoint(
    finished: tuple[Results, Path], root: Path, tmp_path: Path
) -> None:
    checkpoint = next((finished[1] / "models").glob("*reference*.pt"))
    unet = {"checkpoints": [str(checkpoint)]}
    results = make_run(root, tmp_path / "run", sam=None, unet=unet, precisions=["int8-static", "fp16"]).execute()
    found = {(cell.stage, cell.backend, cell.precision): cell for cell in results.cells}
    assert set(found) == {
        ("segment", "pytorch", "fp32"),
        ("segment", "onnxruntime", "int8-static"),
        ("segment", "onnxruntime", "fp16"),
    }
    assert found["segment", "pytorch", "fp32"].status == "ok"
    for cell in found.values():
        assert cell.attestation["unet"].precision == cell.precision
        # A network of two epochs may lose too much in a smaller type: then it is refused with the gate's reason.
        assert cell.status == "ok" or "Dice" in str(cell.reason)
    assert not results.trainings
