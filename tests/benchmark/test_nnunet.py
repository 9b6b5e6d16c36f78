"""A model that nnU-Net itself trained: exported, run by both backends, and held against nnU-Net's own predictor."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from benchmark.data.msd import Task, open_task
from benchmark.data.phantom import PHANTOM_TASK, PhantomSpec, write_phantom
from benchmark.data.stored import from_stored
from benchmark.data.volume import load_volume
from benchmark.lanes import module_source
from benchmark.metrics import dice_per_label
from benchmark.run import Run
from benchmark.spec import parse_spec
from benchmark.stages.unet_input import unet_input
from benchmark.stages.windows import WindowedNetwork
from exporters.manifest import load_manifest
from exporters.unet import load_unet
from runners.device import Device
from runners.registry import make_runner
from tests.benchmark.test_run import Silent
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

nnunetv2 = pytest.importorskip("nnunetv2", reason="nnU-Net (the extra `nnunet`) is not installed")

PHANTOM = PhantomSpec(cases=4, size=64, slices=14, spacing_mm=(6.0, 6.0, 8.0))
CONFIGURATIONS = ("2d", "3d_fullres")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return open_task(write_phantom(tmp_path_factory.mktemp("phantom"), PHANTOM))


@pytest.fixture(scope="module")
def models(task: Task, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each configuration's model, trained for two short epochs."""
    out = tmp_path_factory.mktemp("nnunet")
    command = [sys.executable, "-m", "tests.benchmark.train_nnunet", str(task.folder), str(out), *CONFIGURATIONS]
    done = subprocess.run(command, cwd=REPOSITORY, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    folders = [Path(line.removeprefix("model: ")) for line in done.stdout.splitlines() if line.startswith("model: ")]
    return dict(zip(CONFIGURATIONS, folders, strict=True))


def nnunets_own(model: Path, task: Task, sums: torch.dtype) -> np.ndarray:
    """What nnU-Net's own predictor says of the first case, read by its own reader, in LPS.

    Args:
        sums: the precision in which windows are added up. nnU-Net's is half, in which the weights at a window's corners
            vanish or keep a digit; with single precision the same code tells what it means to compute.
    """
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
    from nnunetv2.inference import predict_from_raw_data

    predictor = predict_from_raw_data.nnUNetPredictor(
        perform_everything_on_device=False, device=torch.device("cpu"), verbose=False, allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(model), ("all",), "checkpoint_final.pth")
    image, properties = SimpleITKIO().read_images([str(task.cases[0].image)])
    weights = partial(predict_from_raw_data.compute_gaussian, dtype=sums)
    with patch.object(torch, "half", sums), patch.object(predict_from_raw_data, "compute_gaussian", weights):
        answer = predictor.predict_single_npy_array(image, properties)
    geometry = load_volume(task, task.cases[0]).geometry
    return from_stored(np.ascontiguousarray(answer.transpose(2, 1, 0)).astype(np.uint8), geometry)


@pytest.mark.usefixtures("traced_once")
@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_both_backends_answer_as_nnunets_own_predictor(
    configuration: str, models: dict[str, Path], task: Task, tmp_path: Path
) -> None:
    """Preprocessing, windows, blending, mirroring and the way back are nnU-Net's: its masks come out.

    Of one case, since the phantom's others have the same grid; it is seen in many windows, eight mirrored ways in 3-D.
    """
    model = models[configuration]
    loaded = load_unet(model)
    loaded.export(tmp_path / "artifact")
    source = module_source(loaded.unet, tmp_path / "artifact")
    seen_as = unet_input(loaded.config)
    meant = nnunets_own(model, task, torch.float32)
    shipped = nnunets_own(model, task, torch.float16)
    assert np.count_nonzero(meant) > 100, "a model that finds nothing could not tell"
    prepared = seen_as.prepare(load_volume(task, task.cases[0]))
    for backend in ("pytorch", "onnxruntime"):
        with make_runner(backend, source, Device.parse("cpu"), 2) as runner:
            network = WindowedNetwork(runner, loaded.config.windows, 4)
            found = seen_as.labels(prepared, network(prepared.image))
        assert network.seen > 4, "one window would not show how windows are blended"
        assert np.count_nonzero(found != meant) <= np.count_nonzero(meant) // 2000, backend
        dice = dice_per_label(found, shipped, {1: "liver"})["liver"]
        assert dice is not None and dice >= 0.99, f"{backend}: {dice}"


@pytest.mark.usefixtures("in_process", "traced_once")
def test_a_run_measures_it_as_any_other_network(models: dict[str, Path], task: Task, tmp_path: Path) -> None:
    model = models["3d_fullres"]
    content = {
        "name": "nnunet",
        "data": {"root": str(task.folder.parent), "tasks": [PHANTOM_TASK], "cases": 1},
        "sam": None,
        "unet": {"checkpoints": [str(model)]},
        "measure": {"samples": 2, "budget_s": 0, "warmup": 1, "warmup_limit_s": 0.5, "offline_s": 3600},
    }
    results = Run(parse_spec(content, "test", tmp_path), tmp_path / "run", Silent(), "sambench run test").execute()
    assert [(cell.backend, cell.status) for cell in results.cells] == [("pytorch", "ok"), ("onnxruntime", "ok")]
    for cell in results.cells:
        assert cell.model == load_unet(model).config.name
        assert cell.preprocessing is not None and cell.preprocessing.startswith("nnU-Net's DefaultPreprocessor")
        assert cell.sliding_window is not None
        assert cell.sliding_window["steps"] == "even" and cell.sliding_window["blending"] == "gaussian"
        assert cell.throughput is not None and cell.throughput.unit == "volumes/min"
        assert cell.window_latency_ms is not None
        assert cell.first_shape_ms
        assert cell.parity is not None and cell.parity.mask_dice is not None and cell.parity.mask_dice >= 0.999
        assert cell.latency_unit == "volume"
    assert [comparison.gate for comparison in results.comparisons] == ["pass"]
    (artifact,) = (tmp_path / "run" / "artifacts").iterdir()
    assert load_manifest(artifact).files["unet"].inputs[0].dims[0] == "B"
