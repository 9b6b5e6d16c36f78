"""A planted slowdown of a known share around any backend, to find out whether measuring notices it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from runners.base import Attestation, DeviceTensor, Outputs, Runner, RunnerError

EXTRA = "extra"
"""The option of every backend that asks for it; `runners.registry.make_runner` takes it out of the options."""


class SlowedRunner(Runner):
    """Stands before a backend's own class among the bases of a class that `slowed` makes.

    The extra time is a share of what the very call took, on the device-resident clock: it is exact, has the call's
    noise and drifts with the machine, as more work of the same kind would. The core is kept busy meanwhile, because a
    sleep would end late by more than a small share of a short call.

    Attributes:
        share: of a call's own time; 0.05 makes every call 5 % longer.
    """

    share: ClassVar[float]

    def _run(self, inputs: Mapping[str, DeviceTensor]) -> Outputs:
        started = time.perf_counter()
        outputs = super()._run(inputs)  # type: ignore[safe-super]  # the backend's class stands next in line
        own = time.perf_counter()
        until = own + self.share * (own - started)
        while time.perf_counter() < until:
            pass
        return outputs

    def attest(self) -> Attestation:
        """The backend's own, with a note of the slowdown: no record of it can pass for the backend's."""
        told = super().attest()  # type: ignore[safe-super]
        return replace(told, notes=(*told.notes, f"slowed on purpose: every call takes {self.share:.3%} longer"))


def slowed(kind: type[Runner], share: float) -> type[Runner]:
    """The backend's class whose every call takes longer by a share; in all else the backend itself.

    Args:
        kind: a backend's class.
        share: of a call's own time, 0 or more; 0.05 is 5 %.

    Raises:
        RunnerError: the share is no finite number of 0 or more.
    """
    number = isinstance(share, (int, float)) and not isinstance(share, bool)
    if not number or not math.isfinite(share) or share < 0:
        raise RunnerError(f"backend {kind.backend}: option {EXTRA} is {share!r}; give a share of 0 or more, as 0.05")
    made: type[Runner] = type(f"Slowed{kind.__name__}", (SlowedRunner, kind), {"share": float(share)})
    return made
