"""One comparison as its pairs come in: whether more of them are wanted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmark.measure.statistics import Speedup, narrow_enough, paired_speedup

LOOK_AGAIN = 1.15
"""The interval is computed again when there are so many times as many pairs: each look costs a bootstrap."""


@dataclass
class Watch:
    """Pairs of one comparison.

    Attributes:
        margin: half-width of what counts as equivalent.
        pairs: milliseconds of the baseline and of the candidate, turn by turn.
    """

    margin: float
    pairs: list[tuple[float, float]] = field(default_factory=list)
    _looked_at: int = 0
    _wide: bool = True

    def add(self, pairs: Iterable[tuple[float, float]]) -> None:
        """Takes more pairs in."""
        self.pairs.extend(pairs)

    def speedup(self) -> Speedup:
        """Of all pairs so far."""
        return paired_speedup([one for one, _ in self.pairs], [other for _, other in self.pairs], self.margin)

    def wide(self) -> bool:
        """Whether the interval was still too wide when it was last looked at."""
        if len(self.pairs) >= max(1, LOOK_AGAIN * self._looked_at):
            self._wide = not narrow_enough(self.speedup(), self.margin)
            self._looked_at = len(self.pairs)
        return self._wide
