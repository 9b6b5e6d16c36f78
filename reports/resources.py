"""Tables of what backends take and how near they come to the machine's limit: memory, energy, share of peak."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.measured import Energy, ModuleCost, Peak
from benchmark.results import Cell
from reports.speed import place_columns
from reports.table import Column, Table, Value, absent, keys, known
from reports.text import count, is_number, percent, significant
from reports.view import View
from reports.workers import workers

IDLE_DRAW = "the machine's idle draw included"


def memory_table(view: View) -> Table | None:
    """Memory and energy, a row for each worker; None where the run has neither."""
    found = list(workers(view, _memory_facts))
    if not found:
        return None
    cells = [cell for cell, _ in found]
    on_device = any(cell.device != "cpu" for cell in cells)
    parts = any(cell.memory for cell in cells)
    energy, about_energy = _energy_shown(cells)
    columns = [Column("peak MiB")]
    columns += [Column("before loading MiB"), Column("model MiB")] if parts else []
    columns += [Column("device peak MiB"), Column("device used MiB")] if on_device else []
    columns += [Column("joules"), Column("per", "text")] if energy else []
    rows = (
        (*where, *_memory(cell, parts, on_device), *(_energy(cell, cells) if energy else ())) for cell, where in found
    )
    device = (
        " On the device: the most that the backend's allocator held, and what NVML counts for the process, which alone"
        " compares backends."
        if on_device
        else ""
    )
    about = f"Of each backend's own process: resident memory at its peak, and what loading the model added.{device}"
    return Table(
        key="memory",
        title="Memory and energy" if about_energy else "Memory",
        columns=(*place_columns(view), *keys("backend"), *columns),
        rows=tuple(rows),
        about=f"{about} {about_energy}".strip(),
    )


def _memory_facts(cell: Cell) -> object:
    facts = (cell.memory_mib, cell.memory, cell.energy)
    return None if facts == (None, None, None) else (*facts, cell.memory_reason)


def _memory(cell: Cell, parts: bool, on_device: bool) -> list[Value]:
    memory = cell.memory
    why = cell.memory_reason or (memory.reason if memory else None) or "not measured"
    values = [_quantity(cell.memory_mib, why)]
    if parts:
        values += [
            _quantity(memory.before_mib if memory else None, why),
            _quantity(memory.model_mib if memory else None, why),
        ]
    if on_device:
        why = why if cell.device != "cpu" else "it ran on the CPU"
        values += [
            _quantity(memory.device_peak_mib if memory else None, why),
            _quantity(memory.device_used_mib if memory else None, why),
        ]
    return values


def _quantity(value: float | None, why: str) -> Value:
    return known(significant(value), why, value)


def _energy_shown(cells: Sequence[Cell]) -> tuple[bool, str]:
    """Whether energy has columns, and what is said of it once; what all cells lack for one reason needs no column."""
    told = [cell.energy for cell in cells if cell.energy is not None]
    if not told:
        return False, ""
    if not any(is_number(one.joules_per_unit) for one in told):
        reasons = list(dict.fromkeys(one.reason or "no reason recorded" for one in told))
        return False, f"Energy could not be measured: {'; '.join(reasons)}."
    origins = _origins(cells)
    origin = f"{origins[0]}, {IDLE_DRAW}" if len(origins) == 1 else IDLE_DRAW
    return True, f"Joules of a unit with all its prompts ({origin})."


def _origin(energy: Energy) -> str:
    """The counters that a number comes from, and what they lack."""
    return "; ".join(filter(None, [energy.source or "source unknown", energy.reason]))


def _origins(cells: Sequence[Cell]) -> list[str]:
    energies: list[Energy] = [cell.energy for cell in cells if cell.energy is not None]
    return list(dict.fromkeys(_origin(one) for one in energies if is_number(one.joules_per_unit)))


def _energy(cell: Cell, cells: Sequence[Cell]) -> tuple[Value, Value]:
    unit = Value(cell.latency_unit)
    energy = cell.energy
    if energy is None or not is_number(energy.joules_per_unit):
        return absent(energy.reason if energy else None), unit
    origin = _origin(energy) if len(_origins(cells)) > 1 else None
    return Value(significant(energy.joules_per_unit), origin, number=energy.joules_per_unit), unit


def limit_table(view: View) -> Table | None:
    """What a call of each module takes against what the machine can do; None where the run counted no calls."""
    rows = [
        (*where, Value(name), *_cost(cost))
        for cell, where in workers(view, lambda cell: cell.modules or None)
        for name, cost in cell.modules.items()
    ]
    if not rows:
        return None
    rates = [_rate(device, peak) for device, peak in view.results.peak.items()]
    roof = f" ({'; '.join(rates)})" if rates else ""
    return Table(
        key="limit",
        title="How near to the machine's limit",
        columns=(
            *place_columns(view),
            *keys("backend", "module"),
            Column("calls"),
            Column("p50 ms of a call"),
            Column("GFLOP a call"),
            Column("share of peak"),
        ),
        rows=tuple(rows),
        about=(
            "Calls with inputs and outputs on the device, and the operations that the PyTorch module needs for them, a"
            f" multiply-add as two. Peak is this machine's own matrix-multiply rate{roof}. The share is of its fp32"
            " rate: int8 and fp16 may exceed 100 %."
        ),
    )


def _cost(cost: ModuleCost) -> tuple[Value, ...]:
    why = cost.reason or "no call was timed"
    return (
        Value(f"{cost.calls:,}"),
        _quantity(cost.p50_ms, why),
        _quantity(cost.gflops_per_call, why),
        known(percent(cost.share_of_peak), why, None if cost.share_of_peak is None else 100 * cost.share_of_peak),
    )


def _rate(device: str, peak: Peak) -> str:
    """As in `cpu, 2 threads: fp32 112 GFLOP/s; bf16: this CPU has no hardware for it`."""
    threads = f", {count(peak.threads, 'thread')}" if peak.threads and device == "cpu" else ""
    measured = [
        f"{name} {significant(rate)} GFLOP/s"
        for name, rate in (("fp32", peak.fp32_gflops), ("bf16", peak.bf16_gflops))
        if is_number(rate)
    ]
    lacking = [peak.reason or "no reason recorded"] if len(measured) < 2 else []
    return f"{device}{threads}: {', '.join([*measured, *lacking])}"
