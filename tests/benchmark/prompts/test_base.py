from __future__ import annotations

import numpy as np

from benchmark.prompts import Effort, deepest_point, join, tight_box

MASK = np.ones((3, 3), bool)


def test_efforts_add_up() -> None:
    assert Effort(2, 0.5) + Effort(1, 0.25) == Effort(3, 0.75)
    assert sum([Effort(1), Effort(boxes=1)], Effort()) == Effort(1, 1)


def test_joined_prompts_keep_their_order_and_cost_what_their_parts_do() -> None:
    """SAM's encoder puts points before the corners of a box; the exported decoder takes what it is given."""
    joined = join(deepest_point(MASK), tight_box(MASK))
    assert joined.labels.tolist() == [1, 2, 3]
    assert joined.coords.tolist() == [[1.5, 1.5], [0, 0], [3, 3]]
    assert joined.coords.dtype == joined.labels.dtype == np.float32
    assert joined.effort == Effort(clicks=1, boxes=1)


def test_one_prompt_joined_with_none_is_itself() -> None:
    box = tight_box(MASK)
    assert join(box).coords.tolist() == box.coords.tolist()
    assert join(box).effort == box.effort
