"""The schema of a comparison of two runs: what `sambench compare --json` writes, and what its reports read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from benchmark.measured import Part

Fate = Literal["compared", "missing", "newly failing", "still failing", "recovered", "new"]
ChangeVerdict = Literal["regression", "improvement", "no change", "inconclusive"]
Kind = Literal["hardware", "driver", "data", "spec", "software"]
BLOCKING: tuple[Kind, ...] = ("hardware", "driver", "data", "spec")
"""Times on another machine, of other data or by another recipe say nothing of what changed in between."""


class Change(Part):
    """A metric of a cell, in two runs."""

    metric: str
    base: float | None
    new: float | None
    change: float | None = Field(description="(new − base) / base, or new − base where the metric is no ratio")
    ci95: tuple[float, float] | None = Field(default=None, description="of the change, the floor included")
    floor: float = Field(default=0.0, description="what of the interval no run shows of itself, as a share")
    limit: float = Field(description="how much worse is accepted")
    verdict: ChangeVerdict
    paired: bool = Field(default=False, description="held against the reference that was measured in turns with it")
    how: str = Field(description="what was held against what")
    reason: str | None = None


class Difference(Part):
    """Something that differs between two runs."""

    kind: Kind
    what: str
    base: str
    new: str

    @property
    def blocking(self) -> bool:
        """Whether runs that differ in it are not compared unless that is asked for."""
        return self.kind in BLOCKING

    @property
    def words(self) -> str:
        """For a sentence."""
        return f"{self.what}: {self.base} → {self.new}"


class Floors(Part):
    """What two runs of one program differ by on this machine, as shares."""

    paired: float = Field(description="of a change against the reference of the same run")
    raw: float = Field(description="of times that nothing was measured beside")
    words: str = Field(description="where they come from")


class CellChange(Part):
    """A cell in both runs, or in one of them."""

    stage: str
    task: str
    model: str
    prompt: str | None
    backend: str
    device: str
    precision: str
    fate: Fate
    reason: str | None = None
    changes: list[Change] = Field(default=[])

    def change(self, metric: str) -> Change | None:
        """Of a metric, if it was compared."""
        return next((change for change in self.changes if change.metric == metric), None)


class Offence(Part):
    """A cell that breaks a rule."""

    rule: str
    cell: CellChange
    words: str = Field(description="what it did")


class RunSide(Part):
    """One of the two runs."""

    name: str
    created: str
    place: str
    sambench_version: str
    cells: int


class RunComparison(Part):
    """What changed from one run to the other."""

    base: RunSide
    new: RunSide
    rules: list[str]
    metrics: list[str] = Field(description="those that rules speak of: the verdict on a cell is of these alone")
    floors: Floors
    differences: list[Difference]
    cells: list[CellChange]
    offences: list[Offence]
    drift: list[str] = Field(default=[], description="what moved on both sides, in sentences")

    @property
    def regressed(self) -> bool:
        """Whether the new run is to be refused."""
        return bool(self.offences)
