"""tune.json: every candidate with what became of it, and the one to deploy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from benchmark.errors import InputError
from benchmark.files import write_text_atomically
from benchmark.measured import Environment, Part
from benchmark.sections import LaneSpec

TUNE_SCHEMA = 1
TUNE_FILE = "tune.json"

Fate = Literal[
    "winner", "equal", "open", "slower", "forced out", "not raced", "gate", "invalid", "failed", "not tried",
    "unavailable",
]  # fmt: skip
"""`equal`: as fast as the winner within the margin. `open`: its interval reaches the winner's. `forced out`: it left a
race for the budget's sake. `invalid`: something else ran than was asked for."""


class Versus(Part):
    """The winner against somebody else."""

    other: str
    speedup: float = Field(
        description="the other's time / the winner's, median over pairs; above 1 the winner is faster"
    )
    ci95: tuple[float, float] | None = Field(
        description="95 % interval, of fewer than 16 pairs their range; null of fewer than 6"
    )
    pairs: int
    source: Literal["final", "race", "screening"] = Field(description="screening: one after another, not in pairs")
    reason: str | None = Field(default=None, description="why there is no interval")


class CandidateResult(Part):
    """One candidate, or a lane that cannot run here."""

    name: str
    backend: str
    precision: str
    own: LaneSpec = Field(description="what differs from the lane's defaults")
    fate: Fate
    reason: str
    unit_ms: float | None = Field(default=None, description="of a unit when it was screened, alone")
    dice: dict[str, float | None] = Field(default={}, description="variant → against the reference labels")
    mask_dice: dict[str, float | None] = Field(default={}, description="variant → against the reference's masks")
    memory_mib: float | None = None
    start_s: float | None = None
    race_ms: list[float] = Field(default=[], description="of its turns in the last race that it took part in")
    final_ms: list[float] = Field(default=[], description="of its turns in the final")


class TuneResult(Part):
    """A whole tuning."""

    schema_version: int = TUNE_SCHEMA
    sambench_version: str
    created: str = Field(description="UTC, ISO 8601")
    command: str
    environment: Environment
    task: str
    model: str
    cases: list[str]
    units: int
    variants: list[str]
    budget_s: float
    spent_s: float = Field(description="earlier, interrupted calls included")
    margin: float = Field(description="half-width of what counts as equally fast")
    gate: float = Field(description="share of the reference's Dice that must be kept")
    no_dice: str | None = None
    reference: str
    winner: str
    why: str = Field(description="this one and not another")
    versus: list[Versus]
    candidates: list[CandidateResult]
    notes: list[str] = Field(default=[], description="what a reader must know")
    spec: dict[str, Any] = Field(description="winner.yaml")

    def of(self, name: str) -> CandidateResult:
        """A candidate.

        Raises:
            KeyError: there is none of that name.
        """
        for candidate in self.candidates:
            if candidate.name == name:
                return candidate
        raise KeyError(name)


def save_tune(result: TuneResult, out: Path) -> Path:
    """Writes tune.json whole or not at all."""
    write_text_atomically(out / TUNE_FILE, result.model_dump_json(indent=1))
    return out / TUNE_FILE


def load_tune(path: Path) -> TuneResult:
    """Reads a tune.json.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        return TuneResult.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); run `sambench tune`") from None
    except (ValidationError, UnicodeDecodeError):
        raise InputError(f"{path}: is damaged or of another version; run `sambench tune` again") from None
