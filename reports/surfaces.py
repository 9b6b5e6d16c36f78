"""Tables of how far surfaces lie apart: NSD and HD95, per label and per case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean

from benchmark.results import CaseSurface, Cell
from reports.accuracy import MEAN
from reports.speed import cell_reason, place, place_columns
from reports.table import Column, Table, Value, absent, keys, known
from reports.text import ABSENT, dice, significant
from reports.view import View

ABOUT = (
    "NSD is the share of both surfaces, by area, that lies within the task's tolerance of the other; HD95 the 95th"
    " percentile of the surfaces' distances. Means over cases; a label that was missed has an infinite HD95, which no"
    " mean can hold, and is counted instead."
)


def surface_table(view: View) -> Table | None:
    """NSD and HD95 per label, two columns a variant; None for a run that recorded none."""
    return _table(view, view.results.cells)


def _table(view: View, shown: Iterable[Cell]) -> Table | None:
    rows = []
    for where, cells in view.places(cell for cell in shown if cell.surface_per_case).items():
        tolerance = _tolerance(cells)
        labels = tuple(dict.fromkeys(entry.label for cell in cells for entry in cell.surface_per_case))
        for label in labels:
            of_label = (_of_label(_pick(view, cells, variant), label) for variant in view.variants)
            rows.append((*place(*where), Value(label), tolerance, *(value for pair in of_label for value in pair)))
        if len(labels) != 1:
            means = (_of_all(_pick(view, cells, variant)) for variant in view.variants)
            rows.append((*place(*where), Value(MEAN), tolerance, *(value for pair in means for value in pair)))
    if not rows:
        return None
    return Table(
        key="surfaces",
        title="Surfaces per label",
        columns=(*place_columns(view), *keys("label"), Column("tolerance mm", width=90), *_variant_columns(view)),
        rows=tuple(rows),
        about=ABOUT,
    )


def surfaces_in_short(view: View) -> Table | None:
    """The same for a terminal: the last stage alone, one row for all labels."""
    table = _table(view, view.cells(view.stages[-1])) if view.stages else None
    if table is None:
        return None
    label = next(index for index, column in enumerate(table.columns) if column.title == "label")
    places: dict[tuple[Value, ...], list[tuple[Value, ...]]] = {}
    for row in table.rows:
        places.setdefault(row[:label], []).append(row)
    # The mean is the last row; a task of one label has no other.
    return replace(table, title="Surfaces, mean of all labels", rows=tuple(rows[-1] for rows in places.values()))


def case_table(view: View) -> Table | None:
    """NSD and HD95 of each case; None for a run that has none to show."""
    rows = []
    measured = [cell for cell in view.results.cells if any(e.nsd is not None for e in cell.surface_per_case)]
    for where, cells in view.places(measured).items():
        pairs = dict.fromkeys((entry.case, entry.label) for cell in cells for entry in cell.surface_per_case)
        lanes = [_pick(view, cells, variant) for variant in view.variants]
        known_as = [{(e.case, e.label): e for e in cell.surface_per_case} if cell else {} for cell in lanes]
        keys_of_place = place(*where)
        for case, label in pairs:
            found = (_of_case(cell, e.get((case, label))) for cell, e in zip(lanes, known_as, strict=True))
            rows.append((*keys_of_place, Value(case), Value(label), *(value for pair in found for value in pair)))
    if not rows:
        return None
    columns = (*place_columns(view), *keys("case", "label"), *_variant_columns(view))
    return Table("surface-cases", "Surfaces per case", columns, tuple(rows))


def _variant_columns(view: View) -> tuple[Column, ...]:
    return tuple(Column(f"{name} {variant}") for variant in view.variants for name in ("NSD", "HD95 mm"))


def _tolerance(cells: Sequence[Cell]) -> Value:
    known_ones = {cell.nsd_tolerance_mm for cell in cells if cell.nsd_tolerance_mm is not None}
    return Value(", ".join(f"{tolerance:g}" for tolerance in sorted(known_ones))) if known_ones else absent(None)


def _pick(view: View, cells: Sequence[Cell], variant: str) -> Cell | None:
    return next((cell for cell in cells if view.variant(cell) == variant), None)


def _nothing(cell: Cell | None) -> tuple[Value, Value]:
    lacking = absent("not part of the run, or without a result" if cell is None else cell_reason(cell, "not measured"))
    return lacking, lacking


def _of_label(cell: Cell | None, label: str) -> tuple[Value, Value]:
    entries = [entry for entry in cell.surface_per_case if entry.label == label] if cell else []
    if cell is None or not entries:
        return _nothing(cell)
    missed = sum(_missed(entry) for entry in entries)
    return _both(cell, entries, _mean(e.nsd for e in entries), _mean(e.hd95_mm for e in entries), missed)


def _of_all(cell: Cell | None) -> tuple[Value, Value]:
    if cell is None or not cell.surface_per_case:
        return _nothing(cell)
    return _both(cell, cell.surface_per_case, cell.nsd, cell.hd95_mm, cell.hd95_missing)


def _of_case(cell: Cell | None, one: CaseSurface | None) -> tuple[Value, Value]:
    if cell is None or one is None:
        return _nothing(cell)
    return known(dice(one.nsd), one.reason, one.nsd), known(_millimetres(one.hd95_mm), one.reason, one.hd95_mm)


def _both(
    cell: Cell, entries: Sequence[CaseSurface], nsd: float | None, hd95: float | None, missed: int
) -> tuple[Value, Value]:
    reason = next((entry.reason for entry in entries if entry.reason and entry.hd95_mm is None), None)
    distance = known(_millimetres(hd95), reason, hd95)
    if missed and distance.text != ABSENT:
        counted = f"of {len(entries)} pairs of case and label"
        distance = replace(distance, text=f"{distance.text}, {missed} missed", note=counted)
    share = known(dice(nsd), reason, nsd)
    if cell.status == "ok":
        return share, distance
    return _doubted(share, cell), _doubted(distance, cell)


def _doubted(value: Value, cell: Cell) -> Value:
    return value if value.text == ABSENT else replace(value, note=cell_reason(cell, ""))


def _missed(entry: CaseSurface) -> bool:
    """Whether the reference has the label and the prediction does not."""
    return entry.nsd is not None and entry.hd95_mm is None


def _mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return fmean(present) if present else None


def _millimetres(value: float | None) -> str:
    return significant(value, 3)
