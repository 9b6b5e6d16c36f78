"""The machine's measured matrix-multiply rate: what a backend could reach, as the roof of its share of peak."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.files import write_text_atomically
from benchmark.measured import Peak

if TYPE_CHECKING:
    import torch

CPU_SIDES = (1024, 2048)
CUDA_SIDES = (4096, 8192)
"""Sides of the square products. A GPU needs larger ones before its launches no longer count."""

SECONDS = 0.5
"""For which each side is repeated. The best repetition counts: whatever disturbs can only slow one down."""

BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16", "svebf16"})
"""Of /proc/cpuinfo, x86 and Arm: products of bf16 in hardware. Without them PyTorch works through fp32 or worse."""


def measure_peak(device: str, threads: int) -> Peak:
    """The best rate of square matrix products in PyTorch, in fp32 with TF32 off and in bf16 where the machine has it.

    It takes about two seconds. PyTorch's threads and its TF32 setting are as before afterwards.

    Args:
        device: `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads, as the run's.
    """
    import torch

    missing = bf16_missing(device)
    sides = CPU_SIDES if device == "cpu" else CUDA_SIDES
    threads_before, precision_before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")
    try:
        fp32 = max(_product_rate(torch.float32, side, device) for side in sides)
        bf16 = None if missing else max(_product_rate(torch.bfloat16, side, device) for side in sides)
    finally:
        torch.set_num_threads(threads_before)
        torch.set_float32_matmul_precision(precision_before)
    return Peak(fp32_gflops=fp32, bf16_gflops=bf16, device=device, threads=threads, reason=missing)


def kept_peak(file: Path, device: str, threads: int) -> Peak:
    """The rate that an earlier part of a run measured, or measured now and kept: a run again must say the same.

    Args:
        file: where it is kept, for this machine and device.
        device: see `measure_peak`.
        threads: see `measure_peak`.
    """
    try:
        return Peak.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or damaged
        found = measure_peak(device, threads)
        write_text_atomically(file, found.model_dump_json(indent=1))
        return found


def _product_rate(dtype: torch.dtype, side: int, device: str) -> float:
    import torch

    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(side, side, generator=generator).to(device, dtype) for _ in "ab")
    result = torch.empty_like(left)

    def multiply() -> None:
        torch.mm(left, right, out=result)
        if device != "cpu":
            torch.cuda.synchronize(device)

    with torch.inference_mode():
        return best_gflops(multiply, side)


def best_gflops(
    multiply: Callable[[], None],
    side: int,
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """The rate of the fastest of many products of two side × side matrices: 2·side³ operations over its seconds.

    Args:
        multiply: one product, to its end.
        side: of the matrices.
        seconds: until which it is repeated, after one product that is not counted.
        clock: seconds, steady.

    Returns:
        10⁹ operations a second; a multiply-add counts as two, as in FLOPs of a module.
    """
    multiply()
    best, begin = float("inf"), clock()
    started = begin
    while started - begin < seconds:
        multiply()
        ended = clock()
        best, started = min(best, ended - started), ended
    return 2.0 * side**3 / best / 1e9


def bf16_missing(device: str, cpu_info: Path = Path("/proc/cpuinfo")) -> str | None:
    """Why bf16 is not measured: this machine computes it without hardware of its own; None if it has some.

    Args:
        device: `cpu`, `cuda` or `cuda:N`.
        cpu_info: where the kernel tells the processor's flags.
    """
    if device != "cpu":
        import torch

        # Without emulation: bf16 products are in the hardware from Ampere on.
        has_it = torch.cuda.is_bf16_supported(including_emulation=False)
        return None if has_it else "bf16: this GPU has no hardware for it"
    try:
        text = cpu_info.read_text(encoding="utf-8")
    except OSError:
        return "bf16: this system does not tell whether the CPU has hardware for it"
    return None if BF16_FLAGS & cpu_flags(text) else "bf16: this CPU has no hardware for it (avx512_bf16, amx_bf16)"


def cpu_flags(text: str) -> frozenset[str]:
    """The flags of the first processor in the text of a /proc/cpuinfo (`flags` on x86, `Features` on Arm)."""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return frozenset(value.split())
    return frozenset()
