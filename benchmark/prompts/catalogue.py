"""Which prompt strategies there are, by name.

A new one is a function from `Target` and randomness to `Prompt`, and a row in `_FORMS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial

from benchmark.prompts.base import Strategy
from benchmark.prompts.boxes import box, jittered_box, wider_box
from benchmark.prompts.points import box_and_point, box_and_points, point, points, points_and_negatives

BOX, POINT = frozenset({"box"}), frozenset({"point"})

CLICKS = range(1, 101)
"""Nobody clicks more often on one object of one slice; a larger number is a slip of the keyboard."""


@dataclass(frozen=True)
class _Form:
    """A family of strategies.

    Attributes:
        says: one line for documentation and messages.
        build: name and numbers → strategy. What it puts into the strategy can be pickled, as a lambda cannot.
        numbers: placeholder of the name → the numbers it may be.
    """

    says: str
    build: Callable[..., Strategy]
    numbers: Mapping[str, range] = field(default_factory=dict)


_FORMS: Mapping[str, _Form] = {
    "box": _Form(
        "a tight box",
        lambda name: Strategy(name, box, needs=BOX),
    ),
    "box-margin<n>": _Form(
        "a box n voxels wider than the tight one on each side",
        lambda name, n: Strategy(name, partial(wider_box, margin=n), needs=BOX),
        {"n": range(1001)},
    ),
    "box-jitter<p>": _Form(
        "a box with each side moved at random by up to p per cent of its width or height",
        lambda name, p: Strategy(name, partial(jittered_box, percent=p), needs=BOX),
        {"p": range(1, 101)},
    ),
    "box-every<k>": _Form(
        "a tight box drawn in every k-th slice of an object and in its last; the boxes between are interpolated",
        lambda name, k: Strategy(name, box, every=k, needs=BOX),
        {"k": range(1, 1001)},
    ),
    "point": _Form(
        "a click in the voxel farthest from the object's edge",
        lambda name: Strategy(name, point, needs=POINT),
    ),
    "points<n>": _Form(
        "n clicks on the object: that of `point`, the others at random",
        lambda name, n: Strategy(name, partial(points, positives=n), needs=POINT),
        {"n": CLICKS},
    ),
    "points<n>+neg<m>": _Form(
        "the clicks of `points<n>`, and m negative ones at random in a ring around the object",
        lambda name, n, m: Strategy(name, partial(points_and_negatives, positives=n, negatives=m), needs=POINT),
        {"n": CLICKS, "m": CLICKS},
    ),
    "box+point": _Form(
        "a tight box and the click of `point`",
        lambda name: Strategy(name, box_and_point, needs=BOX | POINT),
    ),
    "box+points<n>": _Form(
        "a tight box and the clicks of `points<n>`",
        lambda name, n: Strategy(name, partial(box_and_points, positives=n), needs=BOX | POINT),
        {"n": CLICKS},
    ),
    "iterative<n>": _Form(
        "n clicks: that of `point`, then each in the middle of the largest error of SAM's last answer",
        lambda name, n: Strategy(name, point, corrections=n - 1, needs=POINT | {"mask"}),
        {"n": CLICKS},
    ),
}

STRATEGY_FORMS: Mapping[str, str] = {form: row.says for form, row in _FORMS.items()}
"""How a strategy's name is formed → what it is."""


@cache
def find_strategy(name: str) -> Strategy:
    """The strategy of a name such as `box`, `points3+neg2` or `box-every5`.

    Raises:
        ValueError: no form fits, or a number is out of its range; the message names the forms.
    """
    for form, row in _FORMS.items():
        found = re.fullmatch(re.sub(r"<(\w)>", r"(?P<\1>[0-9]+)", form.replace("+", r"\+")), name)
        if found is not None:
            return row.build(name, **{key: _number(name, key, text, row) for key, text in found.groupdict().items()})
    raise _refusal(name, "there is no such one")


def _number(name: str, key: str, text: str, row: _Form) -> int:
    allowed = row.numbers[key]
    # Compared as text: one strategy has one name, so that results of `points3` and `points03` never stand side by side.
    if len(text) > 4 or str(int(text)) != text or int(text) not in allowed:
        raise _refusal(name, f"{key} must be a whole number from {allowed[0]} to {allowed[-1]}, without leading zeros")
    return int(text)


def _refusal(name: str, reason: str) -> ValueError:
    shown = name if len(name) <= 40 else f"{name[:40]}…"
    return ValueError(f"prompt strategy {shown!r}: {reason}; known are {', '.join(_FORMS)}")
