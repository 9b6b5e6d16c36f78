"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

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
