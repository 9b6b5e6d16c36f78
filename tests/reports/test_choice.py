"""Of more conditions than there is room for, the most telling are shown, in their old order, and the title says so."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reports.choice import most_telling


def test_the_highest_scores_are_kept_in_their_order() -> None:
    choice = most_telling([3, 9, 1, 7], float, most=2)
    assert choice.shown == (9, 7)
    assert choice.note("the largest") == " (2 of 4 shown: the largest)"


def test_where_all_fit_nothing_is_said() -> None:
    choice = most_telling(["a", "bb"], len, most=2)
    assert choice.shown == ("a", "bb") and choice.note("the longest") == ""


def test_a_thing_may_take_more_room_but_one_is_always_shown() -> None:
    assert most_telling([4, 3, 2], float, most=6, size=int).shown == (4,)
    assert most_telling([9, 1], float, most=6, size=int).shown == (9,)
    assert most_telling([], float).shown == ()


@given(st.lists(st.integers(0, 50)), st.integers(1, 20))
def test_nothing_left_out_tells_more_than_what_is_shown(scores: list[int], most: int) -> None:
    things = list(enumerate(scores))
    choice = most_telling(things, lambda one: one[1], most=most)
    left = [one for one in things if one not in choice.shown]
    assert len(choice.shown) == min(most, len(things))
    assert not left or max(score for _, score in left) <= min(score for _, score in choice.shown)
