"""The matrix-multiply rate: the arithmetic by hand, and what a measurement leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmark.measure import peak
from benchmark.measure.peak import best_gflops, bf16_missing, cpu_flags, measure_peak
from benchmark.measured import Peak


class FakeTime:
    """A clock that products move by as long as they take."""

    def __init__(self, *took: float) -> None:
        self.now, self.took, self.products = 100.0, iter(took), 0

    def multiply(self) -> None:
        self.now += next(self.took)
        self.products += 1


def test_the_fastest_product_counts_and_its_rate_is_two_n_cubed_over_its_seconds() -> None:
    time = FakeTime(0.01, 0.2, 0.125, 0.25)
    rate = best_gflops(time.multiply, side=1000, seconds=0.5, clock=lambda: time.now)
    assert rate == pytest.approx(2 * 1000**3 / 0.125 / 1e9)  # 16 GFLOP/s
    assert rate == pytest.approx(16)
    assert time.products == 4


def test_the_first_product_is_not_counted() -> None:
    """It pays for starting threads and packing code, and on a clock of coarse grain it may look like nothing."""
    time = FakeTime(1e-9, 0.5)
    assert best_gflops(time.multiply, side=100, seconds=0.5, clock=lambda: time.now) == pytest.approx(2e6 / 0.5 / 1e9)


def test_a_product_longer_than_the_time_given_is_measured_once() -> None:
    time = FakeTime(9.0, 8.0)
    assert best_gflops(time.multiply, side=2000, seconds=0.5, clock=lambda: time.now) == pytest.approx(2.0)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(peak, "CPU_SIDES", (64, 128))
    monkeypatch.setattr(best_gflops, "__defaults__", (0.02, *best_gflops.__defaults__[1:]))  # type: ignore[index]
    yield


def test_a_measurement_runs_with_the_runs_threads_and_leaves_pytorch_as_it_was(
    short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[tuple[int, str, torch.dtype, bool]] = set()
    mm = torch.mm

    def watching(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        precision = torch.get_float32_matmul_precision()
        seen.add((torch.get_num_threads(), precision, left.dtype, torch.is_inference_mode_enabled()))
        return mm(left, right, out=out)

    monkeypatch.setattr(torch, "mm", watching)
    monkeypatch.setattr(peak, "bf16_missing", lambda device: None)
    torch.set_num_threads(2)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        told = measure_peak("cpu", threads=1)
        assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == (2, "high")
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == {(1, "highest", torch.float32, True), (1, "highest", torch.bfloat16, True)}
    assert (told.device, told.threads, told.reason) == ("cpu", 1, None)
    assert told.fp32_gflops is not None and told.fp32_gflops > 0
    assert told.bf16_gflops is not None and told.bf16_gflops > 0


def test_a_failure_leaves_pytorch_as_it_was_too(short: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "mm", lambda *_, **__: 1 / 0)
    torch.set_num_threads(2)
    with pytest.raises(ZeroDivisionError):
        measure_peak("cpu", threads=1)
    assert torch.get_num_threads() == 2


def test_without_hardware_bf16_is_null_with_the_reason(short: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "bf16_missing", lambda device: "bf16: none here")
    told = measure_peak("cpu", threads=1)
    assert (told.bf16_gflops, told.reason) == (None, "bf16: none here")
    assert told.fp32_gflops is not None


@pytest.mark.parametrize(
    ("line", "has_it"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16 amx_tile", True),
        ("flags\t\t: fpu avx512f amx_bf16", True),
        ("Features\t: fp asimd bf16 i8mm", True),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni", False),
        ("flags\t\t: fpu notbf16", False),
        ("model name\t: a CPU called bf16", False),
        ("", False),
    ],
)
def test_the_processors_flags_decide_on_bf16(line: str, has_it: bool, tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\n{line}\nbugs\t\t: bf16\n", encoding="utf-8")
    assert (bf16_missing("cpu", path) is None) == has_it


def test_a_system_without_flags_says_so(tmp_path: Path) -> None:
    assert bf16_missing("cpu", tmp_path / "none") == (
        "bf16: this system does not tell whether the CPU has hardware for it"
    )
    assert cpu_flags("") == frozenset()


@pytest.mark.parametrize("supported", [True, False])
def test_on_a_gpu_pytorch_is_asked_for_hardware_and_not_for_emulation(
    supported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_bf16_supported(including_emulation: bool = True) -> bool:
        return supported or including_emulation

    monkeypatch.setattr(torch, "cuda", SimpleNamespace(is_bf16_supported=is_bf16_supported))
    assert (bf16_missing("cuda") is None) == supported


@pytest.mark.gpu
def test_a_gpu_is_faster_in_bf16_than_in_fp32() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA here")
    told = measure_peak("cuda", threads=1)
    assert told.fp32_gflops is not None and told.bf16_gflops is not None
    assert told.bf16_gflops > told.fp32_gflops > 1000


def test_a_rate_is_measured_once_a_run_folder_and_again_where_it_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def measure(device: str, threads: int) -> Peak:
        measured.append(device)
        return Peak(fp32_gflops=100.0 + len(measured), threads=threads)

    monkeypatch.setattr(peak, "measure_peak", measure)
    file = tmp_path / "peak" / "here-cpu.json"
    first = peak.kept_peak(file, "cpu", 2)
    assert peak.kept_peak(file, "cpu", 2) == first and measured == ["cpu"]
    file.write_text("half a fi", encoding="utf-8")
    assert peak.kept_peak(file, "cpu", 2).fp32_gflops == 102.0
