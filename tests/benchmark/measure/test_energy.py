"""Energy from a tree of files like the kernel's, and from a fake NVML."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.measure.energy import EnergyMeter, packages

RANGE_UJ = 262_143_328_850  # of a Xeon


@pytest.fixture
def rapl(tmp_path: Path) -> Path:
    for name, label in [
        ("intel-rapl", None),
        ("intel-rapl:0", "package-0"),
        ("intel-rapl:1", "package-1"),
        ("intel-rapl:2", "psys"),
        ("intel-rapl:0:0", "dram"),
        ("intel-rapl-mmio:0", "package-0"),
    ]:
        (tmp_path / name).mkdir()
        if label is not None:
            (tmp_path / name / "name").write_text(f"{label}\n", encoding="utf-8")
            (tmp_path / name / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n", encoding="utf-8")
            count(tmp_path, name, 1_000_000)
    return tmp_path


def count(root: Path, name: str, microjoules: int) -> None:
    (root / name / "energy_uj").write_text(f"{microjoules}\n", encoding="utf-8")


def test_packages_are_counted_once_and_what_is_inside_or_around_them_is_not(rapl: Path) -> None:
    assert [package.source for package in packages(rapl)] == ["RAPL package-0", "RAPL package-1"]


def test_the_packages_add_up_in_joules(rapl: Path) -> None:
    meter = EnergyMeter(root=rapl)
    meter.start()
    count(rapl, "intel-rapl:0", 3_500_000)
    count(rapl, "intel-rapl:1", 1_250_000)
    count(rapl, "intel-rapl:0:0", 900_000_000)
    joules, source, reason = meter.stop()
    assert joules == pytest.approx(2.5 + 0.25)
    assert (source, reason) == ("RAPL package-0 + RAPL package-1", None)


def test_a_counter_that_wrapped_around_goes_on_from_zero(rapl: Path) -> None:
    count(rapl, "intel-rapl:1", RANGE_UJ - 2_000_000)
    meter = EnergyMeter(root=rapl)
    meter.start()
    count(rapl, "intel-rapl:1", 3_000_000)
    assert meter.stop()[0] == pytest.approx(5.0)


def test_each_start_begins_anew(rapl: Path) -> None:
    meter = EnergyMeter(root=rapl)
    for microjoules in (2_000_000, 5_000_000):
        meter.start()
        count(rapl, "intel-rapl:0", microjoules)
        last = meter.stop()[0]
    assert last == pytest.approx(3.0)


@given(start=st.integers(0, RANGE_UJ - 1), used=st.integers(0, RANGE_UJ - 1))
def test_less_than_one_round_is_always_told_right(
    start: int, used: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("rapl")
    (root / "intel-rapl:0").mkdir()
    (root / "intel-rapl:0" / "max_energy_range_uj").write_text(str(RANGE_UJ), encoding="utf-8")
    count(root, "intel-rapl:0", start)
    meter = EnergyMeter(root=root)
    meter.start()
    count(root, "intel-rapl:0", (start + used) % RANGE_UJ)
    joules, source, _ = meter.stop()
    assert joules == pytest.approx(used / 1e6, abs=1e-5)
    assert source == "RAPL intel-rapl:0"  # a folder without a name


def refuse(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """The tests may run as root, whom no file mode stops."""
    read = Path.read_text

    def reading(path: Path, *args: Any, **kwargs: Any) -> str:
        if path.match(part):
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", reading)


def test_a_file_that_is_root_s_alone_gives_no_joules_and_the_reason(
    rapl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the packages would be half of an answer."""
    refuse(monkeypatch, "intel-rapl:1/energy_uj")
    meter = EnergyMeter(root=rapl)
    meter.start()
    joules, source, reason = meter.stop()
    assert (joules, source) == (None, None)
    assert reason is not None and reason.startswith("intel-rapl:1/energy_uj is not readable; let this user read it")


@pytest.mark.parametrize("damage", ["gone", "no number", "no range"])
def test_a_file_that_fails_at_the_end_gives_no_joules_either(damage: str, rapl: Path) -> None:
    meter = EnergyMeter(root=rapl)
    meter.start()
    energy = rapl / "intel-rapl:0" / "energy_uj"
    if damage == "gone":
        energy.unlink()
    elif damage == "no number":
        energy.write_text("", encoding="utf-8")
    else:
        energy.write_text("0", encoding="utf-8")  # it wrapped around
        (rapl / "intel-rapl:0" / "max_energy_range_uj").unlink()
    joules, _, reason = meter.stop()
    assert joules is None
    assert reason is not None and "is not readable; " in reason


def test_a_machine_without_rapl_says_so(tmp_path: Path) -> None:
    meter = EnergyMeter(root=tmp_path)
    meter.start()
    assert meter.stop() == (None, None, "no RAPL on this machine (its kernel shows no intel-rapl)")


def test_a_meter_that_was_not_started_has_no_joules(rapl: Path) -> None:
    assert EnergyMeter(root=rapl).stop() == (None, None, "it was not started")


class FakeNvml:
    """NVML with one counter in millijoules."""

    NVMLError = type("NVMLError", (Exception,), {})

    def __init__(self, *millijoules: int) -> None:
        self.left = list(millijoules)
        self.asked: list[Any] = []

    def nvmlInit(self) -> None: ...  # noqa: N802
    def nvmlShutdown(self) -> None: ...  # noqa: N802
    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        self.asked.append(index)
        return f"gpu {index}"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        if not self.left:
            raise self.NVMLError("Not Supported")
        return self.left.pop(0)


def test_on_a_gpu_both_count(rapl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(7_000, 9_500)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    meter = EnergyMeter("cuda:1", rapl)
    meter.start()
    count(rapl, "intel-rapl:0", 2_000_000)
    joules, source, reason = meter.stop()
    assert joules == pytest.approx(1.0 + 2.5)
    assert (source, reason) == ("RAPL package-0 + RAPL package-1 + NVML GPU 1", None)
    assert set(nvml.asked) == {5}  # the second of those that CUDA may see


def test_a_gpu_alone_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(7_000, 9_500))
    meter = EnergyMeter("cuda", tmp_path)
    meter.start()
    assert meter.stop() == (2.5, "NVML GPU 0", "no RAPL on this machine (its kernel shows no intel-rapl)")


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (FakeNvml(), r"NVML does not tell the energy of GPU 0 \(Not Supported\)"),
        (None, "nvidia-ml-py is not installed; install sambench"),
    ],
)
def test_a_gpu_that_does_not_count_is_no_zero(
    module: Any, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", module)
    meter = EnergyMeter("cuda", tmp_path)
    meter.start()
    joules, _, told = meter.stop()
    assert joules is None
    assert re.search(reason, told or "")


def test_the_real_nvml_without_a_driver_gives_a_reason(tmp_path: Path) -> None:
    """The package's own errors, not a fake's."""
    pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        meter = EnergyMeter("cuda", tmp_path)
        meter.start()
        joules, _, told = meter.stop()
        assert joules is None and told is not None and "NVML does not tell the energy of GPU 0 (" in told
    else:
        pynvml.nvmlShutdown()
        pytest.skip("NVML is here")
