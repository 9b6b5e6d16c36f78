"""What makes sambench's graphs fast must stay: each ratio of `ratios.yaml`, in turns, in one run.

A test fails only if it is sure: the whole 95 % interval lies below the floor. So noise makes it miss a small loss and
not invent one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark.measure.statistics import PAIRS_NEEDED, Speedup
from runners.base import RunnerError
from runners.registry import import_backend
from tests.perf.performance import Measured, measure, told
from tests.perf.workloads import WORKLOADS

pytestmark = pytest.mark.slow

GUARDED = yaml.safe_load((Path(__file__).parent / "ratios.yaml").read_text(encoding="utf-8"))
BY_WORKLOAD = {name: [row for row in GUARDED if row["workload"] == name] for name in {r["workload"] for r in GUARDED}}


def too_slow(row: dict[str, Any], found: Speedup) -> str | None:
    """What is wrong with a ratio; None while its interval reaches the floor."""
    if found.ci95 is None or found.ci95[1] >= row["floor"]:
        return None
    return (
        f"{row['candidate']} is {told(found)} as fast as {row['baseline']} on {row['workload']}, below {row['floor']}; "
        f"{row['seen']} was seen before. Look with `python -m tests.perf.performance {row['workload']} --nodes 8`"
    )


@pytest.mark.parametrize("workload", sorted(BY_WORKLOAD))
def test_no_ratio_falls_below_its_floor(workload: str, litemedsam_folder: Path) -> None:
    rows = BY_WORKLOAD[workload]
    backends = ["pytorch", *{row[side] for row in rows for side in ("baseline", "candidate")} - {"pytorch"}]
    try:
        for name in backends:
            import_backend(name)
    except RunnerError as error:
        pytest.skip(str(error))
    artifact = None if workload.startswith("unet") else litemedsam_folder
    found: Measured = measure(WORKLOADS[workload](), backends, PAIRS_NEEDED, artifact=artifact)
    wrong = [too_slow(row, found.ratio(row["baseline"], row["candidate"])) for row in rows]
    assert not any(wrong), "; ".join(reason for reason in wrong if reason)
    for name, (error, largest) in found.errors.items():
        assert error <= 1e-4 * max(1.0, largest), f"{name} answers otherwise: {error:g} of {largest:g}"


@pytest.mark.parametrize(
    ("interval", "is_wrong"), [((1.1, 1.19), True), ((1.1, 1.21), False), (None, False), ((1.3, 1.4), False)]
)
def test_only_an_interval_wholly_below_the_floor_fails(interval: tuple[float, float] | None, is_wrong: bool) -> None:
    row = {"workload": "unet-2d", "baseline": "pytorch", "candidate": "onnxruntime", "seen": 1.6, "floor": 1.2}
    ratio = None if interval is None else sum(interval) / 2
    assert bool(too_slow(row, Speedup(ratio, interval, 16, "inconclusive"))) == is_wrong
