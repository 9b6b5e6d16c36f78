"""Tables of what segmentation alone has: windows, volumes, first shapes, and what a network is shown."""

from __future__ import annotations

from collections.abc import Mapping

from benchmark.results import Cell
from reports.speed import cell_reason, place, place_columns
from reports.table import Column, Table, Value, absent, keys, known
from reports.text import milliseconds, significant
from reports.times import no_throughput
from reports.view import View


def segmentation_table(view: View) -> Table | None:
    """Times by window and by volume, and what the first of each shape took; None where no cell has them."""
    cells = [cell for cell in view.cells("segment") if cell.window_latency_ms or cell.first_shape_ms]
    if not cells:
        return None
    return Table(
        key="segmentation",
        title="Segmentation by window and by volume",
        columns=(
            *place_columns(view)[1:],
            *keys("backend"),
            *map(Column, ("window p50 ms", "volume p50 ms", "volume mean ms", "volumes a minute")),
            Column("first of a shape ms", "text"),
        ),
        rows=tuple(_segmentation_row(view, cell) for cell in cells),
        about=(
            "Warm times: of one window through the network, the mean of those that go through it together; and of a"
            " volume, from the image in memory to its label map. The first unit of each shape is timed apart, and is in"
            " no other column; the slowest shape is shown."
        ),
    )


def _segmentation_row(view: View, cell: Cell) -> tuple[Value, ...]:
    ok = cell.status == "ok"
    otherwise = cell_reason(cell, "not measured")
    window, volume = (cell.window_latency_ms, cell.volume_latency_ms) if ok else (None, None)
    mean = volume.mean if volume else None
    return (
        *place(cell.stage, cell.task, cell.model, cell.prompt)[1:],
        Value(view.variant(cell)),
        *(known(milliseconds(ms), otherwise, ms) for ms in (window and window.p50, volume and volume.p50, mean)),
        _per_minute(view, cell, mean, otherwise),
        _first_shapes(cell.first_shape_ms if ok else {}, otherwise),
    )


def _per_minute(view: View, cell: Cell, volume_ms: float | None, otherwise: str) -> Value:
    """As the cell counts it; of one that counts slices, some slices of each volume, there is none."""
    if not volume_ms:
        return absent(otherwise)
    if cell.throughput is None:
        return absent(no_throughput(view, cell))
    if cell.throughput.unit != "volumes/min":
        return absent("only some slices of each volume were segmented")
    return Value(significant(cell.throughput.value), number=cell.throughput.value)


def _first_shapes(first: Mapping[str, float], otherwise: str) -> Value:
    """The slowest of them."""
    if not first:
        return absent(otherwise)
    shape, slowest = max(first.items(), key=lambda item: item[1])
    return Value(f"{milliseconds(slowest)} ({shape})", number=slowest)


def network_table(view: View) -> Table | None:
    """What each network was shown and how it was put together; networks that were run alike share a row."""
    shared: dict[tuple[Value, ...], list[str]] = {}
    for cell in view.cells("segment"):
        if cell.sliding_window is not None or cell.preprocessing is not None:
            row = (
                Value(cell.task),
                Value(cell.model),
                known(_specification(cell.sliding_window or {}), "not recorded"),
                Value(cell.preprocessing) if cell.preprocessing else absent("not recorded"),
            )
            shared.setdefault(row, []).append(place(cell.stage, cell.task, cell.model, cell.prompt)[-1].text)
    if not shared:
        return None
    return Table(
        key="networks",
        title="What the networks saw",
        columns=(
            *keys("task", "model"),
            *(Column(title, "text") for title in ("sliding window", "preprocessing", "trained on")),
        ),
        rows=tuple((*row, Value(", ".join(dict.fromkeys(labels)))) for row, labels in shared.items()),
        about="The same for every backend.",
    )


def _specification(windows: Mapping[str, object]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_setting(value)}" for name, value in windows.items())


def _setting(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return " × ".join(str(one) for one in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def empty_class_rules(view: View) -> tuple[str, ...]:
    """What counts where a label is absent, as the cells say it."""
    return tuple(dict.fromkeys(cell.empty_classes for cell in view.results.cells if cell.empty_classes))
