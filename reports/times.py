"""Tables of time: latency by both clocks and throughput, what came before the warm times, and the server scenario."""

from __future__ import annotations

import re

from benchmark.measured import Latency, Server, WarmUp
from benchmark.results import Cell
from reports.speed import cell_reason, place, place_columns
from reports.table import Column, Table, Value, absent, keys, known
from reports.text import is_number, milliseconds, significant
from reports.view import View
from reports.workers import workers

ROOMY = 140
OFFLINE = (
    " Throughput is measured apart, in the offline scenario: units one after another, with all their prompts, over the"
    " wall time of the whole."
)


def latency_table(view: View) -> Table:
    """One row per cell, also for those without a valid result."""
    offline = any(cell.throughput and is_number(cell.throughput.seconds) for cell in view.results.cells)
    return Table(
        key="latency",
        title="Latency and throughput",
        columns=(
            *place_columns(view),
            *keys("backend"),
            Column("p50 ms"),
            Column("p90 ms"),
            Column("p99 ms", width=100),
            Column("mean ms"),
            Column("device p50 ms", width=110),
            Column("per", "text"),
            Column("samples", width=120),
            Column("volume p50 ms", width=120),
            Column("throughput", width=100),
            *([Column("over", "text", width=ROOMY)] if offline else []),
        ),
        rows=tuple(_latency_row(view, cell, offline) for cell in view.results.cells),
        about=(
            "Warm milliseconds of one unit of work. “Device” is the time in its modules alone, inputs and outputs on"
            " the device; every other time is end to end. A percentile stands only where the samples support it."
            + (OFFLINE if offline else "")
        ),
    )


def _latency_row(view: View, cell: Cell, offline: bool) -> tuple[Value, ...]:
    # An invalid cell may have been timed; a time that nobody may use is not shown.
    ok = cell.status == "ok"
    otherwise = cell_reason(cell, "not measured")
    unit, device, volume = (cell.latency_ms, cell.device_latency_ms, cell.volume_latency_ms) if ok else (None,) * 3
    return (
        *place(cell.stage, cell.task, cell.model, cell.prompt),
        Value(view.variant(cell)),
        *(_time(unit, name, otherwise) for name in ("p50", "p90", "p99", "mean")),
        _time(device, "p50", cell_reason(cell, "this run kept no device-resident clock")),
        Value(cell.latency_unit),
        Value(f"{len(unit.samples):,}") if unit else absent(otherwise),
        _time(volume, "p50", otherwise),
        *_throughput(view, cell)[: 2 if offline else 1],
    )


def _time(latency: Latency | None, name: str, otherwise: str) -> Value:
    if latency is None:
        return absent(otherwise)
    too_few = f"{len(latency.samples)} samples do not support it"
    value: float | None = getattr(latency, name)
    return known(milliseconds(value), _why(latency.reason, name) or too_few, value)


def _why(reason: str | None, percentile: str) -> str | None:
    """The part of a reason that is about this percentile, if each part is about one: `p99 needs …, 572 more`."""
    parts = (reason or "").split("; ")
    if not all(re.match(r"p\d+ needs [^;]* more$", part) for part in parts):
        return reason
    return next((part for part in parts if part.startswith(f"{percentile} ")), reason)


def _throughput(view: View, cell: Cell) -> tuple[Value, Value]:
    """The rate, and the work and the wall time that it comes from."""
    found = cell.throughput
    if cell.status != "ok" or found is None or not is_number(found.value):
        why = absent(no_throughput(view, cell))
        return why, why
    rate = Value(f"{significant(found.value)} {found.unit}", number=found.value)
    if found.units is None or not is_number(found.seconds):
        return rate, absent("this run recorded none")
    return rate, Value(f"{found.units:,} in {significant(found.seconds, 2)} s")


def no_throughput(view: View, cell: Cell) -> str:
    """Why a cell has no throughput."""
    scenarios = view.measure_setting("scenarios")
    if isinstance(scenarios, list) and "offline" not in scenarios:
        return cell_reason(cell, "the offline scenario was not asked for")
    return cell_reason(cell, "not measured")


def start_table(view: View) -> Table:
    """What came before the warm times, a row for each worker."""
    rows = [
        (
            *where,
            known(milliseconds(cell.load_ms), "not measured", cell.load_ms),
            known(milliseconds(cell.first_call_ms), "not measured", cell.first_call_ms),
            *_warm_up(view, cell.warmup),
        )
        for cell, where in workers(view, lambda cell: (cell.load_ms, cell.first_call_ms, cell.warmup))
    ]
    return Table(
        key="start",
        title="Before the warm times",
        columns=(
            *place_columns(view),
            *keys("backend"),
            Column("loading ms"),
            Column("first call ms"),
            Column("warm-up passes"),
            Column("ended", "text"),
        ),
        rows=tuple(rows),
        about="None of it is part of another time. A slope test on its passes ends the warm-up, or a limit does.",
    )


def _warm_up(view: View, warmup: WarmUp | None) -> tuple[Value, Value]:
    if warmup is None:
        asked = view.measure_setting("warmup")
        none = absent("the specification asks for no warm-up" if asked == 0 else "this run recorded none")
        return none, none
    passes = Value(f"{len(warmup.samples_ms):,}")
    if warmup.steady:
        return passes, Value("steady")
    return passes, Value("not steady", warmup.reason or "no reason recorded", tone="doubt")


def server_table(view: View) -> Table | None:
    """The server scenario; None where no cell has it."""
    found = [(server, where) for cell, where in workers(view, lambda c: c.server) if (server := cell.server)]
    if not found:
        return None
    return Table(
        key="server",
        title="Server: the highest rate that keeps the bound",
        columns=(
            *place_columns(view),
            *keys("backend"),
            Column("bound"),
            Column("arrivals a second"),
            Column("trials"),
            Column("queries"),
        ),
        rows=tuple((*where, *_server(server)) for server, where in found),
        about=(
            "Units, each with all its prompts, arrive at random (a Poisson process) and wait their turn at one worker."
            " The bound is on their latency from arrival to answer."
        ),
    )


def _server(server: Server) -> tuple[Value, ...]:
    rate = known(significant(server.rate), server.reason or "no reason recorded")
    return (
        Value(f"p{server.percentile} ≤ {milliseconds(server.bound_ms)} ms"),
        rate if server.rate is None else Value(rate.text, server.reason or rate.note, number=server.rate),
        Value(f"{len(server.trials):,}"),
        Value(f"{sum(trial.queries for trial in server.trials):,}"),
    )
