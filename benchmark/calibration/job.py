"""A calibration from start to file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from benchmark import __version__
from benchmark.artifacts import ensure_artifact
from benchmark.calibration.calls import CallRecipe
from benchmark.calibration.experiment import SAME, Plan, Trial, experiment
from benchmark.calibration.store import (
    FOUND_SHARE,
    RUNS_NEEDED,
    Calibration,
    calibration_path,
    noise_floor,
    save_calibration,
    smallest_change,
    summary,
)
from benchmark.errors import InputError
from benchmark.files import sha256_text
from benchmark.measure.environment import available_cores, environment
from benchmark.measured import Environment
from benchmark.run import Progress
from exporters.fetch import cache_dir
from exporters.manifest import Manifest

PLANTED = (0.01, 0.02, 0.03, 0.05, 0.1)
"""Shares of extra work that are tried by default."""

MODEL = "litemedsam"
WORKLOAD = "LiteMedSAM's mask decoder, one box, ONNX Runtime"


@dataclass(frozen=True)
class CalibrationSettings:
    """What the command line gave."""

    budget_s: float
    runs: int
    planted: tuple[float, ...] = PLANTED
    threads: int | None = None
    seed: int = 0
    out: Path | None = None


def run_calibration(settings: CalibrationSettings, progress: Progress) -> tuple[Calibration, Path]:
    """Measures this machine and writes what it can show.

    Raises:
        InputError: a planted share makes no sense, or the file cannot be written.
    """
    bad = [share for share in settings.planted if not 0 < share <= 1]
    if bad:
        raise InputError(f"--planted {bad[0]:g}: is no share of extra work; give one above 0 and up to 1, as 0.05")
    here = environment(settings.threads or available_cores())
    path = settings.out or calibration_path(cache_dir(), here)
    if path.is_dir():
        raise InputError(f"--out {path}: is a folder; name a file")
    recipe = decoder_calls(here, progress)
    advance = progress.start(f"compare {WORKLOAD}, with itself", settings.runs)
    trials = experiment(
        recipe,
        (SAME, *sorted(set(settings.planted))),
        settings.runs,
        Plan(settings.budget_s, seed=settings.seed),
        cache_dir() / "calibration" / "logs",
        lambda some: advance(1, _told(some)),
    )
    found = calibration_of(trials, settings.budget_s, here)
    try:
        save_calibration(found, path)
    except OSError as error:
        raise InputError(f"--out {path}: cannot be written ({error.strerror}); name another file") from None
    return found, path


def calibration_of(
    trials: Sequence[Trial], budget_s: float, here: Environment, workload: str = WORKLOAD
) -> Calibration:
    """What the trials say of this machine."""
    levels = summary(trials)
    smallest = smallest_change(levels)
    largest = max((level.planted for level in levels), default=0.0)
    reason = None
    if len(trials) < RUNS_NEEDED * len(levels):
        reason = f"a noise floor and a share of {FOUND_SHARE:.0%} need {RUNS_NEEDED} runs; give --runs {RUNS_NEEDED}"
    elif smallest is None and largest:
        reason = f"not even a slowdown of {largest:.0%} was found in {FOUND_SHARE:.0%} of the runs"
    return Calibration(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        sambench_version=__version__,
        workload=workload,
        budget_s=budget_s,
        margin=Plan(budget_s).margin,
        environment=here,
        levels=levels,
        noise_floor=noise_floor(trials),
        smallest_change=smallest,
        reason=reason,
    )


def decoder_calls(here: Environment, progress: Progress) -> CallRecipe:
    """LiteMedSAM's decoder in ONNX Runtime with one box, from its export in the cache.

    Raises:
        ExportError: its weights are not installed.
    """
    from exporters.sam import load_sam

    sam = load_sam(MODEL)

    def export(folder: Path, precision: str) -> Manifest:
        advance = progress.start(f"export {MODEL} to ONNX and verify it; kept for the next time", 1)
        manifest = sam.export(folder, precision)
        advance(1, "")
        return manifest

    parts = (sam.encoder, sam.decoder)
    key = sha256_text(sam.weights.key, sam.masks)  # as `sambench label` keeps it
    sources = ensure_artifact(cache_dir(), MODEL, key, parts, "fp32", export, here.libraries)
    feed = sam.decoder.feeds()[-1]  # one prompt of two points on a slice of 512 × 512
    decoder = next(source for source in sources if source.name == "decoder")
    return CallRecipe("onnxruntime", replace(decoder, torch_module=None), feed, threads=here.threads)


def _told(trials: Sequence[Trial]) -> str:
    return ", ".join(f"{trial.planted:.0%}: {trial.speedup.ratio or 0:.3f}×" for trial in trials)
