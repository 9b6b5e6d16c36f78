"""`sambench calibrate`: what it refuses, and what it prints and keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.calibration import job
from benchmark.calibration.calls import CallRecipe
from benchmark.calibration.store import load_calibration
from benchmark.cli_options import seconds_option
from benchmark.errors import InputError
from tests.benchmark.calibration.test_experiment import clock, dummy
from tests.benchmark.conftest import Sambench
from tests.clock import Clock

__all__ = ["clock"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    recipe: CallRecipe = dummy()
    monkeypatch.setattr(job, "decoder_calls", lambda here, progress: recipe)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("120s", 120), ("2m", 120), ("1.5h", 5400), (" 3 s ", 3), ("0", 0)]
)
def test_times_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert seconds_option(text, "--budget") == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1", "1d", "s", "1e3", "nan", "1:30"])
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match="give one as 90, 120s, 2m or 1h"):
        seconds_option(text, "--budget")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--budget", "soon"], "--budget soon"),
        (["--planted", "5"], "--planted 5: is no share"),
        (["--planted", "0"], "--planted 0: is no share"),
        (["--threads", "100000"], "--threads: 100000 is more than"),
        (["--out", "."], "--out .: is a folder"),
    ],
)
def test_nonsense_is_refused_before_anything_is_measured(
    arguments: list[str], words: str, sambench: Sambench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "experiment", lambda *_: pytest.fail("something was measured"))
    code, _, error = sambench("calibrate", *arguments)
    assert code == 2 and words in " ".join(error.split()) and "Traceback" not in error


@pytest.mark.usefixtures("quick")
def test_a_calibration_is_printed_and_kept(sambench: Sambench, tmp_path: Path) -> None:
    file = tmp_path / "this machine.json"
    code, printed, error = sambench(
        "calibrate", "--budget", "10s", "--runs", "2", "--planted", "1", "--threads", "1", "--out", str(file)
    )
    assert code == 0, error
    kept = load_calibration(file)
    assert [level.planted for level in kept.levels] == [0.0, 1.0]
    assert kept.environment.threads == 1 and kept.budget_s == 10
    assert [level.median_speedup for level in kept.levels] == pytest.approx([1.0, 0.5], rel=0.01)
    assert "none (A/A)" in printed and "100.0%" in printed and "--runs 10" in printed
