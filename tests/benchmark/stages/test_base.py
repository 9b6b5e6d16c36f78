"""What both stages share: times by phase, and the refusal of answers that are no numbers."""

from __future__ import annotations

import time

import numpy as np
import pytest

from benchmark.stages.base import NotFiniteError, Outcome, PhaseClock, require_finite


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_number_among_many_is_refused(bad: float) -> None:
    logits = np.zeros((2, 1, 300, 300), dtype=np.float32)
    logits[1, 0, 299, 3] = bad
    with pytest.raises(NotFiniteError, match="NaN or infinity"):
        require_finite(logits)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_opposite_infinities_do_not_cancel() -> None:
    with pytest.raises(NotFiniteError):
        require_finite(np.array([np.inf, -np.inf], dtype=np.float32))


def test_large_finite_logits_are_no_infinity() -> None:
    for fine in (np.full(1000, np.finfo(np.float32).max, dtype=np.float32), np.zeros(0, dtype=np.float32)):
        assert require_finite(fine) is None, "nothing is raised"


def test_a_phase_that_comes_twice_is_added_up() -> None:
    clock = PhaseClock()
    for _ in range(2):
        with clock("decode"):
            time.sleep(0.02)
    with clock("encode"):
        pass
    assert 40 <= clock.ms["decode"] < 400
    assert 0 <= clock.ms["encode"] < 20


def test_a_variant_is_charged_with_what_was_spent_once_for_all_and_with_its_own() -> None:
    empty = np.zeros((1, 2, 2), np.uint8)
    outcome = Outcome(
        {"box": empty, "point": empty},
        shared_ms={"preprocess": 1.0, "encode": 5.0},
        own_ms={"box": {"postprocess": 4.0, "decode": 2.0, "preprocess": 1.5}},
    )
    assert list(outcome.phases("box").items()) == [
        ("preprocess", 1.5),
        ("encode", 5.0),
        ("decode", 2.0),
        ("postprocess", 4.0),
    ]
    assert outcome.phases("point") == {"preprocess": 1.0, "encode": 5.0}
