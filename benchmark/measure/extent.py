"""How long and how often one case is measured."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.sections import MeasureSpec


@dataclass(frozen=True)
class Extent:
    """One case's share of what the specification asks of all cases.

    Attributes:
        repeats: passes over the case, at least.
        samples: further passes are made until each backend has so many timed units,
        budget_s: but none begins after so many seconds.
        warmup: untimed passes of each backend over the first unit.
        pause_s: rest between turns.
    """

    repeats: int = 1
    samples: int = 1
    budget_s: float = 0.0
    warmup: int = 0
    pause_s: float = 0.0

    @classmethod
    def of_case(cls, measure: MeasureSpec, cases: int) -> Extent:
        """An even share for each of so many cases."""
        return cls(
            repeats=measure.repeats,
            samples=-(-measure.samples // cases),
            budget_s=measure.budget_s / cases,
            warmup=measure.warmup,
            pause_s=measure.pause_ms / 1e3,
        )

    def goes_on(self, passes: int, samples: int, elapsed_s: float) -> bool:
        """Whether another pass is due after so many passes, samples and seconds."""
        return passes < self.repeats or (samples < self.samples and elapsed_s < self.budget_s)
