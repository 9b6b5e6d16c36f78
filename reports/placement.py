"""Where the names beside the points of a chart go, so that they neither cover one another nor a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Align = Literal["left", "right", "center"]
# Of the chart's font at 11 pixels; wide enough for capitals on average.
CHARACTER, LINE = 6.4, 13.0
POINT = 7.0
GAP = 9.0


@dataclass(frozen=True)
class Spot:
    """A name's offset from its point in pixels, y downwards, and the side that is aligned with it."""

    dx: float
    dy: float
    align: Align


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def shared(self, other: Box) -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0.0) * max(height, 0.0)

    def outside(self, width: float, height: float) -> float:
        """How far it sticks out, in pixels."""
        return (
            max(-self.left, 0.0) + max(self.right - width, 0.0) + max(-self.top, 0.0) + max(self.bottom - height, 0.0)
        )


# The best first: beside the point, then above and below it, then beside it but shifted.
SPOTS = (
    Spot(GAP, 0, "left"),
    Spot(-GAP, 0, "right"),
    Spot(0, -16, "center"),
    Spot(0, 16, "center"),
    *(Spot(side * GAP, dy, "left" if side > 0 else "right") for dy in (-10, 10, -17, 17) for side in (1, -1)),
)


def place_names(
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    size: tuple[float, float],
    lines: Sequence[Box] = (),
) -> list[Spot]:
    """A spot for each name, found greedily from the top down; the same points have the same spots.

    Args:
        points: x and y in pixels from the upper left corner.
        names: one for each point.
        size: width and height of the chart in pixels.
        lines: what names should not lie on either, as thin boxes.
    """
    taken = [Box(x - POINT, y - POINT, x + POINT, y + POINT) for x, y in points] + list(lines)
    spots = [SPOTS[0]] * len(points)
    for index in sorted(range(len(points)), key=lambda index: (points[index][1], points[index][0])):
        others = taken[:index] + taken[index + 1 :]

        def cost(spot: Spot, index: int = index, others: Sequence[Box] = others) -> float:
            box = _box(points[index], names[index], spot)
            # A name that sticks out may be cut off, which is worse than touching another.
            return sum(box.shared(other) for other in others) + 20 * box.outside(*size) + SPOTS.index(spot)

        spots[index] = min(SPOTS, key=cost)
        taken.append(_box(points[index], names[index], spots[index]))
    return spots


def _box(point: tuple[float, float], name: str, spot: Spot) -> Box:
    width = CHARACTER * len(name)
    x, y = point[0] + spot.dx, point[1] + spot.dy
    left = {"left": x, "right": x - width, "center": x - width / 2}[spot.align]
    return Box(left, y - LINE / 2, left + width, y + LINE / 2)
