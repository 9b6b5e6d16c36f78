"""What a call of a module costs: its operations, its time on the device, and how near that is to the limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

import numpy as np

from benchmark.measured import ModuleCost, Peak
from benchmark.records import ShapeCalls
from exporters.exportable import Exportable
from exporters.flops import count_flops
from runners.base import Shapes

CountFlops = Callable[[Shapes], "int | None"]


NOMINAL_SIZE = 256.0
"""Rows and columns of the slice that masks are resized to; resizing is not among the operations that are counted."""


def flops_of(part: Exportable) -> CountFlops:
    """What counts the operations of one call of a part."""
    values = {"orig_im_size": np.full(2, NOMINAL_SIZE, np.float32)}
    given = {spec.name: values[spec.name] for spec in part.inputs if spec.name in values}
    return lambda shapes: count_flops(part.module, shapes, given)


@dataclass
class ModuleCosts:
    """Counts operations once for each module and shape.

    Attributes:
        counters: module → what counts a call's operations, a multiply-add as two.
        peak: of the device.
    """

    counters: Mapping[str, CountFlops]
    peak: Peak | None
    _known: dict[tuple[str, str], int | None] = field(default_factory=dict)

    def flops(self, module: str, shapes: Shapes) -> int | None:
        """Of one call; None where they cannot be counted."""
        key = (module, str(shapes))
        if key not in self._known:
            counter = self.counters.get(module)
            self._known[key] = counter(shapes) if counter else None
        return self._known[key]


def module_cost(
    module: str, calls: Sequence[ShapeCalls], costs: ModuleCosts | None, full_precision: bool = True
) -> ModuleCost:
    """The cost of a module's calls.

    The share of peak is all their operations over all their time, against the fp32 rate of the machine's own matrix
    product: of an int8 or fp16 export it may exceed 1.

    Args:
        module: its name.
        calls: by shapes.
        costs: counts operations; None where nothing is known of them.
        full_precision: whether it computes in fp32, which cannot be faster than the machine's fp32 products.
    """
    milliseconds = [ms for some in calls for ms in some.ms]
    flops = [(costs.flops(module, some.shapes) if costs else None, some.ms) for some in calls]
    known = [(count, ms) for count, ms in flops if count is not None]
    reason = None
    gflops = share = None
    if costs is None or len(known) < len(flops) or not milliseconds:
        reason = "its operations could not be counted"
    else:
        total = sum(count * len(ms) for count, ms in known)
        gflops = total / len(milliseconds) / 1e9
        if costs.peak is None or costs.peak.fp32_gflops is None:
            reason = (costs.peak.reason if costs.peak else None) or "the machine's rate was not measured"
        else:
            share = total / 1e9 / (sum(milliseconds) / 1e3) / costs.peak.fp32_gflops
            if share > 1 and full_precision:
                share, reason = None, "above the measured peak, so the machine was slower when that was measured"
    return ModuleCost(
        calls=len(milliseconds),
        p50_ms=median(milliseconds) if milliseconds else None,
        mean_ms=fmean(milliseconds) if milliseconds else None,
        gflops_per_call=gflops,
        share_of_peak=share,
        reason=reason,
    )
