"""Tables of speed: the verdict of each comparison, and where the time goes."""

from __future__ import annotations

from benchmark.results import Cell, Comparison
from reports.measuring import margin_sentences, margins
from reports.table import Column, Table, Tone, Value, absent, keys, known
from reports.text import (
    condition,
    dice,
    difference,
    interval,
    lane_name,
    margin,
    milliseconds,
    parity,
    speedup,
)
from reports.view import Outcome, View, lacks_dice

STATUS: dict[str, tuple[str, Tone]] = {
    "failed": ("✗ failed", "bad"),
    "invalid": ("✗ invalid", "bad"),
    "skipped": ("– skipped", "doubt"),
}
"""Status of a cell that is not ok → the word and its tone."""

WORDS: dict[Outcome, tuple[str, Tone]] = {
    "faster": ("▲ faster", "good"),
    "slower": ("▼ slower", "bad"),
    "equivalent": ("= equivalent", "plain"),
    "inconclusive": ("? inconclusive", "doubt"),
    "gate": ("✗ gate failed", "bad"),
    "unmeasured": ("✗ not measured", "bad"),
}


def place_columns(view: View) -> tuple[Column, ...]:
    """The key columns that every table of cells begins with; a model that goes without saying may give way."""
    model = Column("model", "key", width=0 if view.many_models else 120)
    return (*keys("stage", "task"), model, *keys("prompt or labels"))


def place(stage: str, task: str, model: str, prompt: str | None) -> tuple[Value, ...]:
    """The key values that every table of cells begins with."""
    return (Value(stage), Value(task), Value(model), Value(condition(stage, prompt)))


def verdict_table(view: View) -> Table:
    """One row per comparison."""
    comparisons = view.results.comparisons
    pairs = {view.sides(comparison) for comparison in comparisons}
    candidate = pairs.pop()[0] if len(pairs) == 1 else "candidate"
    baseline = view.only_baseline or "baseline"
    several = any(view.compared(comparison) for comparison in comparisons)
    found = margins(view)
    margins_differ = len(found) > 1
    return Table(
        key="verdict",
        title="Verdict of each comparison",
        columns=(
            *place_columns(view),
            *(keys("candidate" if view.only_baseline else "compared") if several else ()),
            Column("speedup"),
            Column("95 % interval"),
            Column("pairs", width=110),
            *([Column("margin")] if margins_differ else []),
            Column(f"verdict at {margin(found[0])}" if len(found) == 1 else "verdict", "text"),
            Column("gate", "text"),
            Column(f"Dice {baseline}", width=100),
            Column(f"Dice {candidate}", width=100),
            Column("Dice difference"),
            Column("mask parity", width=120),
        ),
        rows=tuple(_verdict_row(view, comparison, margins_differ) for comparison in comparisons),
        about=" ".join(
            [
                f"Speedup is {baseline} time ÷ {candidate} time, the median over pairs in turns.",
                *margin_sentences(view),
                "Mask parity is the mean Dice between the two backends' masks.",
            ]
        ),
    )


def _verdict_row(view: View, comparison: Comparison, margins_differ: bool) -> tuple[Value, ...]:
    outcome = view.outcome(comparison)
    word, tone = WORDS[outcome]
    counts = outcome not in ("gate", "unmeasured")
    why = comparison.reason or "no interval recorded"
    if outcome == "gate":
        why = comparison.reason or "no speed is shown for a backend that fails the gate"
    elif outcome == "unmeasured":
        why = view.why_unmeasured(comparison)
    compared = _compared(view, comparison)
    candidate = view.candidate(comparison)
    measured = candidate.parity if candidate else None
    delta = view.dice_difference(comparison)
    return (
        *place(comparison.stage, comparison.task, comparison.model, comparison.prompt),
        *((Value(compared),) if compared else ()),
        known(speedup(comparison.speedup), why, comparison.speedup) if counts else absent(why),
        known(interval(comparison.ci95), why) if counts else absent(why),
        Value(str(comparison.pairs)),
        *([_margin(comparison)] if margins_differ else []),
        Value(word, comparison.reason if counts else None, tone),
        _gate(outcome, comparison, why),
        _cell_dice(view.baseline(comparison)),
        _cell_dice(candidate),
        known(difference(delta), _lacking((candidate, view.baseline(comparison))), delta),
        known(parity(measured.mask_dice), measured.reason, measured.mask_dice)
        if measured
        else absent(_lacking((candidate,))),
    )


def _compared(view: View, comparison: Comparison) -> str | None:
    """What is compared, where that sets rows apart; without the baseline, where columns name the only one."""
    if view.only_baseline is None or view.compared(comparison) is None:
        return view.compared(comparison)
    return view.sides(comparison)[0] + (f" {comparison.device}" if view.many_devices else "")


def _margin(comparison: Comparison) -> Value:
    return absent("none was recorded") if comparison.margin is None else Value(margin(comparison.margin))


def _gate(outcome: Outcome, comparison: Comparison, why: str) -> Value:
    if outcome == "unmeasured":
        return absent(why)
    return Value("✓ pass", tone="good") if comparison.gate == "pass" else Value("✗ fail", tone="bad")


def _cell_dice(cell: Cell | None) -> Value:
    if cell is None:
        return absent("no such cell")
    return known(dice(cell.dice), dice_reason(cell), cell.dice)


def _lacking(cells: tuple[Cell | None, ...]) -> str:
    """Why two cells cannot be set against each other."""
    for cell in cells:
        if cell is None:
            return "no such cell"
        if cell.status != "ok" or cell.dice is None:
            return dice_reason(cell)
    return "not measured"


def dice_reason(cell: Cell) -> str:
    """Why a cell has no Dice."""
    return lacks_dice(cell) or cell_reason(cell, "no Dice was measured")


def cell_reason(cell: Cell, otherwise: str) -> str:
    """Why a cell lacks a value."""
    if cell.status == "ok":
        return cell.reason or otherwise
    return f"{lane_name(cell.backend, cell.precision)} {cell.status}: {cell.reason or 'no reason recorded'}"


def phase_tables(view: View) -> tuple[Table, ...]:
    """One table per stage, because the stages have different phases."""
    return tuple(table for stage in view.stages if (table := _phase_table(view, stage)))


def _phase_table(view: View, stage: str) -> Table | None:
    cells = [cell for cell in view.cells(stage) if cell.phases_ms and cell.status == "ok"]
    if not cells:
        return None
    phases = tuple(dict.fromkeys(phase for cell in cells for phase in cell.phases_ms))
    rows = []
    for cell in cells:
        found = [cell.phases_ms.get(phase) for phase in phases]
        times = (known(milliseconds(ms), "this cell has no such phase", ms) for ms in found)
        total = sum(cell.phases_ms.values())
        where = (*place(stage, cell.task, cell.model, cell.prompt)[1:], Value(view.variant(cell)))
        rows.append((*where, *times, known(milliseconds(total), None, total)))
    return Table(
        key=f"phases-{stage}",
        title=f"Phases of {stage}",
        columns=(
            *place_columns(view)[1:],
            *keys("backend"),
            *(Column(f"{phase} ms") for phase in phases),
            Column("sum ms"),
        ),
        rows=tuple(rows),
        about="Mean milliseconds per slice. Only the model's own phases change with the backend.",
    )
