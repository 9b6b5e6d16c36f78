"""What accepted runs say of the trend: a line for each cell, broken where runs are not comparable. Pure.

A cell is followed by its identity: stage, task, model, prompt, backend, device, precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmark.compare.comparable import differences
from benchmark.compare.schema import Difference
from benchmark.history.store import AcceptedRun
from benchmark.results import Cell, Comparison, LaneKey


@dataclass(frozen=True)
class Condition:
    """What the lanes of a trend have in common."""

    stage: str
    task: str
    model: str
    prompt: str | None
    device: str


@dataclass(frozen=True)
class Point:
    """A cell in one run. A value that the run does not have is None, and `reason` says why.

    Attributes:
        run: the run's place in the history, counted from 0.
        line: points of one line may be compared; it begins anew where runs may not.
        lane: backend and precision.
        speedup: over the reference of the same run.
        ci95: its interval.
        p50_ms: median latency.
        unit: of which.
        dice: mean over cases and labels.
        memory_mib: peak of its process.
        reason: why there is nothing, or no speedup.
    """

    run: int
    line: int
    lane: str
    speedup: float | None
    ci95: tuple[float, float] | None
    p50_ms: float | None
    unit: str
    dice: float | None
    memory_mib: float | None
    reason: str | None


@dataclass(frozen=True)
class Step:
    """One run of the history, and what changed since the run before.

    Attributes:
        created: UTC, ISO 8601.
        name: of the run.
        breaks: what makes it not comparable with the run before: hardware, driver, data, specification.
        upgrades: libraries and what else of the software changed.
        objections: what spoke against accepting it.
        reason: why it was accepted all the same.
        cells: in it.
        sound: cells in it that worked.
    """

    created: str
    name: str
    place: str
    breaks: tuple[Difference, ...]
    upgrades: tuple[Difference, ...]
    objections: tuple[str, ...]
    reason: str | None
    cells: int
    sound: int


@dataclass(frozen=True)
class Trend:
    """The whole of a history.

    Attributes:
        steps: its runs, oldest first.
        conditions: condition → its points in order of runs, those of a run in the order of its lanes.
    """

    steps: tuple[Step, ...]
    conditions: dict[Condition, list[Point]] = field(default_factory=dict)

    def lanes(self, condition: Condition) -> list[str]:
        """Backends and precisions in the order in which they came."""
        return list(dict.fromkeys(point.lane for point in self.conditions[condition]))


def trend(runs: Sequence[AcceptedRun]) -> Trend:
    """The trend of runs in order, oldest first."""
    found = Trend(tuple(_step(runs[index - 1] if index else None, run) for index, run in enumerate(runs)))
    line = 0
    for index, (run, step) in enumerate(zip(runs, found.steps, strict=True)):
        line += bool(step.breaks)
        compared = {_identity(one, one.candidate, one.precision): one for one in run.results.comparisons}
        # Whose time everybody else's is held against has no speedup of its own; it runs in fp32.
        references = {_identity(one, one.baseline, "fp32") for one in run.results.comparisons}
        for cell in run.results.cells:
            condition = Condition(cell.stage, cell.task, cell.model, cell.prompt, cell.device)
            identity = _identity(cell, cell.backend, cell.precision)
            point = _point(index, line, cell, compared.get(identity), identity in references)
            found.conditions.setdefault(condition, []).append(point)
    return found


def _step(before: AcceptedRun | None, run: AcceptedRun) -> Step:
    changed = () if before is None else differences(before.results, run.results)
    return Step(
        created=run.results.created,
        name=run.results.name,
        place=run.place.name,
        breaks=tuple(one for one in changed if one.blocking),
        upgrades=tuple(one for one in changed if not one.blocking),
        objections=tuple(run.acceptance.objections),
        reason=run.acceptance.reason,
        cells=len(run.results.cells),
        sound=sum(cell.status == "ok" for cell in run.results.cells),
    )


def _identity(part: Cell | Comparison, backend: str, precision: str) -> tuple[str | None, ...]:
    return (part.stage, part.task, part.model, part.prompt, part.device, backend, precision)


def _point(index: int, line: int, cell: Cell, compared: Comparison | None, is_reference: bool) -> Point:
    worked = cell.status == "ok"
    reason = None
    if not worked:
        reason = f"{cell.status}: {cell.reason or 'no reason recorded'}"
    elif is_reference:
        reason = "the reference, which the others' speedups are over"
    elif compared is None or compared.speedup is None:
        reason = (compared.reason if compared else None) or "nothing was measured beside it"
    return Point(
        run=index,
        line=line,
        lane=str(LaneKey(cell.backend, cell.precision)),
        speedup=compared.speedup if worked and compared else None,
        ci95=compared.ci95 if worked and compared else None,
        p50_ms=cell.latency_ms.p50 if worked and cell.latency_ms else None,
        unit=cell.latency_unit,
        dice=cell.dice if worked else None,
        memory_mib=cell.memory_mib if worked else None,
        reason=reason,
    )
