"""What one worker process had belongs to all the cells that it measured: such cells share a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmark.results import Cell
from reports.speed import place
from reports.table import Value
from reports.view import View

LISTED = 2
"""So many prompts are named; more, if they are all that there are, are counted."""


def workers(view: View, facts: Callable[[Cell], object]) -> Iterator[tuple[Cell, tuple[Value, ...]]]:
    """A cell with a valid result for each worker, and the key values of its row, the backend's name last.

    Args:
        view: the run.
        facts: what a table tells of a cell. Cells that differ in it, or in more than the prompt, share no row; those of
            which it tells nothing (None) have none.
    """
    shared: dict[tuple[object, ...], list[Cell]] = {}
    for cell in view.results.cells:
        told = facts(cell)
        if cell.status == "ok" and told is not None:
            shared.setdefault((*_lane(cell), repr(told)), []).append(cell)
    everywhere: dict[tuple[str, ...], set[str | None]] = {}
    for cell in view.results.cells:
        everywhere.setdefault(_lane(cell), set()).add(cell.prompt)
    for cells in shared.values():
        first = cells[0]
        names = [place(cell.stage, cell.task, cell.model, cell.prompt)[-1].text for cell in cells]
        counted = len(names) > LISTED and len(names) == len(everywhere[_lane(first)])
        where = place(first.stage, first.task, first.model, first.prompt)[:-1]
        prompts = Value(f"all {len(names)}" if counted else ", ".join(names))
        yield first, (*where, prompts, Value(view.variant(first)))


def _lane(cell: Cell) -> tuple[str, ...]:
    return (cell.stage, cell.task, cell.model, cell.backend, cell.device, cell.precision)
