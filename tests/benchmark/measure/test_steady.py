from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.measure.steady import LEAST, WINDOW, is_steady
from tests.benchmark.measure.simulated import noise

START_UP = [100.0, 60.0, 45.0, 40.0, 38.0, 37.0, 36.5]


def warm_up(times: np.ndarray) -> int:
    """After how many passes the warm-up ends; one more than there are where it never does."""
    return next((passes for passes in range(1, len(times) + 1) if is_steady(times[:passes].tolist())), len(times) + 1)


def test_a_start_up_that_still_falls_is_not_steady() -> None:
    assert not any(is_steady(START_UP[:passes]) for passes in range(len(START_UP) + 1))


def test_it_is_steady_once_the_fall_has_left_the_window() -> None:
    assert is_steady([*START_UP, *[36.4, 36.6] * (WINDOW // 2)])


@given(st.lists(st.floats(1e-3, 1e5), max_size=LEAST - 1))
def test_fewer_than_five_times_tell_nothing(times: list[float]) -> None:
    assert not is_steady(times)


@given(st.floats(1e-3, 1e5), st.integers(LEAST, 30))
def test_equal_times_are_steady(time: float, passes: int) -> None:
    assert is_steady([time] * passes)


def test_a_fall_too_small_to_matter_is_steady_however_regular_it_is() -> None:
    assert is_steady([100.0, 99.9, 99.8, 99.7, 99.6])
    assert not is_steady([100.0, 98.0, 96.0, 94.0, 92.0])


def test_a_slow_rise_is_no_start_up() -> None:
    assert is_steady([100.0, 101.0, 102.0, 103.0, 104.0])


def test_times_that_spread_too_far_to_tell_are_not_steady() -> None:
    assert not is_steady([100.0, 40.0, 150.0, 60.0, 110.0, 170.0])


def test_a_hiccup_does_not_make_times_spread_too_far() -> None:
    """Against the mean, which the hiccup raises to 16, all the others would lie 6 away."""
    assert is_steady([10.0, 9.2, 10.6, 9.5, 60.0, 10.4, 9.8, 10.9])


@given(st.lists(st.floats(1.0, 100.0), min_size=LEAST, max_size=20), st.sampled_from([0.125, 0.5, 4.0, 1024.0]))
def test_the_unit_does_not_matter(times: list[float], unit: float) -> None:
    assert is_steady([unit * time for time in times]) == is_steady(times)


@given(st.lists(st.floats(1.0, 100.0), min_size=1, max_size=20), st.lists(st.floats(1.0, 9.0), min_size=WINDOW))
def test_only_the_last_ten_count(before: list[float], times: list[float]) -> None:
    assert is_steady(before + times) == is_steady(times)


@pytest.mark.parametrize("place", range(8))
def test_one_hiccup_neither_ends_nor_prolongs_a_warm_up(place: int) -> None:
    flat = np.array([10.0, 10.1, 9.9, 10.0, 10.05, 9.95, 10.0, 10.1])
    flat[place] *= 5
    assert is_steady(flat.tolist())
    if place < len(START_UP):
        hiccup = np.array(START_UP)
        hiccup[place] *= 5
        assert not is_steady(hiccup.tolist())


@pytest.mark.parametrize("spread", [0.05, 0.1])
def test_flat_noise_ends_within_about_ten_passes(spread: float) -> None:
    """95 of 100 by ten and all by fifteen, measured over 1,000 series; here 200, less three standard errors."""
    rng = np.random.default_rng(5)
    ended = np.array([warm_up(noise(rng, 15, spread)) for _ in range(200)])
    assert (ended <= 10).mean() > 0.9
    assert (ended <= 15).mean() > 0.98


@pytest.mark.parametrize(("extra", "decay"), [(1.0, 2.0), (3.0, 3.0), (0.5, 5.0)])
def test_a_noisy_start_up_is_followed_to_within_five_percent_of_its_end(extra: float, decay: float) -> None:
    rng = np.random.default_rng(6)
    truth = 1 + extra * np.exp(-np.arange(61) / decay)
    ended = [warm_up(truth[:60] * noise(rng, 60)) for _ in range(60)]
    early = np.mean([truth[min(passes, 60)] > 1.05 for passes in ended])
    assert early <= 0.05
    assert max(ended) <= 60
