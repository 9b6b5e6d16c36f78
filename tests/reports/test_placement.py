"""Names beside points can be read: they cover neither one another nor a point."""

from __future__ import annotations

from itertools import combinations

from reports.placement import SPOTS, Box, _box, place_names

SIZE = (470.0, 380.0)


def boxes(points: list[tuple[float, float]], names: list[str], lines: tuple[Box, ...] = ()) -> list[Box]:
    return [_box(*one) for one in zip(points, names, place_names(points, names, SIZE, lines), strict=True)]


def test_a_lone_name_stands_to_the_right_of_its_point() -> None:
    assert place_names([(100, 100)], ["box"], SIZE) == [SPOTS[0]]


def test_names_of_near_points_neither_cover_one_another_nor_leave_the_chart() -> None:
    points = [(140.0, 60.0), (150.0, 72.0), (160.0, 77.0), (455.0, 150.0), (375.0, 155.0), (365.0, 90.0)]
    names = ["box", "box-jitter10", "box-margin5", "points3+neg3", "points5", "iterative5"]
    found = boxes(points, names)
    assert all(one.shared(other) == 0 for one, other in combinations(found, 2))
    assert all(box.outside(*SIZE) == 0 for box in found)
    marks = [Box(x - 7, y - 7, x + 7, y + 7) for x, y in points]
    assert all(one.shared(mark) == 0 for one in found for mark in marks)


def test_a_name_is_not_struck_through_by_a_line() -> None:
    line = Box(100, 98, 470, 102)
    assert boxes([(100, 100)], ["box+point"], (line,))[0].shared(line) == 0


def test_the_same_points_have_the_same_spots() -> None:
    points, names = [(20.0, 20.0), (25.0, 21.0), (30.0, 22.0)], ["a", "b", "c"]
    assert place_names(points, names, SIZE) == place_names(points, names, SIZE)
