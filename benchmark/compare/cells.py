"""Cell by cell: what became of each in the new run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmark.compare.changes import (
    absent,
    exact_change,
    ratio_change,
    single_change,
    speedup_change,
    unless_the_reference_moved,
)
from benchmark.compare.schema import CellChange, Change, Fate, Floors
from benchmark.measure.statistics import paired_difference
from benchmark.measured import Latency
from benchmark.results import Cell, Comparison, Results

Identity = tuple[str, str, str, str | None, str, str, str]
CASES_SHOWN = 3
"""An interval over fewer cases is too wide to be worth a column."""

Limits = Mapping[str, float]


def compare_cells(base: Results, new: Results, limits: Limits, floors: Floors) -> list[CellChange]:
    """Every cell of either run, those of the base first and in its order.

    Args:
        base: the run to compare with.
        new: the run that is judged.
        limits: metric → how much worse is accepted.
        floors: what the machine's own noise adds to each interval.
    """
    found = {_identity(cell): cell for cell in new.cells}
    speedups = tuple({_compared(c): c for c in run.comparisons} for run in (base, new))
    changes = []
    for cell in base.cells:
        other = found.pop(_identity(cell), None)
        changes.append(_cell_change(cell, other, speedups, limits, floors))
    changes += [_told(cell, "new", cell.reason) for cell in found.values()]
    return changes


def _identity(cell: Cell) -> Identity:
    return (cell.stage, cell.task, cell.model, cell.prompt, cell.backend, cell.device, cell.precision)


def _compared(comparison: Comparison) -> Identity:
    c = comparison
    return (c.stage, c.task, c.model, c.prompt, c.candidate, c.device, c.precision)


def _told(cell: Cell, fate: Fate, reason: str | None, changes: Sequence[Change] = ()) -> CellChange:
    identity = cell.model_dump(include={"stage", "task", "model", "prompt", "backend", "device", "precision"})
    return CellChange(**identity, fate=fate, reason=reason, changes=list(changes))


def _cell_change(
    base: Cell,
    new: Cell | None,
    speedups: tuple[Mapping[Identity, Comparison], ...],
    limits: Limits,
    floors: Floors,
) -> CellChange:
    if new is None:
        return _told(base, "missing", "the new run has no such cell")
    if base.status != "ok" and new.status != "ok":
        return _told(base, "still failing", f"{new.status}: {new.reason or 'no reason recorded'}")
    if new.status != "ok":
        return _told(base, "newly failing", f"{new.status}: {new.reason or 'no reason recorded'}")
    if base.status != "ok":
        return _told(base, "recovered", f"was {base.status}: {base.reason or 'no reason recorded'}")
    pair = tuple(found.get(_identity(base)) for found in speedups)
    changes = [
        *_times(base, new, pair, limits, floors),
        *_dice(base, new, limits["dice"]),
        *_mask_dice(base, new, limits["mask_dice"]),
        *_singles(base, new, limits, floors),
    ]
    return _told(base, "compared", None, changes)


def _times(base: Cell, new: Cell, pair: Sequence[Comparison | None], limits: Limits, floors: Floors) -> list[Change]:
    """Latency, against the reference where both runs measured it in turns, and device latency."""
    if base.latency_unit != new.latency_unit:
        why = f"a unit is a {base.latency_unit} in the base and a {new.latency_unit} in the new run"
        return [absent("latency", limits["latency"], why, "units")]
    own = _samples("latency", base.latency_ms, new.latency_ms, limits, floors)
    changes = [_against_reference(pair, own, limits["latency"], floors.paired) or own]
    if base.device_latency_ms and new.device_latency_ms:
        changes.append(_samples("device_latency", base.device_latency_ms, new.device_latency_ms, limits, floors))
    return changes


def _samples(metric: str, base: Latency | None, new: Latency | None, limits: Limits, floors: Floors) -> Change:
    samples = [latency.samples if latency else [] for latency in (base, new)]
    return ratio_change(metric, samples[0], samples[1], limits[metric], floors.raw)


def _against_reference(pair: Sequence[Comparison | None], own: Change, limit: float, floor: float) -> Change | None:
    """None where a run has no interval of the cell's speedup over the same reference."""
    base, new = pair
    if base is None or new is None or base.baseline != new.baseline or own.base is None or own.new is None:
        return None
    if base.speedup is None or new.speedup is None or base.ci95 is None or new.ci95 is None:
        return None
    found = speedup_change(
        (base.speedup, base.ci95), (new.speedup, new.ci95), (own.base, own.new), limit, floor, base.baseline
    )
    return unless_the_reference_moved(found, own, base.baseline)


def _dice(base: Cell, new: Cell, limit: float) -> list[Change]:
    """The mean over cases and labels, and each label that lost more than the limit."""
    scores = [{(one.case, one.label): one.dice for one in cell.dice_per_case} for cell in (base, new)]
    shared = [key for key, value in scores[0].items() if value is not None and scores[1].get(key) is not None]
    lost = [key for key, value in scores[0].items() if value is not None and scores[1].get(key) is None]
    if lost:
        case, label = lost[0]
        why = f"{len(lost)} Dice values are gone, the first of {label} in case {case}"
        return [absent("dice", limit, why, "pairs of case and label").model_copy(update={"verdict": "regression"})]
    if not shared:
        return []
    changes = [_dice_of("dice", scores, shared, limit, f"mean over {len(shared):,} of case and label")]
    for label in dict.fromkeys(key[1] for key in shared):
        some = [key for key in shared if key[1] == label]
        change = _dice_of("dice", scores, some, limit, f"{label}, cases: {len(some)}")
        if change.verdict == "regression" and len(some) < len(shared):
            changes.append(change)
    return changes


def _dice_of(
    metric: str,
    scores: Sequence[Mapping[tuple[str, str], float | None]],
    keys: Sequence[tuple[str, str]],
    limit: float,
    how: str,
) -> Change:
    values = [[value for key in keys if (value := one[key]) is not None] for one in scores]
    means = [sum(some) / len(some) for some in values]
    by_case: dict[str, list[float]] = {}
    for (case, _), base, new in zip(keys, *values, strict=True):
        by_case.setdefault(case, []).append(new - base)
    over_cases = [sum(some) / len(some) for some in by_case.values()]
    interval = paired_difference(over_cases, [0.0] * len(over_cases)).ci95 if len(over_cases) >= CASES_SHOWN else None
    return exact_change(metric, means[0], means[1], means[1] - means[0], limit, interval, how)


def _mask_dice(base: Cell, new: Cell, limit: float) -> list[Change]:
    values = [cell.parity.mask_dice if cell.parity else None for cell in (base, new)]
    if values[0] is None or values[1] is None:
        return []
    how = "masks against the reference backend's"
    return [exact_change("mask_dice", values[0], values[1], values[1] - values[0], limit, None, how)]


def _singles(base: Cell, new: Cell, limits: Limits, floors: Floors) -> list[Change]:
    """Throughput and memory."""
    changes = []
    if base.throughput and new.throughput and base.throughput.unit == new.throughput.unit:
        rates = (base.throughput.value, new.throughput.value)
        changes.append(single_change("throughput", *rates, limits["throughput"], floors.raw))
    if base.memory_mib is not None and new.memory_mib is not None:
        changes.append(single_change("memory", base.memory_mib, new.memory_mib, limits["memory"], floors.paired))
    return changes
