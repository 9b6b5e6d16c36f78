"""How the time is shared: trying candidates, racing them, and the final."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmark.measure.statistics import PAIRS_NEEDED

SCREENING_SHARE = 0.5
"""Of what is not kept for the final. Trying finds what is twice as fast; racing tells apart what differs by a tenth."""

LEAST_FINAL, MOST_FINAL = 0.15, 0.4
"""Shares of the budget that are kept for the final; how much within them is what an interval of everybody takes."""


@dataclass
class Budget:
    """Seconds.

    Attributes:
        total: for everything.
        elapsed: so far, earlier calls included.
        final_s: kept for the final; grows when it is known who takes part.
    """

    total: float
    elapsed: Callable[[], float]
    final_s: float = 0.0

    def __post_init__(self) -> None:
        self.final_s = LEAST_FINAL * self.total

    def keep_for_final(self, round_s: float) -> None:
        """Keeps as much as `PAIRS_NEEDED` rounds take, within bounds.

        Args:
            round_s: what a turn of everybody in the final takes.
        """
        wanted = PAIRS_NEEDED * round_s
        self.final_s = min(max(LEAST_FINAL * self.total, wanted), MOST_FINAL * self.total)

    def screening_s(self) -> float:
        """Seconds left to try candidates."""
        return SCREENING_SHARE * (self.total - self.final_s) - self.elapsed()

    def race_s(self) -> float:
        """Seconds left to race them."""
        return self.total - self.final_s - self.elapsed()

    def left_s(self) -> float:
        """Seconds left of everything."""
        return self.total - self.elapsed()
