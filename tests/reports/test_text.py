"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import text


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.012345, "0.0123"), (9.996, "10.0"), (99.96, "100"), (12.34, "12.3"), (1234.5, "1,230"), (0, "0"), (None, "–")],
)
def test_milliseconds_have_three_digits_and_no_exponent(value: float | None, shown: str) -> None:
    assert text.milliseconds(value) == shown


@pytest.mark.parametrize("write", [text.milliseconds, text.speedup, text.dice, text.difference, text.parity])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_what_is_no_number_is_a_dash_in_every_format(write: Callable[[float | None], str], value: float | None) -> None:
    assert write(value) == "–"


def test_a_vanishing_loss_of_dice_has_no_sign_that_would_suggest_one() -> None:
    assert text.difference(-0.00001) == text.difference(0.0) == "0.0000"
    assert text.difference(-0.0213) == "−0.0213"
    assert text.difference(0.0001) == "+0.0001"


def test_parity_is_never_rounded_up_to_perfect() -> None:
    assert text.parity(0.99999) == "0.9999"
    assert text.parity(1.0) == "1.0000"


def test_an_interval_with_an_open_end_is_not_shown_as_a_number() -> None:
    assert text.interval((1.0, math.inf)) == "–"
    assert text.interval((2.251, 2.379)) == "[2.25, 2.38]"


def test_near_1_a_speedup_has_the_decimals_that_decide_at_a_margin_of_two_percent() -> None:
    assert (text.speedup(1.0123), text.interval((0.9981, 1.0271))) == ("1.012×", "[0.998, 1.027]")
    assert (text.speedup(1.2), text.interval((1.151, 1.249))) == ("1.20×", "[1.15, 1.25]")


@pytest.mark.parametrize(
    ("share", "shown"), [(0.0004, "0.0400 %"), (0.4126, "41.3 %"), (1.044, "104 %"), (0.0, "0 %"), (None, "–")]
)
def test_a_share_keeps_its_digits_however_small(share: float | None, shown: str) -> None:
    assert text.percent(share) == shown


@pytest.mark.parametrize(
    ("numbers", "shown"), [([], ""), ([5], "5"), ([1, 0], "0–1"), ([0, 2, 3, 4, 9], "0, 2–4, 9"), ([7, 7], "7")]
)
def test_runs_of_processors_are_written_in_short(numbers: list[int], shown: str) -> None:
    assert text.processors(numbers) == shown


@given(st.sets(st.integers(0, 300)))
def test_processors_in_short_are_the_same_processors(numbers: set[int]) -> None:
    found: set[int] = set()
    for part in filter(None, text.processors(sorted(numbers)).split(", ")):
        first, _, last = part.partition("–")
        found |= set(range(int(first), int(last or first) + 1))
    assert found == numbers
