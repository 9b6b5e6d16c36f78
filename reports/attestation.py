"""The table of what was asked for and what really ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmark.measured import Attested, CallClocks
from benchmark.results import Cell
from reports.table import Column, Table, Value, absent, keys
from reports.text import ABSENT, backend_name, processors, settings
from reports.view import View

NOTHING = Value("")
"""Of a column that leaves where no cell has anything in it."""


def attestation_table(view: View) -> Table:
    """What was asked for and what really ran; cells that attest the same share a row."""
    shared: dict[tuple[Value, ...], list[str]] = {}
    alike = _alike(view.results.cells)
    for cell in view.results.cells:
        process = (NOTHING, NOTHING) if alike else _process(cell)
        for role, attested in cell.attestation.items():
            shared.setdefault((*_attestation(cell, role, attested), *process), []).append(cell.task)
        if not cell.attestation:
            reason = cell.reason or "the cell attests nothing"
            shared.setdefault(_unattested(cell, reason), []).append(cell.task)
    tasks = len({cell.task for cell in view.results.cells})
    rows = tuple((*row, Value(_names(found, tasks))) for row, found in shared.items())
    return Table(
        key="attestation",
        title="What really ran",
        columns=(
            *keys("stage", "model", "runner", "requested"),
            Column("ran", "text"),
            Column("providers", "text"),
            Column("nodes per provider", "text"),
            Column("operators on the CPU", "text"),
            Column("threads"),
            *(Column(title, "text") for title in ("execution", "TF32", "CUDA graphs", "driver")),
            *(Column(title, "text") for title in ("provider's settings", "device events", "notes")),
            *(Column(title, "text") for title in ("processors", "variables", "tasks")),
        ),
        rows=rows,
        about=(
            "Asked of the backends themselves after loading, not copied from the settings. Threads: those that ran, and"
            f" those asked for where they were.{alike or ''}"
        ),
    ).trimmed()


def _names(found: list[str], tasks: int) -> str:
    names = list(dict.fromkeys(found))
    if tasks == 1:
        return ""
    return "all" if len(names) == tasks else ", ".join(names)


def _requested(cell: Cell, part: Attested | None = None) -> Value:
    asked = f"{backend_name(cell.backend)}, {cell.device}, {cell.precision}"
    # A part of a reduced artifact that stays in fp32 by choice is no mismatch, but must be seen.
    kept = part is not None and part.requested_precision != cell.precision
    return Value(f"{asked} (this part {part.requested_precision})" if part is not None and kept else asked)


def _attestation(cell: Cell, role: str, attested: Attested) -> tuple[Value, ...]:
    # A fallback to another device is the one thing this table exists to show.
    same = (attested.device, attested.precision) == (cell.device, attested.requested_precision)
    ran = f"{backend_name(attested.backend)} {attested.version}, {attested.device}, {attested.precision}"
    nodes = attested.nodes_per_provider
    return (
        Value(cell.stage),
        Value(cell.model),
        Value(role),
        _requested(cell, attested),
        Value(ran if same else f"≠ {ran}", tone="plain" if same else "bad"),
        Value(", ".join(attested.providers) or ABSENT, None if attested.providers else "the backend names none"),
        Value(_counts(nodes)) if nodes else absent("this backend does not tell nodes per provider"),
        Value(_counts(attested.operators_on_cpu or {})),
        _threads(attested),
        Value(attested.execution or ""),
        _tf32(cell, attested),
        _graph_capture(attested),
        Value(attested.driver or ""),
        Value(settings(attested.settings or {})),
        Value(events_agree(attested.clocks)),
        Value("; ".join(attested.notes)),
    )


def _counts(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {number:,}" for name, number in numbers.items())


def _threads(attested: Attested) -> Value:
    ran, asked = attested.threads, attested.requested_threads
    if ran is None:
        return absent("this backend does not tell its threads")
    if asked is None:
        return Value(str(ran))
    same = ran == asked
    return Value(f"{'' if same else '≠ '}{ran} of {asked}", tone="plain" if same else "bad")


def _tf32(cell: Cell, attested: Attested) -> Value:
    """Allowed TF32 under the name of fp32 makes a cell invalid."""
    if attested.tf32 is None:
        return NOTHING
    fp32 = attested.requested_precision == "fp32" and cell.precision == "fp32"
    wrong = attested.tf32_asked != attested.tf32 and (attested.tf32_asked or fp32)
    asked = " as asked" if attested.tf32 and attested.tf32_asked else ""
    told = f"{'≠ ' if wrong else ''}{'allowed' if attested.tf32 else 'off'}{asked}"
    return Value(told, tone="bad" if wrong else "plain")


AGREEMENT = (1, 2, 5, 10, 20)
"""Steps, in per cent, in which the clocks' agreement is told, so that cells that agree alike share a row."""


def events_agree(clocks: CallClocks | None) -> str:
    """How near device events are to the host's clock over all calls: `within 2 % of the host's clock`.

    Args:
        clocks: None where there are no events, which yields nothing.
    """
    if clocks is None or not clocks.calls or not clocks.host_ms:
        return ""
    apart = 100 * (clocks.host_ms - clocks.event_ms) / clocks.host_ms
    step = next((step for step in AGREEMENT if abs(apart) <= step), None)
    if step is not None:
        return f"within {step} % of the host's clock"
    return f"{abs(apart):.0f} % {'below' if apart > 0 else 'above'} the host's clock"


def _graph_capture(attested: Attested) -> Value:
    """A CPU has none, so that a run on CPUs has no column; on a GPU a reason is a footnote."""
    told = attested.graph_capture
    if told is None or attested.device == "cpu":
        return NOTHING
    return absent(told) if told.startswith("not applicable") else Value(told)


def _process(cell: Cell) -> tuple[Value, Value]:
    """The processors that a worker may use, and the variables that steer its libraries."""
    if cell.worker is None:
        return NOTHING, NOTHING
    return Value(processors(cell.worker.affinity or ())), Value(settings(cell.worker.variables))


def _alike(cells: Sequence[Cell]) -> str | None:
    """What all worker processes have in common, as a sentence after the others; None if they differ."""
    found = {_process(cell) for cell in cells if cell.worker is not None}
    if len(found) != 1:
        return None
    where, variables = (value.text for value in found.pop())
    parts = [f"could use the processors {where}"] if where else []
    parts += [f"had {variables}"] if variables else []
    return f" Every worker {' and '.join(parts)}." if parts else None


def _unattested(cell: Cell, reason: str) -> tuple[Value, ...]:
    nothing = absent(reason)
    place = (Value(cell.stage), Value(cell.model), nothing, _requested(cell))
    # Ran, providers, nodes, threads are what every other row has.
    return (*place, *[nothing] * 3, NOTHING, nothing, *[NOTHING] * 9)
