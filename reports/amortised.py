"""What a slice's encoding costs when k prompts share it, and from which k on a backend pays off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from benchmark.results import Cell
from reports.lineup import REFERENCE_LANE
from reports.speed import cell_reason
from reports.table import Column, Table, Value, absent, keys
from reports.text import count, milliseconds, significant
from reports.view import Outcome, View

SHARED = ("preprocess", "encode")
PER_PROMPT = ("decode", "postprocess")
UNSURE: tuple[Outcome, ...] = ("equivalent", "inconclusive")


@dataclass(frozen=True)
class Cost:
    """Milliseconds of work with a part that is paid once and a part that is paid for each of its n pieces."""

    once: float
    each: float

    def of(self, n: int) -> float:
        """The whole."""
        return self.once + n * self.each


@dataclass(frozen=True)
class Gain:
    """The counts n = 1, 2, … for which one cost is below another: from `first` to `last`, both included.

    Attributes:
        first: None if there are none.
        last: None if they do not end.
    """

    first: int | None
    last: int | None


NEVER = Gain(None, None)


def gain(candidate: Cost, reference: Cost) -> Gain:
    """For which n the candidate costs less.

    The difference of two straight lines is one, so that the counts are those on one side of where it crosses 0. It is
    computed in fractions, because a rounded quotient could be off by one.
    """
    saved_once = Fraction(reference.once) - Fraction(candidate.once)
    saved_each = Fraction(reference.each) - Fraction(candidate.each)
    at_one = saved_once + saved_each
    if saved_each == 0:
        return Gain(1, None) if at_one > 0 else NEVER
    crossing = -saved_once / saved_each
    if saved_each > 0:
        return Gain(max(1, floor(crossing) + 1), None)
    return Gain(1, ceil(crossing) - 1) if at_one > 0 else NEVER


def in_prompts(found: Gain) -> str:
    """When a backend pays off, by the prompts of a slice."""
    if found.first is None:
        return "never"
    if found.last is not None:
        return f"only up to k = {found.last:,}"
    return "from the first prompt" if found.first == 1 else f"from k = {found.first:,} prompts"


def in_slices(found: Gain) -> str:
    """When a backend pays off, by the slices that are labelled in one go."""
    if found.first is None:
        return "never"
    if found.last is not None:
        return f"only up to {count(found.last, 'slice')}"
    return "from the first slice" if found.first == 1 else f"from {count(found.first, 'slice')}"


def prompts_per_slice(view: View, cell: Cell) -> float | None:
    """Objects prompted for per slice that holds any; None where none were recorded."""
    task = next((task for task in view.results.tasks if task.name == cell.task), None)
    if cell.effort is None or not cell.effort.objects or task is None or not task.slices:
        return None
    return cell.effort.objects / task.slices


def slice_cost(view: View, cell: Cell) -> Cost | None:
    """What a slice costs with k prompts: `once + k · each`; None where the cell cannot tell.

    `each` is the decoder's time per slice, postprocessing included, over the prompts per slice. The decoder takes
    prompts in batches, so that it is the price of a prompt among as many as were measured.
    """
    prompts = prompts_per_slice(view, cell)
    if cell.status != "ok" or prompts is None or not {"encode", "decode"} <= set(cell.phases_ms):
        return None
    once, each = (sum(cell.phases_ms.get(name, 0.0) for name in names) for names in (SHARED, PER_PROMPT))
    return Cost(once, each / prompts)


def start_ms(cell: Cell) -> float | None:
    """What a process costs beyond its warm slices; None where loading, first call or warm times were not recorded.

    Loading, and by how much the first call and the passes of the warm-up were longer than a warm slice is at the
    median: what they took in full would charge a backend for passes that did their work. One that was shorter saves
    nothing: that is the machine's noise.
    """
    warm = cell.latency_ms.p50 if cell.latency_ms else None
    if cell.load_ms is None or cell.first_call_ms is None or warm is None:
        return None
    passes = (cell.first_call_ms, *(cell.warmup.samples_ms if cell.warmup else ()))
    beyond: float = sum(max(0.0, ms - warm) for ms in passes)
    return cell.load_ms + beyond


def process_cost(cell: Cell) -> Cost | None:
    """What a new process costs for n slices, each with the prompts that were measured."""
    start = start_ms(cell)
    if cell.status != "ok" or start is None or not cell.phases_ms:
        return None
    return Cost(start, sum(cell.phases_ms.values()))


def amortised_table(view: View) -> Table | None:
    """A row for each valid cell of `pseudolabel` of which the cost of a prompt is known."""
    unsure = _unsure(view)
    rows = [
        _row(view, cell, cost, reference_of(cell, cells), unsure.get(_identity(cell)))
        for cells in view.places(view.cells("pseudolabel")).values()
        for cell in cells
        if (cost := slice_cost(view, cell))
    ]
    if not rows:
        return None
    return Table(
        key="amortised",
        title="One encoding shared by k prompts",
        columns=(
            *keys("task", "model", "prompt", "backend"),
            *map(Column, ("once per slice ms", "each prompt ms")),
            Column("prompts a slice", width=120),
            Column("pays off", "text"),
            Column("start ms", width=120),
            Column("start pays off", "text"),
        ),
        rows=tuple(rows),
        about=(
            "A slice with k prompts takes once + k · each: once is preprocessing and encoding, each is decoding and"
            " postprocessing over the prompts per slice. The decoder takes prompts in batches, so that this is the"
            " price of a prompt among as many as were measured; far from there it is an extrapolation. An object counts"
            " as one prompt, its corrections and components included. A backend pays off where it takes less time than"
            " PyTorch fp32 on the same device, by the means and without an interval. Start is loading, and by how much"
            " the first call and the warm-up's passes were longer than a warm slice."
        ),
    )


def reference_of(cell: Cell, cells: Sequence[Cell]) -> Cell | None:
    """The cell of the reference backend on the same device, among those of the same condition."""
    lane = (REFERENCE_LANE.backend, REFERENCE_LANE.precision, cell.device)
    return next((one for one in cells if (one.backend, one.precision, one.device) == lane), None)


def _unsure(view: View) -> dict[tuple[str | None, ...], Outcome]:
    """The cells whose comparison shows no difference in speed, with what it shows."""
    found = {}
    for comparison in view.results.comparisons:
        outcome, cell = view.outcome(comparison), view.candidate(comparison)
        if cell is not None and outcome in UNSURE:
            found[_identity(cell)] = outcome
    return found


def _identity(cell: Cell) -> tuple[str | None, ...]:
    return cell.stage, cell.task, cell.model, cell.prompt, cell.backend, cell.device, cell.precision


def _row(view: View, cell: Cell, cost: Cost, reference: Cell | None, unsure: Outcome | None) -> tuple[Value, ...]:
    start, prompts = start_ms(cell), prompts_per_slice(view, cell)
    untold = absent("the run recorded no loading, first call or warm times")
    return (
        *map(Value, (cell.task, cell.model, cell.prompt or "", view.variant(cell))),
        Value(milliseconds(cost.once), number=cost.once),
        Value(milliseconds(cost.each), number=cost.each),
        Value(significant(prompts, 2), number=prompts),
        _by_prompts(view, cell, cost, reference, unsure),
        untold if start is None else Value(f"{start:,.0f}", number=start),
        _by_slices(cell, reference),
    )


def _by_prompts(view: View, cell: Cell, cost: Cost, reference: Cell | None, unsure: Outcome | None) -> Value:
    if cell is reference:
        return Value("the reference")
    if reference is None:
        return absent("the reference backend did not run here")
    other = slice_cost(view, reference)
    if other is None:
        return absent(cell_reason(reference, "the reference backend recorded no phases or effort"))
    note = f"with as many prompts as were measured the comparison is {unsure}" if unsure else None
    return Value(in_prompts(gain(cost, other)), note, "doubt" if note else "plain")


def _by_slices(cell: Cell, reference: Cell | None) -> Value:
    if cell is reference:
        return Value("the reference")
    if reference is None:
        return absent("the reference backend did not run here")
    costs = process_cost(cell), process_cost(reference)
    if costs[0] is None or costs[1] is None:
        return absent("what a process costs is not known of both")
    return Value(in_slices(gain(costs[0], costs[1])))
