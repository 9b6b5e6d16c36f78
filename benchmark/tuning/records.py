"""What a tuning has measured so far, in files: the same command goes on from them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from pydantic import Field, ValidationError

from benchmark.files import atomic_path, sha256_text, write_text_atomically
from benchmark.measured import Part
from benchmark.metrics import Labels
from benchmark.tuning.gate import Maps

RECORDS = "records"
_P = TypeVar("_P", bound=Part)

SEPARATOR = "/"
"""Between variant and case in the file of the reference's masks; no name of either holds it."""


class Screening(Part):
    """One candidate on every unit, alone."""

    name: str
    unit_ms: float | None = Field(default=None, description="mean over units of the better of its passes, ms")
    dice: dict[str, float | None] = Field(default={}, description="variant → against the reference labels")
    mask_dice: dict[str, float | None] = Field(default={}, description="variant → against the reference's masks")
    memory_mib: float | None = Field(default=None, description="peak of its process")
    start_s: float = Field(default=0.0, description="starting, loading and the first call")
    seconds: float = Field(default=0.0, description="all of it")
    dropped: Literal["failed", "invalid", "gate"] | None = None
    reason: str | None = Field(default=None, description="why it was dropped")
    limit_s: float | None = Field(default=None, description="of a call, where it took longer; more may be enough")

    @property
    def may_be_mended(self) -> bool:
        """Whether it crashed or was refused. Wrong answers stay wrong, and who is slow is slow."""
        return self.dropped == "failed" and self.limit_s is None


class Left(Part):
    """Who left a race."""

    name: str
    reason: str
    forced: bool = Field(default=False, description="by the budget, and not because it was surely behind")
    failed: bool = Field(default=False, description="its process did not answer")


class HeatRecord(Part):
    """A race of some candidates at once."""

    number: int
    entrants: list[str]
    times: dict[str, list[float]] = Field(default={}, description="candidate → ms of its turn in each round")
    left: list[Left] = Field(default=[], description="in that order")
    ended: str | None = Field(default=None, description="why it ended; null while it is under way")

    @property
    def racing(self) -> list[str]:
        """Who is still there."""
        gone = {left.name for left in self.left}
        return [name for name in self.entrants if name not in gone]

    @property
    def rounds(self) -> int:
        """How many rounds those who are still there have taken."""
        return max((len(self.times.get(name, ())) for name in self.racing), default=0)


class TuneStore:
    """The records of one content in a tuning's folder.

    Args:
        out: the tuning's folder.
        key: changes with everything that could change a number.
    """

    def __init__(self, out: Path, key: str) -> None:
        self.folder = out / RECORDS / key[:10]

    def screening(self, name: str) -> Screening | None:
        """A candidate's, if it was screened."""
        found = _load(Screening, self._screening(name))
        return found if found is not None and found.name == name else None

    def save_screening(self, screening: Screening) -> None:
        """Keeps it."""
        write_text_atomically(self._screening(screening.name), screening.model_dump_json(indent=1))

    def _screening(self, name: str) -> Path:
        return self.folder / "screening" / f"{sha256_text(name)[:16]}.json"

    def heat(self, number: int) -> HeatRecord | None:
        """A heat, if it was begun. Heats are counted from 1; 0 is the final."""
        return _load(HeatRecord, self._heat(number))

    def save_heat(self, heat: HeatRecord) -> None:
        """Keeps it."""
        write_text_atomically(self._heat(heat.number), heat.model_dump_json())

    def _heat(self, number: int) -> Path:
        return self.folder / f"heat-{number}.json"

    def masks(self) -> Maps | None:
        """The reference's, if they were kept."""
        maps: dict[str, dict[str, Labels]] = {}
        try:
            with np.load(self.folder / "reference.npz", allow_pickle=False) as stored:
                for key in stored.files:
                    variant, _, case = key.partition(SEPARATOR)
                    maps.setdefault(variant, {})[case] = stored[key]
        except (OSError, ValueError, EOFError):
            return None
        return maps

    def save_masks(self, maps: Maps) -> None:
        """Keeps the reference's masks, which every candidate's are held against."""
        arrays = {
            f"{variant}{SEPARATOR}{case}": value for variant, cases in maps.items() for case, value in cases.items()
        }
        with atomic_path(self.folder / "reference.npz") as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **arrays)


def _load(kind: type[_P], path: Path) -> _P | None:
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        return None
