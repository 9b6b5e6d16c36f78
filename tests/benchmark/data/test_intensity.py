import warnings

import numpy as np
import pytest

from benchmark.data.intensity import CTWindow, Intensity, Percentiles, describe, normalise


def volume(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32).reshape(-1, 1, 1)


def test_a_ct_window_runs_from_its_lower_to_its_upper_edge() -> None:
    scaled = normalise(volume(-1000, -160, 40, 140, 240, 3000), CTWindow(level=40, width=400))
    np.testing.assert_allclose(scaled.ravel(), [0, 0, 127.5, 191.25, 255, 255])


def test_a_hounsfield_unit_has_one_grey_value_in_every_case() -> None:
    soft = CTWindow(40, 400)
    assert normalise(volume(0, 100), soft)[0] == normalise(volume(0, -900, 3000), soft)[0]


def test_a_ct_outside_its_window_is_black_or_white_and_not_a_division_by_zero() -> None:
    np.testing.assert_array_equal(normalise(volume(-900, -900), CTWindow(40, 400)).ravel(), [0, 0])


def test_percentiles_of_zero_and_hundred_are_the_smallest_and_largest_nonzero_voxel() -> None:
    scaled = normalise(volume(0, 100, 150, 200), Percentiles(0, 100))
    np.testing.assert_allclose(scaled.ravel(), [0, 0, 127.5, 255])


def test_percentiles_by_hand() -> None:
    # Nonzero voxels 1 … 201: the 0.5th percentile is 2, the 99.5th 200.
    scaled = normalise(volume(0, *range(1, 202)), Percentiles())
    np.testing.assert_allclose(scaled.ravel()[[0, 1, 2, 101, 200, 201]], [0, 0, 0, 127.5, 255, 255], rtol=1e-6)


def test_background_does_not_move_the_percentiles() -> None:
    few, many = volume(0, *range(1, 202)), volume(*[0] * 5000, *range(1, 202))
    np.testing.assert_array_equal(normalise(few, Percentiles())[1:], normalise(many, Percentiles())[5000:])


def test_background_stays_black_where_voxels_are_negative() -> None:
    scaled = normalise(volume(-3, 0, 1, 5), Percentiles(0, 100))
    np.testing.assert_allclose(scaled.ravel(), [0, 0, 127.5, 255])


def test_every_slice_of_a_case_has_one_scale() -> None:
    two = np.concatenate([volume(10, 20), volume(10, 40)], axis=2)
    scaled = normalise(two, Percentiles(0, 100))
    assert scaled[0, 0, 0] == scaled[0, 0, 1] and scaled[1, 0, 0] < scaled[1, 0, 1]


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_constant_volume_is_black_without_a_warning(value: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not normalise(volume(value, value), Percentiles()).any()


@pytest.mark.parametrize("intensity", [CTWindow(37.3, 411.7), Percentiles()])
def test_the_result_is_float32_within_0_and_255_and_the_input_is_left_alone(intensity: Intensity) -> None:
    original = np.random.default_rng(0).normal(0, 800, (9, 8, 7)).astype(np.float32)
    kept = original.copy()
    scaled = normalise(original, intensity)
    assert scaled.dtype == np.float32 and scaled.min() == 0 and 254.999 < scaled.max() <= 255
    np.testing.assert_array_equal(original, kept)


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan"), float("inf")])
def test_a_window_without_width_is_refused(width: float) -> None:
    with pytest.raises(ValueError, match="width above 0"):
        CTWindow(40, width)


def test_percentiles_that_do_not_rise_are_refused() -> None:
    with pytest.raises(ValueError, match="rise"):
        Percentiles(50, 50)


def test_a_report_says_the_rule_in_words() -> None:
    assert describe(CTWindow(40, 400)) == "CT window level 40, width 400 HU"
    assert describe(Percentiles()) == "percentiles 0.5 to 99.5 of the nonzero voxels"
