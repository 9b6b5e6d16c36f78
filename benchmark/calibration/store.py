"""What an experiment says of a machine, as a file that later runs find again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
from pydantic import Field, ValidationError

from benchmark.calibration.experiment import Trial
from benchmark.errors import InputError
from benchmark.files import sha256_text, write_text_atomically
from benchmark.measured import Environment, Part

FOUND_SHARE = 0.95
"""A change counts as one that this machine can show where it is found this often."""

FLOOR_RANK = 95
"""Of A/A comparisons, so many in a hundred lie within the noise floor."""

RUNS_NEEDED = 10
"""Of fewer comparisons neither a 95th percentile nor a share of 95 % says anything."""


class Level(Part):
    """The trials of one planted share."""

    planted: float = Field(description="share of extra work; 0 is A/A")
    runs: int
    verdicts: dict[str, int]
    median_speedup: float | None
    widest_half_width: float | None = Field(description="of the intervals, as a share of the ratio")
    found: float = Field(description="share of runs that told the slowdown; of A/A, that told a change: false verdicts")
    median_seconds: float = Field(description="that a comparison took")


class Calibration(Part):
    """What this machine can show, by its own measure."""

    created: str = Field(description="UTC, ISO 8601")
    sambench_version: str
    workload: str
    budget_s: float
    margin: float
    environment: Environment
    levels: list[Level]
    noise_floor: float | None = Field(description="95 % of A/A speedups lie within 1 ± this")
    smallest_change: float | None = Field(description="smallest planted share that was found in 95 % of runs")
    reason: str | None = Field(default=None, description="why one is null")

    @property
    def words(self) -> str:
        """For a report."""
        same = next((level for level in self.levels if level.planted == 0), None)
        parts = [f"calibrated {self.created[:10]} with {self.workload}, {self.budget_s:g} s a comparison"]
        if same is not None and self.noise_floor is not None:
            wrong = round(same.found * same.runs)
            parts.append(f"noise floor {self.noise_floor:.2%}, {wrong} false verdicts in {same.runs} A/A comparisons")
        if self.smallest_change is not None:
            parts.append(f"{self.smallest_change:.0%} more work is found in {FOUND_SHARE:.0%} of comparisons")
        return "; ".join(parts)


def summary(trials: Sequence[Trial]) -> list[Level]:
    """One level for each planted share, in order."""
    levels = []
    for planted in sorted({trial.planted for trial in trials}):
        some = [trial for trial in trials if trial.planted == planted]
        verdicts = [trial.speedup.verdict for trial in some]
        widths = [_half_width(trial.speedup.ci95) for trial in some if trial.speedup.ci95 is not None]
        hits = sum(trial.found if planted else trial.false for trial in some)
        ratios = [trial.speedup.ratio for trial in some if trial.speedup.ratio is not None]
        levels.append(
            Level(
                planted=planted,
                runs=len(some),
                verdicts={verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)},
                median_speedup=median(ratios) if ratios else None,
                widest_half_width=max(widths, default=None),
                found=hits / len(some),
                median_seconds=median(trial.seconds for trial in some),
            )
        )
    return levels


def _half_width(ci95: tuple[float, float]) -> float:
    return math.log(ci95[1] / ci95[0]) / 2


def noise_floor(trials: Sequence[Trial]) -> float | None:
    """What 95 % of the A/A speedups differ from 1 by at most, as a share; None of fewer than `RUNS_NEEDED`."""
    same = [trial.speedup.ratio for trial in trials if trial.planted == 0 and trial.speedup.ratio is not None]
    return float(np.expm1(np.percentile(np.abs(np.log(same)), FLOOR_RANK))) if len(same) >= RUNS_NEEDED else None


def smallest_change(levels: Sequence[Level]) -> float | None:
    """The smallest planted share from which on every larger one was found in 95 % of its runs; None if none was."""
    smallest = None
    for level in sorted(levels, key=lambda one: -one.planted):
        if level.planted == 0 or level.found < FOUND_SHARE or level.runs < RUNS_NEEDED:
            break
        smallest = level.planted
    return smallest


def machine_key(environment: Environment) -> str:
    """Changes with the machine and what decides times on it: another one's calibration says nothing of this one."""
    decides = environment.model_dump(include={"machine", "cpu", "cores", "gpu", "os", "threads", "governor", "driver"})
    versions = {name: environment.libraries.get(name) for name in ("torch", "onnxruntime-gpu", "onnxruntime")}
    if "openvino" in environment.libraries:  # optional: where it is absent, the key stays what it was
        versions["openvino"] = environment.libraries["openvino"]
    return sha256_text(str(sorted(decides.items())), str(sorted(versions.items())))[:12]


def calibration_path(folder: Path, environment: Environment) -> Path:
    """Where this machine's calibration lies."""
    return folder / "calibration" / f"{machine_key(environment)}.json"


def find_calibration(folder: Path, environment: Environment) -> Calibration | None:
    """This machine's calibration, if there is one that can be read."""
    path = calibration_path(folder, environment)
    return load_calibration(path) if path.is_file() else None


def save_calibration(calibration: Calibration, path: Path) -> None:
    """Writes it whole or not at all."""
    write_text_atomically(path, calibration.model_dump_json(indent=1))


def load_calibration(path: Path) -> Calibration:
    """Reads a calibration.

    Raises:
        InputError: there is none, or it is damaged.
    """
    try:
        return Calibration.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: no calibration there ({error.strerror}); run `sambench calibrate`") from None
    except (ValidationError, UnicodeDecodeError):
        raise InputError(f"{path}: is damaged or no calibration; run `sambench calibrate` again") from None
