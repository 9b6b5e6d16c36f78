"""A run of several precisions from an MSD folder to its results, on a phantom and a SAM of a few operators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from benchmark import run as running
from benchmark.data.phantom import PHANTOM_TASK, PhantomSpec, write_phantom
from benchmark.measure import group
from benchmark.prompts.pieces import number_pieces
from benchmark.records import RecordStore
from benchmark.results import Cell, Effort, Results, load_results
from benchmark.run import Run
from benchmark.spec import parse_spec
from exporters.manifest import RANDOM_WEIGHTS, Weights
from tests.benchmark.fake_sam import FakeSam

pytestmark = pytest.mark.usefixtures("in_process")

PHANTOM = PhantomSpec(cases=2, size=64, slices=4, spacing_mm=(6.0, 6.0, 36.0))


class Silent:
    def start(self, title: str, total: float) -> Callable[[float, str], None]:
        return lambda amount, note: None

    def say(self, text: str) -> None: ...


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(folder, PHANTOM)
    return folder


Execute = Callable[..., Results]


@pytest.fixture
def execute(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Execute:
    def run(fake: FakeSam, **fields: Any) -> Results:
        content = {
            "name": "lanes",
            "data": {"root": str(root), "tasks": [PHANTOM_TASK]},
            "precisions": ["fp32", "int8"],
            "measure": {"samples": 8, "budget_s": 1, "warmup": 0, "pause_ms": 0, "threads": 1, "offline_s": 3600},
            **fields,
        }
        monkeypatch.setattr(running, "load_sam", lambda name, checkpoint, seed, masks: fake)
        return Run(parse_spec(content, "test", root), tmp_path / "run", Silent(), "sambench run test").execute()

    return run


def by_lane(results: Results) -> dict[tuple[str, str], Cell]:
    return {(cell.backend, cell.precision): cell for cell in results.cells}


def test_a_poor_int8_export_is_invalid_without_a_latency_and_fp32_beside_it_is_measured(
    execute: Execute, tmp_path: Path
) -> None:
    sam = FakeSam(factor=0.8)
    results = execute(sam)
    assert sam.exported == ["fp32", "int8"]
    cells = by_lane(results)
    assert list(cells) == [("pytorch", "fp32"), ("onnxruntime", "fp32"), ("onnxruntime", "int8")]
    for full in (cells["pytorch", "fp32"], cells["onnxruntime", "fp32"]):
        assert full.status == "ok" and full.latency_ms is not None, full.reason
        assert full.dice is not None and full.dice > 0.5
    poor = cells["onnxruntime", "int8"]
    assert poor.status == "invalid"
    assert poor.reason is not None and "is below 99.9% of pytorch's" in poor.reason
    assert (poor.latency_ms, poor.throughput, poor.phases_ms) == (None, None, {})
    assert {part: what.precision for part, what in poor.attestation.items()} == {"encoder": "fp32", "decoder": "int8"}
    assert [(c.candidate, c.precision, c.gate) for c in results.comparisons] == [
        ("onnxruntime", "fp32", "pass"),
        ("onnxruntime", "int8", "fail"),
    ]
    assert load_results(tmp_path / "run") == results
    shown = results.pictures[0]
    assert set(shown.predictions) == {"pytorch", "onnxruntime", "onnxruntime int8"}
    assert all((tmp_path / "run" / name).is_file() for name in shown.predictions.values())


def test_a_good_int8_export_is_measured_beside_fp32(execute: Execute) -> None:
    """The counterpart: the gate looks at the masks, not at the name."""
    cells = by_lane(execute(FakeSam(factor=1.0), precisions=["int8"], backends=["onnxruntime"]))
    assert list(cells) == [("onnxruntime", "int8")]
    assert cells["onnxruntime", "int8"].status == "ok"
    cells = by_lane(execute(FakeSam(factor=1.0), precisions=["int8"]))
    assert list(cells) == [("pytorch", "fp32"), ("onnxruntime", "int8")]
    int8 = cells["onnxruntime", "int8"]
    assert int8.parity is not None and int8.parity.mask_dice is not None and int8.parity.mask_dice > 0.95


def test_lanes_that_are_recorded_are_not_measured_again_and_another_precision_measures_all(
    execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[list[str]] = []
    open_bench = group.open_bench
    monkeypatch.setattr(group, "open_bench", lambda s, *rest: opened.append([*map(str, s)]) or open_bench(s, *rest))
    first = execute(FakeSam())
    assert execute(FakeSam()).cells == first.cells
    execute(FakeSam(), precisions=["fp32"])
    assert opened == [["pytorch", "onnxruntime", "onnxruntime int8"], ["pytorch", "onnxruntime"]]


@pytest.mark.parametrize("change", [{"per": "component"}, {"min_pixels": 9}, {"prompts_per_call": 1}])
def test_what_decides_a_mask_or_its_time_makes_earlier_records_useless(
    change: dict[str, Any], execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    open_bench = group.open_bench
    monkeypatch.setattr(group, "open_bench", lambda s, *rest: opened.append(s) or open_bench(s, *rest))
    for settings in ({}, change, change, {}):
        execute(FakeSam(), precisions=["fp32"], sam=settings)
    assert len(opened) == 2


def test_another_choice_of_masks_is_another_artifact_and_other_settings_are_not(
    execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[str] = []
    ensure = running.ensure_artifact
    monkeypatch.setattr(running, "ensure_artifact", lambda *given: keys.append(given[2]) or ensure(*given))
    for settings in ({"masks": "one"}, {"masks": "three"}, {"per": "component"}):
        execute(FakeSam(), precisions=["fp32"], sam=settings)
    assert keys[0] == keys[2] != keys[1]


def test_effort_is_in_the_records_and_the_cells_and_objects_are_pairs_of_slice_and_label(
    execute: Execute, root: Path, tmp_path: Path
) -> None:
    """Two components of a label are two boxes for one object, so that effort can be set against its Dice."""
    strategies = ["box", "box+point", "box-every2", "iterative3"]
    sam = {"prompts": strategies, "per": "component", "prompts_per_call": 3}
    results = execute(FakeSam(), precisions=["fp32"], sam=sam)
    labels = [np.asarray(nib.load(file).dataobj) for file in (root / PHANTOM_TASK / "labelsTr").glob("*.nii.gz")]
    drawn = [
        label[:, :, z] == value for label in labels for z in range(label.shape[2]) for value in np.unique(label)[1:]
    ]
    objects = sum(mask.any() for mask in drawn)
    components = sum(number_pieces(mask).max() for mask in drawn)
    assert components > objects, "the phantom has a label in two pieces"
    for backend in ("pytorch", "onnxruntime"):
        effort = {cell.prompt: cell.effort for cell in results.cells if cell.backend == backend}
        assert {found.objects for found in effort.values() if found} == {objects}
        assert effort["box"] == Effort(clicks=0, boxes=components, objects=objects)
        assert effort["box+point"] == Effort(clicks=components, boxes=components, objects=objects)
        # The fake answers clicks with nothing, so every component takes all three.
        assert effort["iterative3"] == Effort(clicks=3 * components, boxes=0, objects=objects)
        every = effort["box-every2"]
        assert every is not None and 0 < every.boxes < components
    (folder,) = (tmp_path / "run" / "records").iterdir()
    records = [RecordStore(folder).load(file.stem) for file in sorted(folder.glob("*.json"))]
    lanes = [record.lanes["onnxruntime"] for record in records if record]
    assert sum(lane.effort["box"].boxes for lane in lanes) == components
    assert all(set(lane.effort) == set(strategies) for lane in lanes)


def test_random_weights_give_speed_and_mask_parity_and_no_accuracy(execute: Execute) -> None:
    fake = FakeSam(factor=0.8, weights=Weights(source="random", seed=7))
    results = execute(fake, sam={"random_weights": 7})
    *full, poor = results.cells
    assert poor.status == "invalid" and poor.dice is None
    assert poor.reason is not None and poor.reason.startswith("its masks overlap pytorch's with Dice")
    for cell in full:
        assert cell.status == "ok" and cell.latency_ms is not None
        assert cell.dice is None and {entry.reason for entry in cell.dice_per_case} == {RANDOM_WEIGHTS}
        assert cell.parity is not None and cell.parity.mask_dice is not None and cell.parity.mask_dice >= 0.999
    assert {picture.dice_reason for picture in results.pictures} == {RANDOM_WEIGHTS}


@pytest.mark.parametrize(
    ("sam", "asked"),
    [
        ({}, (None, None, "one")),
        ({"random_weights": 7, "masks": "three"}, (None, 7, "three")),
        ({"random_weights": 7, "checkpoints": {"litemedsam": "w.pth"}}, ("w.pth", None, "one")),
    ],
)
def test_a_model_is_loaded_with_the_weights_that_the_specification_names(
    sam: dict[str, Any], asked: tuple[str | None, int | None, str], root: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    told: list[tuple[str, str | None, int | None, str]] = []

    class LoadedError(Exception):
        pass

    def load(name: str, checkpoint: Path | None, seed: int | None, masks: str) -> None:
        told.append((name, checkpoint and checkpoint.name, seed, masks))
        raise LoadedError

    monkeypatch.setattr(running, "load_sam", load)
    (tmp_path / "w.pth").write_bytes(b"")
    content = {"name": "lanes", "data": {"root": str(root), "tasks": [PHANTOM_TASK]}, "sam": sam}
    with pytest.raises(LoadedError):
        Run(parse_spec(content, "test", tmp_path), tmp_path / "run", Silent(), "").execute()
    assert told == [("litemedsam", *asked)]
