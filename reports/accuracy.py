"""Tables of Dice, per label and per case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean

from benchmark.results import CaseDice, Cell
from reports.speed import cell_reason, dice_reason, place, place_columns
from reports.table import Column, Table, Value, absent, keys, known
from reports.text import dice
from reports.view import View

MEAN = "all labels"
# More rows than this: a terminal shows the mean of all labels alone, the other formats fold the table.
MANY_ROWS = 40


def labels_of(cells: Sequence[Cell]) -> tuple[str, ...]:
    """The labels that cells have Dice for, in their order."""
    return tuple(dict.fromkeys(entry.label for cell in cells for entry in cell.dice_per_case))


def numbers(entries: Sequence[CaseDice], label: str) -> list[float]:
    """The known Dice values of a label, one per case."""
    return [entry.dice for entry in entries if entry.label == label and entry.dice is not None]


def dice_table(view: View) -> Table:
    """Dice per label, a column per variant: the mean over cases and its range."""
    return _dice_table(view, view.results.cells)


def dice_in_short(view: View, shown: Iterable[tuple[str, str]]) -> Table:
    """Dice per label for a terminal: without the pseudo labels that `shown`, tasks and models, says stand elsewhere."""
    elsewhere = set(shown)
    cells = (c for c in view.results.cells if c.stage != "pseudolabel" or (c.task, c.model) not in elsewhere)
    table = _dice_table(view, cells)
    if len(table.rows) <= MANY_ROWS:
        return table
    label = next(index for index, column in enumerate(table.columns) if column.title == "label")
    labels: dict[tuple[Value, ...], set[str]] = {}
    for row in table.rows:
        labels.setdefault(row[:label], set()).add(row[label].text)
    # A task of one label has no mean beside it.
    rows = (row for row in table.rows if row[label].text == MEAN or len(labels[row[:label]]) == 1)
    return replace(table, title="Dice, mean of all labels", rows=tuple(rows))


def _dice_table(view: View, cells_shown: Iterable[Cell]) -> Table:
    rows = []
    for where, cells in view.places(cells_shown).items():
        labels = labels_of(cells)
        for label in labels:
            rows.append((*place(*where), Value(label), *(_label_dice(view, cells, v, label) for v in view.variants)))
        if len(labels) != 1:
            means = (_mean_dice(_pick(view, cells, variant)) for variant in view.variants)
            rows.append((*place(*where), Value(MEAN), *means))
    return Table(
        key="dice",
        title="Dice per label",
        columns=(*place_columns(view), *keys("label"), *(Column(variant) for variant in view.variants)),
        rows=tuple(rows),
        about="Against the reference labels over the slices used: the mean over cases, and the range of several.",
    )


def _pick(view: View, cells: Sequence[Cell], variant: str) -> Cell | None:
    return next((cell for cell in cells if view.variant(cell) == variant), None)


def _label_dice(view: View, cells: Sequence[Cell], variant: str, label: str) -> Value:
    cell = _pick(view, cells, variant)
    if cell is None:
        return absent("not part of the run")
    entries = [entry for entry in cell.dice_per_case if entry.label == label]
    values = numbers(entries, label)
    lacking = next((entry.reason for entry in entries if entry.dice is None and entry.reason), None)
    if not values:
        return absent(lacking or cell_reason(cell, "no Dice was measured"))
    spread = f" ({dice(min(values))}–{dice(max(values))})" if len(values) > 1 else ""
    left_out = len(entries) - len(values)
    note = f"{left_out} of {len(entries)} cases left out: {lacking or 'no Dice'}" if left_out else None
    if cell.status != "ok":
        note = cell_reason(cell, "")
    return Value(dice(fmean(values)) + spread, note, number=fmean(values))


def _mean_dice(cell: Cell | None) -> Value:
    if cell is None:
        return absent("not part of the run")
    value = known(dice(cell.dice), dice_reason(cell), cell.dice)
    return value if cell.status == "ok" else replace(value, note=cell_reason(cell, ""))


def case_table(view: View) -> Table:
    """Dice of each case."""
    rows = []
    for where, cells in view.places(view.results.cells).items():
        pairs = dict.fromkeys((entry.case, entry.label) for cell in cells for entry in cell.dice_per_case)
        lanes = [_pick(view, cells, variant) for variant in view.variants]
        known_as = [{(e.case, e.label): e for e in cell.dice_per_case} if cell else {} for cell in lanes]
        keys_of_place = place(*where)
        for case, label in pairs:
            found = zip(lanes, known_as, strict=True)
            values = (_case_dice(cell, entries.get((case, label))) for cell, entries in found)
            rows.append((*keys_of_place, Value(case), Value(label), *values))
    return Table(
        key="dice-cases",
        title="Dice per case",
        columns=(*place_columns(view), *keys("case", "label"), *(Column(variant) for variant in view.variants)),
        rows=tuple(rows),
    )


def _case_dice(cell: Cell | None, entry: CaseDice | None) -> Value:
    if cell is None:
        return absent("not part of the run")
    if entry is None:
        return absent(cell_reason(cell, "no Dice was measured"))
    return known(dice(entry.dice), entry.reason, entry.dice)
