"""Which lanes a run leaves out, and that it says so: without the flag what is missing is one error, never a CPU run."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

from benchmark import availability, devices, preflight
from benchmark.availability import available, lane_absence, require_lanes
from benchmark.errors import InputError
from benchmark.results import LaneKey
from benchmark.spec import Spec
from runners.base import Runner
from runners.registry import BACKENDS, import_backend

NO_DRIVER = "no NVIDIA driver on this machine"


def spec_with(**fields: object) -> Spec:
    return Spec.model_validate({"name": "run", "data": {"root": "x", "tasks": ["T"]}, **fields})


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (availability, devices):
        monkeypatch.setattr(module, "cuda_absence", lambda index=0: NO_DRIVER)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("devices", [["cuda"], ["cpu", "cuda"], ["cuda", "cpu"], ["cuda:1", "cpu"]])
@pytest.mark.parametrize("backends", [*itertools.permutations(("pytorch", "onnxruntime")), ("dummy",)])
def test_an_absent_device_is_one_error_in_every_order_and_says_both_ways_out(devices, backends) -> None:
    with pytest.raises(InputError) as refused:
        require_lanes(spec_with(devices=devices, backends=list(backends)), skip_unavailable=False)
    told = str(refused.value)
    for words in ("devices: cuda", NO_DRIVER, "`sambench doctor`", "--skip-unavailable"):
        assert words in told


@pytest.mark.usefixtures("no_gpu")
def test_skipping_keeps_what_runs_in_its_order_and_names_the_reason_of_the_rest() -> None:
    spec = spec_with(devices=["cuda", "cpu"], backends=["pytorch", "onnxruntime"], precisions=["fp32", "int8"])
    found = require_lanes(spec, skip_unavailable=True)
    lanes = (LaneKey("pytorch"), LaneKey("onnxruntime"), LaneKey("onnxruntime", "int8"))
    assert (found.on("cpu"), found.on("cuda")) == (lanes, ())
    assert found.anywhere == lanes and found.backends == {"pytorch", "onnxruntime"}
    assert found.skipped("cpu") == {}
    assert found.skipped("cuda") == dict.fromkeys(lanes, f"device cuda: {NO_DRIVER}")


@pytest.mark.usefixtures("no_gpu")
def test_where_nothing_is_left_it_is_an_error_and_no_empty_report() -> None:
    with pytest.raises(InputError, match=f"nothing of this run is available here: .*{NO_DRIVER}; `sambench doctor`"):
        require_lanes(spec_with(devices=["cuda"]), skip_unavailable=True)


@pytest.mark.usefixtures("no_gpu")
def test_the_device_to_train_on_cannot_be_skipped() -> None:
    spec = spec_with(devices=["cpu"], unet={"device": "cuda"})
    for skip in (False, True):
        with pytest.raises(InputError, match=r"unet\.device: cuda cannot be used") as refused:
            require_lanes(spec, skip)
        assert "--skip-unavailable" not in str(refused.value)


def test_a_backend_that_is_not_installed_is_skipped_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "runners.openvino", raising=False)
    spec = spec_with(backends=["pytorch", "openvino"])
    found = available(spec)
    assert found.on("cpu") == (LaneKey("pytorch"),)
    assert 'pip install "sambench[openvino]"' in found.skipped("cpu")[LaneKey("openvino")]
    # Its options cannot be asked of it, and those of the others still are.
    preflight.require_options(spec_with(backends=["pytorch", "openvino"], options={"openvino": {"x": 1}}), {"pytorch"})
    with pytest.raises(InputError, match=r"options\.pytorch"):
        preflight.require_options(spec_with(options={"pytorch": {"x": 1}}), found.backends)


def test_what_a_backend_says_of_a_device_and_of_a_precision_on_it_is_the_reason(monkeypatch) -> None:
    dummy: type[Runner] = import_backend("dummy")
    assert lane_absence(LaneKey("dummy"), "cpu") is None
    assert "fp16" in str(lane_absence(LaneKey("dummy", "fp16"), "cpu"))
    monkeypatch.setattr(dummy, "absence", classmethod(lambda cls, device: f"not on {device}"))
    assert lane_absence(LaneKey("dummy"), "cpu") == "not on cpu"


def test_every_backend_of_the_registry_can_be_asked_without_loading_a_model() -> None:
    for backend in BACKENDS:
        told = lane_absence(LaneKey(backend), "cpu")
        assert told is None or isinstance(told, str)


@pytest.mark.usefixtures("no_gpu")
def test_the_command_says_it_too(sambench, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("name: t\ndata: {root: ., tasks: [T]}\ndevices: [cuda]\n", encoding="utf-8")
    for flag, words in ((), "--skip-unavailable"), (("--skip-unavailable",), "nothing of this run is available"):
        code, _, err = sambench("run", path, *flag, "--out", tmp_path / "run")
        assert code == 2 and err.startswith("error: ") and words in err
        assert not (tmp_path / "run").exists()


def test_a_backend_that_runs_on_none_of_the_devices_is_skipped_with_the_reason_and_not_forgotten() -> None:
    found = availability.available(spec_with(backends=["pytorch", "tensorrt"], devices=["cpu"]))
    assert [str(lane) for lane in found.on("cpu")] == ["pytorch"]
    ((lane, reason),) = found.skipped("cpu").items()
    assert lane.backend == "tensorrt" and "not applicable to device cpu" in reason
