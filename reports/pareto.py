"""Which of several results none other beats in both time and Dice."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> tuple[int, ...]:
    """The points that no other dominates; equal ones do not dominate each other.

    A point dominates another if it is no slower and no less accurate, and better in one of the two.

    Args:
        points: time (less is better) and Dice (more is better).

    Returns:
        Indices by rising time.
    """
    front: list[int] = []
    best: tuple[float, float] | None = None
    for index in sorted(range(len(points)), key=lambda index: (points[index][0], -points[index][1])):
        if best is None or points[index][1] > best[1] or points[index] == best:
            front.append(index)
            best = points[index]
    return tuple(front)
