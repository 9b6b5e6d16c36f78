"""Which lanes this machine can run at all, and why not the others."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from pathlib import Path

from benchmark.results import LaneKey
from runners.base import RunnerError
from runners.device import Device
from runners.registry import import_backend

CPUINFO = Path("/proc/cpuinfo")
BF16_FLAGS = {"x86_64": ("avx512_bf16", "amx_bf16"), "aarch64": ("bf16",)}
"""Machine → what /proc/cpuinfo calls instructions for products in bf16."""


def absences(lanes: Iterable[LaneKey], device: Device) -> dict[str, str]:
    """Lane → why it cannot run here, as far as it can be told before loading; lanes that can are left out.

    Args:
        lanes: backends in precisions.
        device: where they should run.
    """
    found = {}
    for lane in lanes:
        try:
            reason = import_backend(lane.backend).absence(device)
        except RunnerError as error:
            reason = str(error)
        if reason is None and lane.precision == "bf16" and device.kind == "cpu":
            reason = bf16_absence()
        if reason is not None:
            found[str(lane)] = reason
    return found


def bf16_absence(cpuinfo: Path = CPUINFO, machine: str | None = None) -> str | None:
    """Why bf16 is not worth trying on this processor: without instructions for it, it is emulated or ignored.

    Args:
        cpuinfo: what Linux tells of its processors.
        machine: as `platform.machine` names it; None asks it.

    Returns:
        None where there are such instructions, or where the system does not tell.
    """
    wanted = BF16_FLAGS.get(machine or platform.machine(), ())
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    flags = {flag for line in lines if line.lower().startswith(("flags", "features")) for flag in line.split()}
    if not wanted or not flags or flags.intersection(wanted):
        return None
    return f"this processor has no instructions for bf16 ({' or '.join(wanted)})"
