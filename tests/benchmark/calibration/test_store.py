"""What trials say of a machine, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.calibration.experiment import Trial
from benchmark.calibration.job import calibration_of
from benchmark.calibration.store import (
    Calibration,
    find_calibration,
    load_calibration,
    machine_key,
    noise_floor,
    save_calibration,
    smallest_change,
    summary,
)
from benchmark.calibration.store import calibration_path as path_of
from benchmark.errors import InputError
from benchmark.measure.environment import environment
from benchmark.measure.statistics import Speedup
from benchmark.results import Verdict

HERE = environment(1)


def trial(planted: float, ratio: float, verdict: Verdict) -> Trial:
    return Trial(planted, Speedup(ratio, (ratio * 0.99, ratio * 1.01), 30, verdict), 5.0)


def trials(planted: float, found: int, runs: int = 20) -> list[Trial]:
    told: list[Verdict] = ["slower"] * found + ["inconclusive"] * (runs - found)
    return [trial(planted, 1 / (1 + planted), verdict) for verdict in told]


def same(*ratios: float) -> list[Trial]:
    return [trial(0.0, ratio, "equivalent") for ratio in ratios]


def test_the_noise_floor_holds_95_of_100_equals_whichever_side_they_fall_on() -> None:
    ratios = [1 + 0.0001 * n for n in range(1, 51)] + [1 / (1 + 0.0001 * n) for n in range(51, 101)]
    assert noise_floor(same(*ratios)) == pytest.approx(0.0095, abs=0.0002)
    assert noise_floor([*same(*ratios), *trials(0.1, 20)]) == noise_floor(same(*ratios))


def test_few_equals_have_no_noise_floor() -> None:
    assert noise_floor(same(*[1.0] * 9)) is None
    assert noise_floor(same(*[1.0] * 10)) == 0.0


@pytest.mark.parametrize(
    ("found", "smallest"),
    [
        ({0.01: 3, 0.05: 19, 0.1: 20}, 0.05),
        ({0.01: 19, 0.05: 18, 0.1: 20}, 0.1),  # what is found by luck below one that is not does not count
        ({0.01: 19, 0.05: 20, 0.1: 20}, 0.01),
        ({0.05: 18}, None),
    ],
)
def test_the_smallest_change_is_found_and_so_is_every_larger_one(
    found: dict[float, int], smallest: float | None
) -> None:
    levels = summary([*same(*[1.0] * 20), *(one for share, count in found.items() for one in trials(share, count))])
    assert smallest_change(levels) == smallest


def test_a_level_counts_what_was_told() -> None:
    wrong = [trial(0.0, 1.03, "faster"), trial(0.0, 0.97, "slower"), *same(1.0, 1.0)]
    aa, five = summary([*wrong, *trials(0.05, 3, runs=4)])
    assert (aa.planted, aa.runs, aa.found) == (0.0, 4, 0.5)
    assert aa.verdicts == {"faster": 1, "slower": 1, "equivalent": 2}
    assert (five.planted, five.found) == (0.05, 0.75)
    assert five.median_speedup == pytest.approx(1 / 1.05)
    assert five.widest_half_width == pytest.approx(0.01, abs=1e-4)


def test_a_slowdown_that_is_told_as_a_gain_or_as_nothing_is_false() -> None:
    assert trial(0.05, 1.05, "faster").false and trial(0.05, 1.0, "equivalent").false
    assert not trial(0.05, 0.95, "slower").false and not trial(0.05, 0.98, "inconclusive").false
    assert trial(0.0, 1.0, "slower").false and not trial(0.0, 1.0, "equivalent").false


def test_a_calibration_is_found_again_on_the_same_machine_alone(tmp_path: Path) -> None:
    made = calibration_of([*same(*[1.0] * 20), *trials(0.05, 20)], 20.0, HERE, "work")
    save_calibration(made, path_of(tmp_path, HERE))
    assert find_calibration(tmp_path, HERE) == made
    assert "noise floor 0.00%" in made.words and "5% more work is found in 95% of comparisons" in made.words
    for changes in ({"cpu": "other"}, {"threads": 7}, {"libraries": {"torch": "0"}}, {"governor": "powersave"}):
        assert find_calibration(tmp_path, HERE.model_copy(update=changes)) is None
    # What differs from hour to hour must not lose it.
    assert machine_key(HERE.model_copy(update={"load_before": 9.0, "busy": "x"})) == machine_key(HERE)


def test_a_calibration_of_few_runs_says_what_it_lacks() -> None:
    made = calibration_of([*same(1.0, 1.0), *trials(0.05, 2, runs=2)], 20.0, HERE, "work")
    assert made.noise_floor is None and made.smallest_change is None
    assert made.reason is not None and "--runs 10" in made.reason
    made = calibration_of([*same(*[1.0] * 20), *trials(0.05, 3)], 20.0, HERE, "work")
    assert made.noise_floor == 0.0 and made.reason == "not even a slowdown of 5% was found in 95% of the runs"


@pytest.mark.parametrize("content", ["", "{}", '{"levels": 3}'])
def test_a_damaged_calibration_is_told_with_what_to_do(content: str, tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    with pytest.raises(InputError, match="no calibration there"):
        load_calibration(file)
    file.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="run `sambench calibrate` again"):
        load_calibration(file)


def test_a_calibration_survives_its_file(tmp_path: Path) -> None:
    made = calibration_of(same(*[1.0] * 12), 20.0, HERE, "work")
    save_calibration(made, tmp_path / "c.json")
    assert isinstance(load_calibration(tmp_path / "c.json"), Calibration)
    assert load_calibration(tmp_path / "c.json") == made
