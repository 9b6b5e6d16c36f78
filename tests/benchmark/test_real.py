"""The numbers that docs/own-data.md promises on a real CT: accuracy, parity, and that a speedup is told."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.measure.statistics import PAIRS_NEEDED
from benchmark.results import Results
from benchmark.run import Run
from benchmark.spec import parse_spec
from exporters.manifest import Manifest, load_manifest
from exporters.sam import LoadedSam
from tests.benchmark.test_run import Silent

pytestmark = pytest.mark.slow

SPLEEN, LIVER = 0.96, 0.93


@pytest.fixture(scope="module")
def results(litemedsam_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    """With the artifact that other tests use: that a run exports one is protected by `test_run.py`."""
    from tests.benchmark.conftest import MSD_REAL

    if not MSD_REAL.is_dir():
        pytest.skip("the real volumes are not here: ../shared/msd-real is absent")
    content = {
        "name": "real",
        # Of thirty slices each as many as an interval needs, evenly spread: what is wrong is wrong in any of them.
        "data": {"root": str(MSD_REAL), "tasks": ["Task09_Spleen", "Task101_AbdomenCT"], "slices": PAIRS_NEEDED},
        "sam": {"prompts": ["box"]},
        "measure": {"samples": 1, "budget_s": 0, "warmup": 0, "scenarios": ["single-stream"]},
    }
    run = Run(parse_spec(content, "test", Path()), tmp_path_factory.mktemp("real") / "run", Silent(), "test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LoadedSam, "export", lambda _, folder: copied(litemedsam_folder, folder))
        yield run.execute()


def copied(artifact: Path, folder: Path) -> Manifest:
    shutil.copytree(artifact, folder)
    return load_manifest(folder)


def test_box_prompts_reach_the_promised_dice_on_both_backends(results: Results) -> None:
    assert len(results.cells) == 4
    for cell in results.cells:
        dice = {entry.label: entry.dice or 0 for entry in cell.dice_per_case}
        assert dice["spleen"] >= SPLEEN, cell.backend
        if cell.task == "Task101_AbdomenCT":
            assert dice["liver"] >= LIVER, cell.backend


def test_onnx_runtime_gives_pytorchs_masks(results: Results) -> None:
    for cell in results.cells:
        assert cell.parity is not None
        assert cell.parity.mask_dice is not None
        assert cell.parity.mask_dice >= 0.999
        assert cell.parity.dice_delta == pytest.approx(0, abs=5e-4)


def test_each_task_has_a_speedup_with_its_interval(results: Results) -> None:
    """Says nothing about its size: timings are for benchmarks."""
    assert {comparison.task for comparison in results.comparisons} == {"Task09_Spleen", "Task101_AbdomenCT"}
    for comparison in results.comparisons:
        assert comparison.ci95 is not None
        assert comparison.speedup is not None
        assert comparison.ci95[0] <= comparison.speedup <= comparison.ci95[1]
        assert comparison.gate == "pass"
