"""Times as a machine gives them: skewed, and each like its neighbour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def correlated(rng: np.random.Generator, count: int, noise: float = 0.04, memory: float = 0.7) -> NDArray[np.float64]:
    """Factors around 1 from an autoregressive series."""
    steps = rng.normal(0, noise * np.sqrt(1 - memory**2), count)
    log = np.empty(count)
    log[0] = rng.normal(0, noise)
    for index in range(1, count):
        log[index] = memory * log[index - 1] + steps[index]
    return np.exp(log)
