"""Every kind of segmentation network that people bring goes through one run: exported, both backends, parity, gate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from benchmark.data.phantom import PHANTOM_TASK, PhantomSpec, write_phantom
from benchmark.run import Run
from benchmark.spec import parse_spec
from exporters.manifest import load_manifest
from exporters.unet import build_unet, load_unet, unet_checkpoint
from exporters.unet_config import SlidingWindow, UNetConfig, Volumes, monai_unet
from tests.benchmark.test_run import Silent
from tests.exporters.monai_networks import ARGUMENTS, network_of
from tests.exporters.test_bundle import METADATA, inference

# Of processes that need MONAI, each takes ten seconds to start; recipes are pickled here as if they went to one.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_process")]

LABELS = {1: "liver", 2: "spleen"}
PATCH = (32, 32, 8)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(folder, PhantomSpec(cases=2, size=48, slices=12, spacing_mm=(8.0, 8.0, 10.0)))
    return folder


def ours(dims: int, spacing: tuple[float, float, float] | None = None) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        windows = SlidingWindow(patch=PATCH[:dims])
        seen = Volumes(spacing=spacing) if dims == 3 else None
        config = monai_unet(LABELS, windows, (4, 8), (2,), 1, seen)
        torch.manual_seed(1)
        torch.save(unet_checkpoint(config, build_unet(config)), folder / "unet.pt")
        return folder / "unet.pt"

    return write


def described(name: str, dims: int) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        torch.save(network_of(name, dims).state_dict(), folder / "weights.pt")
        content = {"network": name, "arguments": ARGUMENTS[name], "patch": list(PATCH[:dims]), "weights": "weights.pt"}
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**content, "labels": LABELS, "overlap": 0.5}))
        return path

    return write


def bundle(folder: Path) -> Path:
    """As MONAI's model zoo lays it out."""
    made = folder / "bundle"
    # The zoo's 1.5 mm would make thousands of windows of the phantom.
    for name, content in (
        ("configs/inference.json", {**inference(), "pixdim": [7.0, 8.0, 10.0]}),
        ("configs/metadata.json", METADATA),
    ):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(json.dumps(content))
    arguments = {k: v for k, v in inference()["network_def"].items() if k != "_target_"}
    from monai.networks.nets import UNet

    torch.manual_seed(1)
    (made / "models").mkdir()
    torch.save(UNet(**arguments).state_dict(), made / "models" / "model.pt")
    return made


@pytest.mark.parametrize(
    ("write", "unit", "kind"),
    [
        pytest.param(ours(2), "batch of up to 4 slices", "axial slices", id="our 2-D UNet"),
        pytest.param(ours(3), "volume", "whole volumes in their own grid", id="our 3-D UNet"),
        pytest.param(ours(3, (6.0, 6.0, 12.0)), "volume", "a grid of 6 × 6 × 12 mm", id="our 3-D UNet, resampled"),
        pytest.param(described("DynUNet", 3), "volume", "whole volumes", id="DynUNet"),
        pytest.param(described("SegResNet", 3), "volume", "whole volumes", id="SegResNet"),
        pytest.param(described("SegResNet", 2), "batch of up to 4 slices", "axial slices", id="SegResNet in 2-D"),
        pytest.param(bundle, "volume", "MONAI: Orientationd, Spacingd, ScaleIntensityRanged", id="a MONAI bundle"),
    ],
)
def test_both_backends_run_it_and_give_the_same_masks(
    write: Callable[[Path], Path], unit: str, kind: str, root: Path, tmp_path: Path
) -> None:
    path = write(tmp_path)
    content = {
        "name": "networks",
        "data": {"root": str(root), "tasks": [PHANTOM_TASK]},
        "sam": None,
        "unet": {"checkpoints": [str(path)], "windows_per_batch": 4},
        "measure": {"samples": 2, "budget_s": 0, "warmup": 1, "warmup_limit_s": 0.5, "offline_s": 3600},
    }
    results = Run(parse_spec(content, "test", tmp_path), tmp_path / "run", Silent(), "sambench run test").execute()
    loaded = load_unet(path)
    assert [(cell.backend, cell.status) for cell in results.cells] == [("pytorch", "ok"), ("onnxruntime", "ok")]
    for cell in results.cells:
        assert (cell.model, cell.latency_unit) == (loaded.config.name, unit)
        assert cell.preprocessing is not None and kind in cell.preprocessing
        assert cell.sliding_window is not None
        assert cell.sliding_window["patch"] == list(loaded.config.windows.patch)
        assert cell.sliding_window["windows_per_batch"] == 4
        assert cell.throughput is not None and cell.throughput.unit == "volumes/min"
        assert cell.window_latency_ms is not None and len(cell.window_latency_ms.samples) >= 2
        assert cell.first_shape_ms
        assert cell.parity is not None and cell.parity.mask_dice is not None and cell.parity.mask_dice >= 0.999
    assert [comparison.gate for comparison in results.comparisons] == ["pass"]
    (artifact,) = (tmp_path / "run" / "artifacts").iterdir()
    manifest = load_manifest(artifact)
    assert manifest.files["unet"].inputs[0].dims[0] == "B"
    assert UNetConfig.model_validate(manifest.settings) == loaded.config


def test_the_specification_may_change_overlap_and_blending(root: Path, tmp_path: Path) -> None:
    content = {
        "name": "networks",
        "data": {"root": str(root), "tasks": [PHANTOM_TASK], "cases": 1},
        "sam": None,
        "unet": {"checkpoints": [str(ours(3)(tmp_path))], "overlap": 0.5, "blending": "gaussian"},
        "measure": {"samples": 1, "budget_s": 0, "warmup": 0, "offline_s": 3600},
        "backends": ["pytorch"],
    }
    results = Run(parse_spec(content, "test", tmp_path), tmp_path / "run", Silent(), "sambench run test").execute()
    (cell,) = results.cells
    assert cell.sliding_window is not None
    assert (cell.sliding_window["overlap"], cell.sliding_window["blending"]) == (0.5, "gaussian")
