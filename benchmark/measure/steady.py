"""Whether a worker is warm: its times have stopped falling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WINDOW = 10
"""The last times looked at. Of more, a start-up long past would count; of fewer, noise hides a fall."""

LEAST = 5
"""Four times have six slopes between them, too few for an interval."""

CONFIDENCE = 0.5
"""Of Sen's interval, so a fall is taken for one at odds of three to one: better a pass too many than one too few."""

CHANGE = 0.02
"""A trend that changes times by no more than this over the window is none that a verdict would show."""

SPREAD = 0.2
"""Of the median. Beyond, a fall of a tenth could not be seen in so few times."""


def is_steady(times: Sequence[float]) -> bool:
    """Whether the last five to ten times of a warm-up no longer fall.

    The slope is Theil and Sen's, the median of the slopes between all pairs of times, which one hiccup cannot bend; its
    interval is that of Kendall's rank correlation (Sen, J. Am. Stat. Assoc. 63, 1968), from SciPy. Steady is either a
    slope that hardly changes anything, or one that may as well not be falling among times that do not spread too far
    to tell. A slow rise counts as steady: no warm-up ends it, and turns let it hit every backend alike.

    Asked after each pass, it ends the warm-up of a flat series with 5 or 10 % noise within ten times in 95 of 100 runs.
    With 5 % noise, first passes that take half as long again and decay over five passes are followed until within 5 %
    of their end in 95 of 100; a fall that is slow against the noise is not seen. Both simulated: docs/method.md.

    Args:
        times: of each pass, in order, the first call apart; any unit.
    """
    from scipy.stats import theilslopes

    if len(times) < LEAST:
        return False
    window = np.asarray(times[-WINDOW:], dtype=float)
    middle = float(np.median(window))
    slope, _, _, highest = theilslopes(window, alpha=CONFIDENCE)
    if abs(slope) * (len(window) - 1) <= CHANGE * middle:
        return True
    # The factor makes the median absolute deviation a standard deviation where times are normal.
    spread = 1.4826 * float(np.median(np.abs(window - middle)))
    return bool(highest >= 0 and spread <= SPREAD * middle)
