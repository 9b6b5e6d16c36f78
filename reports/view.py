"""A run seen by its readers: which cells belong together, what they are called, what a comparison amounts to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from benchmark.results import Cell, Comparison, Results
from reports.text import ABSENT, backend_name, condition, lane_name

Outcome = Literal["faster", "slower", "equivalent", "inconclusive", "gate", "unmeasured"]
Place = tuple[str, str, str, str | None]
STAGES = ("pseudolabel", "train", "segment")


def lacks_dice(cell: Cell) -> str | None:
    """Why none of a cell's cases has a Dice; None if one has, or if nothing was measured."""
    if any(entry.dice is not None for entry in cell.dice_per_case):
        return None
    return next((entry.reason for entry in cell.dice_per_case if entry.reason), None)


@dataclass(frozen=True)
class View:
    """Results with the look-ups that tables, sentences and charts share."""

    results: Results

    @cached_property
    def _by_identity(self) -> Mapping[tuple[str | None, ...], Cell]:
        return {
            (cell.stage, cell.task, cell.model, cell.prompt, cell.backend, cell.device, cell.precision): cell
            for cell in self.results.cells
        }

    @cached_property
    def many_devices(self) -> bool:
        """Whether the device sets cells apart."""
        return len({cell.device for cell in self.results.cells}) > 1

    @cached_property
    def many_precisions(self) -> bool:
        """Whether the precision sets cells apart."""
        return len({cell.precision for cell in self.results.cells}) > 1

    @cached_property
    def many_models(self) -> bool:
        """Whether a stage has several models."""
        return len({(cell.stage, cell.model) for cell in self.results.cells}) > len(self.stages)

    @cached_property
    def many_tasks(self) -> bool:
        """Whether the task sets cells apart."""
        return len({cell.task for cell in self.results.cells}) > 1

    @cached_property
    def many_pairs(self) -> bool:
        """Whether several candidates or baselines are compared, in one precision or several."""
        return len({(c.candidate, c.precision, c.baseline) for c in self.results.comparisons}) > 1

    @cached_property
    def only_baseline(self) -> str | None:
        """The name of the baseline, if all comparisons share one."""
        found = {self.sides(comparison)[1] for comparison in self.results.comparisons}
        return found.pop() if len(found) == 1 else None

    @cached_property
    def stages(self) -> tuple[str, ...]:
        """The stages that have cells, in the order of the pipeline."""
        present = {cell.stage for cell in self.results.cells}
        return tuple(stage for stage in STAGES if stage in present)

    @cached_property
    def variants(self) -> tuple[str, ...]:
        """Every variant, in the order of the cells."""
        return tuple(dict.fromkeys(self.variant(cell) for cell in self.results.cells))

    def variant(self, cell: Cell) -> str:
        """A backend's name, with device and precision where the run has several of them."""
        device = [cell.device] if self.many_devices else []
        precision = [cell.precision] if self.many_precisions else []
        return " ".join([backend_name(cell.backend), *device, *precision])

    def sides(self, comparison: Comparison) -> tuple[str, str]:
        """The names of candidate and baseline, with the precision of each where it does not go without saying."""
        baseline = self.baseline(comparison)
        precisions = (comparison.precision, baseline.precision if baseline else "fp32")
        backends = (comparison.candidate, comparison.baseline)
        if self.many_precisions:
            candidate, against = (f"{backend_name(b)} {p}" for b, p in zip(backends, precisions, strict=True))
        else:
            candidate, against = (lane_name(b, p) for b, p in zip(backends, precisions, strict=True))
        return candidate, against

    def compared(self, comparison: Comparison) -> str | None:
        """What is compared with what, in short; None where it goes without saying."""
        if not (self.many_pairs or self.many_devices):
            return None
        return " / ".join(self.sides(comparison)) + (f" {comparison.device}" if self.many_devices else "")

    def measure_setting(self, name: str) -> object:
        """What the specification says in its section `measure`; None where an older run knew no such field."""
        section = self.results.spec.get("measure")
        return section.get(name) if isinstance(section, Mapping) else None

    def cells(self, stage: str) -> list[Cell]:
        """The cells of a stage."""
        return [cell for cell in self.results.cells if cell.stage == stage]

    def places(self, cells: Iterable[Cell]) -> dict[Place, list[Cell]]:
        """Cells that differ in nothing but the variant, together."""
        found: dict[Place, list[Cell]] = {}
        for cell in cells:
            found.setdefault((cell.stage, cell.task, cell.model, cell.prompt), []).append(cell)
        return found

    def candidate(self, comparison: Comparison) -> Cell | None:
        """The cell of a comparison's candidate."""
        return self._find(comparison, comparison.candidate, comparison.precision)

    def baseline(self, comparison: Comparison) -> Cell | None:
        """The cell of a comparison's baseline; a reduced precision may be compared with fp32."""
        same = self._find(comparison, comparison.baseline, comparison.precision)
        return same or self._find(comparison, comparison.baseline, "fp32")

    def _find(self, comparison: Comparison, backend: str, precision: str) -> Cell | None:
        place = (comparison.stage, comparison.task, comparison.model, comparison.prompt)
        return self._by_identity.get((*place, backend, comparison.device, precision))

    def dice_difference(self, comparison: Comparison) -> float | None:
        """Dice of the candidate minus Dice of the baseline."""
        candidate, baseline = self.candidate(comparison), self.baseline(comparison)
        if candidate is None or baseline is None:
            return None
        if candidate.dice is not None and baseline.dice is not None:
            return candidate.dice - baseline.dice
        return candidate.parity.dice_delta if candidate.parity else None

    def no_dice(self, comparison: Comparison) -> str | None:
        """Why a comparison has no difference of Dice, where the cells that ran say so: random weights have none."""
        cells = (self.candidate(comparison), self.baseline(comparison))
        return next((reason for cell in cells if cell is not None and (reason := lacks_dice(cell))), None)

    def outcome(self, comparison: Comparison) -> Outcome:
        """What a comparison amounts to. Without two valid cells and a passed gate there is no speed to speak of."""
        cells = (self.candidate(comparison), self.baseline(comparison))
        if any(cell is None or cell.status in ("failed", "skipped") for cell in cells):
            return "unmeasured"
        if comparison.gate == "fail":
            lost = self.dice_difference(comparison)
            return "gate" if lost is None or lost < 0 else "unmeasured"
        if comparison.speedup is None or any(cell is not None and cell.status == "invalid" for cell in cells):
            return "unmeasured"
        return comparison.verdict

    def why_unmeasured(self, comparison: Comparison) -> str:
        """The reason for a comparison without a speedup."""
        for cell in (self.candidate(comparison), self.baseline(comparison)):
            if cell is not None and cell.status != "ok":
                return f"{lane_name(cell.backend, cell.precision)} {cell.status}: {cell.reason or 'no reason recorded'}"
        cells = (self.candidate(comparison), self.baseline(comparison))
        missing = [name for name, cell in zip(self.sides(comparison), cells, strict=True) if cell is None]
        return comparison.reason or (f"no cell of {' and '.join(missing)}" if missing else "no reason recorded")

    def label(self, cell: Cell | Comparison, *, stage: bool = False) -> str:
        """One or two short lines that name a cell on a chart's axis; the second says where, if it must be said."""
        first: list[str] = [cell.stage] if stage else []
        if cell.prompt is not None:
            first.append(condition(cell.stage, cell.prompt))
        where = self.where(cell)
        return (", ".join(first) or ABSENT) + (f"\n{where}" if where else "")

    def where(self, cell: Cell | Comparison) -> str:
        """A cell's task and model, as far as the run has several."""
        return ", ".join([cell.task] * self.many_tasks + [cell.model] * self.many_models)
