"""The verdict matrix: stage × model against backend, with what decides in each place."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.results import Cell, Comparison
from reports.findings import hull
from reports.speed import STATUS, WORDS, cell_reason
from reports.table import Column, Table, Value, absent, keys
from reports.text import backend_name, difference, is_number, percent, significant
from reports.view import STAGES, Outcome, View

Lane = tuple[str, str, str]
# Where outcomes differ, the one to worry about most stands first.
GRAVEST: tuple[Outcome, ...] = ("gate", "unmeasured", "slower", "inconclusive", "equivalent", "faster")


def matrix_table(view: View) -> Table | None:
    """A row for each stage and model, a column for each backend; None where nothing is compared."""
    if not view.results.comparisons:
        return None
    cells: dict[tuple[str, str], dict[Lane, list[Cell]]] = {}
    for cell in view.results.cells:
        lanes = cells.setdefault((cell.stage, cell.model), {})
        lanes.setdefault((cell.backend, cell.device, cell.precision), []).append(cell)
    columns = tuple(dict.fromkeys(lane for row in cells.values() for lane in row))
    rows = sorted(cells, key=lambda row: STAGES.index(row[0]))
    return Table(
        key="matrix",
        title="Who is faster where",
        columns=(*keys("stage", "model"), *(Column(_name(view, lane), "text") for lane in columns)),
        rows=tuple(
            (Value(stage), Value(model), *(_place(view, cells[stage, model].get(lane, [])) for lane in columns))
            for stage, model in rows
        ),
        about=(
            "Speedup against the baseline with its 95 % interval; of several tasks or prompts the range and the outer"
            " bounds. Then the gate with the largest change of Dice, the share of the machine's peak that each module"
            " reaches, and the most memory of the process."
        ),
    )


def _name(view: View, lane: Lane) -> str:
    backend, device, precision = lane
    return " ".join([backend_name(backend), *[device] * view.many_devices, *[precision] * view.many_precisions])


def _place(view: View, cells: Sequence[Cell]) -> Value:
    """All cells of one stage, model and lane in a few lines."""
    if not cells:
        return absent("not part of this run")
    # By identity: cells hold thousands of samples, which would all be compared.
    ours = {id(cell) for cell in cells}
    compared = [comparison for comparison in view.results.comparisons if id(view.candidate(comparison)) in ours]
    if not compared:
        return _baseline(cells)
    outcomes = [view.outcome(comparison) for comparison in compared]
    gravest = min(set(outcomes), key=GRAVEST.index)
    word, tone = WORDS[gravest]
    share = f" in {outcomes.count(gravest)} of {len(outcomes)}" if len(set(outcomes)) > 1 else ""
    counted = [c for c, outcome in zip(compared, outcomes, strict=True) if outcome not in ("gate", "unmeasured")]
    lines = [f"{word}{share}", hull(counted), _gate(view, compared, outcomes), *_machine(cells)]
    note = None
    if gravest in ("gate", "unmeasured"):
        worst = compared[outcomes.index(gravest)]
        note = worst.reason if gravest == "gate" else view.why_unmeasured(worst)
    return Value("\n".join(line for line in lines if line), note, tone)


def _baseline(cells: Sequence[Cell]) -> Value:
    bad = next((cell for cell in cells if cell.status != "ok"), None)
    if bad is not None:
        word, tone = STATUS[bad.status]
        return Value(word, cell_reason(bad, bad.status), tone)
    return Value("\n".join(["baseline", *_machine(cells)]))


def _gate(view: View, compared: Sequence[Comparison], outcomes: Sequence[Outcome]) -> str:
    judged = [c for c, outcome in zip(compared, outcomes, strict=True) if outcome != "unmeasured"]
    if not judged:
        return ""
    failed = sum(outcome == "gate" for outcome in outcomes)
    known = [delta for comparison in judged if (delta := view.dice_difference(comparison)) is not None]
    dice = f", Dice {difference(max(known, key=abs))}" if known else ""
    if not failed:
        return f"gate ✓{dice}"
    return f"gate ✗{f' in {failed} of {len(judged)}' if failed < len(judged) else ''}{dice}"


def _machine(cells: Sequence[Cell]) -> list[str]:
    """Share of peak of each module and memory, of the cells with a valid result."""
    valid = [cell for cell in cells if cell.status == "ok"]
    shares: dict[str, float] = {}
    for cell in valid:
        for module, cost in cell.modules.items():
            if cost.share_of_peak is not None and is_number(cost.share_of_peak):
                shares[module] = max(shares.get(module, 0.0), cost.share_of_peak)
    peak = ", ".join(f"{module} {percent(share, 2)}" for module, share in shares.items())
    memory = [cell.memory_mib for cell in valid if cell.memory_mib is not None and is_number(cell.memory_mib)]
    told = [f"{peak} of peak"] if peak else []
    return told + ([f"{significant(max(memory))} MiB"] if memory else [])
