"""Which lanes this machine can run at all, and why not the others."""

from __future__ import annotations

from collections.abc import Iterable

from benchmark.availability import lane_absence
from benchmark.measure.peak import bf16_missing
from benchmark.results import LaneKey
from runners.device import Device


def absences(lanes: Iterable[LaneKey], device: Device) -> dict[str, str]:
    """Lane → why it cannot run here, as far as it can be told before loading; lanes that can are left out.

    Args:
        lanes: backends in precisions.
        device: where they should run.
    """
    found = {}
    for lane in lanes:
        reason = lane_absence(lane, str(device))
        if reason is None and lane.precision == "bf16":
            # Without hardware for it, it is emulated or ignored.
            reason = bf16_missing(str(device))
        if reason is not None:
            found[str(lane)] = reason
    return found
