"""Device names, and the question whether CUDA is there, asked of the driver."""

from __future__ import annotations

import ctypes
import re
from typing import Any

import pytest

from runners import device
from runners.device import Device, cuda_absence, cuda_driver, visible_devices


@pytest.mark.parametrize(
    ("text", "kind", "index"),
    [("cpu", "cpu", 0), ("cuda", "cuda", 0), ("cuda:0", "cuda", 0), ("cuda:1", "cuda", 1), ("cuda:12", "cuda", 12)],
)
def test_device_names_are_read(text: str, kind: str, index: int) -> None:
    assert Device.parse(text) == Device(kind, index)


@pytest.mark.parametrize(
    "text", ["", "gpu", "cpu:0", "cuda:", "cuda:-1", "cuda:x", "cuda:1:2", "CUDA", "cuda 1", " cpu", "mps", "cuda1"]
)
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a device; use cpu, cuda or cuda:N"):
        Device.parse(text)


@pytest.mark.parametrize("text", ["cpu", "cuda", "cuda:3"])
def test_a_device_prints_as_it_is_read(text: str) -> None:
    assert str(Device.parse(text)) == text
    assert Device.parse(str(Device.parse(text))) == Device.parse(text)


class FakeDriver:
    def __init__(self, start: int, count: int) -> None:
        self.start, self.count = start, count

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.start

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        ctypes.cast(count, ctypes.POINTER(ctypes.c_int))[0] = self.count
        return 0


@pytest.mark.parametrize(
    ("driver", "index", "reason"),
    [
        (FakeDriver(0, 1), 0, None),
        (FakeDriver(0, 2), 1, None),
        (FakeDriver(0, 1), 1, r"shows 1 GPU\(s\), so there is no cuda:1"),
        (FakeDriver(0, 0), 0, r"shows 0 GPU\(s\)"),
        (FakeDriver(100, 0), 0, r"does not start \(cuInit returned 100\)"),
    ],
)
def test_the_drivers_answer_decides(
    driver: FakeDriver, index: int, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: driver)
    told = cuda_absence(index)
    assert told is None if reason is None else re.search(reason, told or "")


@pytest.mark.parametrize(("driver", "shown"), [(FakeDriver(0, 3), 3), (FakeDriver(0, 0), 0), (FakeDriver(100, 2), 0)])
def test_as_many_devices_are_visible_as_the_driver_shows(
    driver: FakeDriver, shown: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: driver)
    assert visible_devices() == shown


@pytest.mark.parametrize(("platform", "library"), [("linux", "libcuda.so.1"), ("win32", "nvcuda.dll")])
def test_a_missing_driver_is_named(platform: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(device.sys, "platform", platform)
    monkeypatch.setattr(device.ctypes, "CDLL", missing)
    assert cuda_absence() == f"no NVIDIA driver on this machine ({library} is not there)"


class FakeVersions:
    """libcuda and NVML in one: CUDA's number, and the driver's version where NVML starts."""

    def __init__(self, cuda: int, driver: bytes, code: int = 0, nvml: int = 0) -> None:
        self.cuda, self.driver, self.code, self.nvml = cuda, driver, code, nvml

    def cuDriverGetVersion(self, number: Any) -> int:  # noqa: N802
        ctypes.cast(number, ctypes.POINTER(ctypes.c_int))[0] = self.cuda
        return self.code

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return self.nvml

    def nvmlShutdown(self) -> int:  # noqa: N802
        return 0

    def nvmlSystemGetDriverVersion(self, text: Any, size: int) -> int:  # noqa: N802
        text.value = self.driver[: size - 1]
        return 0


@pytest.mark.parametrize(
    ("driver", "told"),
    [
        (FakeVersions(13000, b"580.65.06"), "580.65.06 (CUDA 13.0)"),
        (FakeVersions(12090, b"575.57"), "575.57 (CUDA 12.9)"),
        (FakeVersions(12090, b"575.57", nvml=9), "CUDA 12.9"),
        (FakeVersions(0, b"", code=1), None),
    ],
)
def test_the_driver_tells_its_version_and_cudas(
    driver: FakeVersions, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: driver)
    assert cuda_driver() == told


def test_without_nvml_cudas_version_is_told_and_without_a_driver_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_cuda(name: str) -> FakeVersions:
        if "nvidia-ml" in name or "nvml" in name:
            raise OSError(name)
        return FakeVersions(12040, b"550")

    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(device.ctypes, "CDLL", only_cuda)
    assert cuda_driver() == "CUDA 12.4"
    monkeypatch.setattr(device.ctypes, "CDLL", missing)
    assert cuda_driver() is None
