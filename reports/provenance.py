"""Tables of what was run, on what, and what did not work."""

from __future__ import annotations

from benchmark.measured import Attested
from benchmark.results import Cell, Training
from reports.speed import place, place_columns
from reports.table import Column, Table, Tone, Value, absent, keys, known
from reports.text import ABSENT, REFERENCE, backend_name, count, dice, duration, significant
from reports.view import View

STATUS: dict[str, tuple[str, Tone]] = {
    "failed": ("✗ failed", "bad"),
    "invalid": ("✗ invalid", "bad"),
    "skipped": ("– skipped", "doubt"),
}


def problem_table(view: View) -> Table | None:
    """Cells without a valid result."""
    rows = tuple(
        (
            *place(cell.stage, cell.task, cell.model, cell.prompt),
            Value(view.variant(cell)),
            Value(STATUS[cell.status][0], tone=STATUS[cell.status][1]),
            Value(cell.reason or "no reason recorded"),
        )
        for cell in view.results.cells
        if cell.status != "ok"
    )
    if not rows:
        return None
    columns = (*place_columns(view), *keys("backend"), Column("status", "text"), Column("reason", "text"))
    return Table("problems", "Cells without a valid result", columns, rows)


def attestation_table(view: View) -> Table:
    """What was asked for and what really ran; cells that attest the same share a row."""
    shared: dict[tuple[Value, ...], list[str]] = {}
    for cell in view.results.cells:
        for role, attested in cell.attestation.items():
            shared.setdefault(_attestation(cell, role, attested), []).append(cell.task)
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
            Column("threads"),
            Column("notes", "text"),
            Column("tasks", "text"),
        ),
        rows=rows,
        about="Asked of the backends themselves after loading, not copied from the settings.",
    ).trimmed()


def _names(found: list[str], tasks: int) -> str:
    names = list(dict.fromkeys(found))
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
    counted = Value(", ".join(f"{name}: {number:,}" for name, number in nodes.items())) if nodes else None
    return (
        Value(cell.stage),
        Value(cell.model),
        Value(role),
        _requested(cell, attested),
        Value(ran if same else f"≠ {ran}", tone="plain" if same else "bad"),
        Value(", ".join(attested.providers) or ABSENT),
        counted or absent("this backend does not tell nodes per provider"),
        Value(str(attested.threads))
        if attested.threads is not None
        else absent("this backend does not tell its threads"),
        Value("; ".join(attested.notes)),
    )


def _threads(attested: Attested) -> Value:
    if attested.threads is None:
        return absent("this backend does not tell its threads")
    return Value(str(attested.threads))


def _unattested(cell: Cell, reason: str) -> tuple[Value, ...]:
    nothing = absent(reason)
    return (Value(cell.stage), Value(cell.model), nothing, _requested(cell), *[nothing] * 4, Value(""))


def task_table(view: View) -> Table:
    """The data."""
    rows = []
    for task in view.results.tasks:
        labels = ", ".join(f"{number} {name}" for number, name in task.labels.items())
        split = (task.train_cases, task.validation_cases, task.test_cases)
        rows.append(
            (
                Value(task.name),
                Value(task.modality),
                Value(labels),
                Value(str(len(task.cases))),
                Value(f"{task.slices:,}"),
                Value(" / ".join(str(len(cases)) for cases in split))
                if any(split)
                else absent("no UNet was trained or tested"),
                Value(task.intensity),
                Value("; ".join(task.notes)),
            )
        )
    columns = (
        *keys("task"),
        *(Column(title, "text") for title in ("modality", "labels")),
        *(Column(title) for title in ("cases", "slices with labels", "train / validation / test cases")),
        *(Column(title, "text") for title in ("intensity", "notes")),
    )
    return Table("tasks", "Tasks", columns, tuple(rows)).trimmed()


def case_lists(view: View) -> Table:
    """Which cases were used, by name."""
    rows = []
    for task in view.results.tasks:
        uses = {
            "all": task.cases,
            "training": task.train_cases,
            "validation": task.validation_cases,
            "testing": task.test_cases,
        }
        for use, cases in uses.items():
            if cases:
                rows.append((Value(task.name), Value(use), Value(", ".join(cases))))
    return Table("cases", "Cases by name", (*keys("task", "used for"), Column("cases", "text")), tuple(rows))


def training_table(view: View) -> Table | None:
    """The UNet trainings; all backends run the very same weights."""
    rows = tuple(
        (
            Value(training.task),
            Value(training.model),
            Value("reference" if training.labels == REFERENCE else f"{training.labels} (pseudo)"),
            Value(count(len(training.cases), "case")),
            Value(str(len(training.validation_cases))),
            Value(f"{training.slices:,}"),
            Value(str(training.epochs)),
            Value(duration(training.seconds)),
            Value(significant(training.loss[0])) if training.loss else absent("no loss recorded"),
            Value(significant(training.loss[-1])) if training.loss else absent("no loss recorded"),
            *_best(training),
            Value(training.device + (", mixed precision" if training.amp else "")),
            Value(training.checkpoint_sha256[:12]),
            Value("; ".join(training.notes)),
        )
        for training in view.results.trainings
    )
    if not rows:
        return None
    columns = (
        *keys("task", "model", "labels"),
        *map(Column, ("cases", "validation cases", "slices", "epochs", "time", "first loss", "last loss")),
        *map(Column, ("best epoch", "validation Dice")),
        *(Column(title, "text") for title in ("device", "checkpoint SHA-256", "notes")),
    )
    about = (
        "Each checkpoint is run by every backend. Validation Dice is against the labels that the UNet learned from, and"
        " chose the epoch: it says nothing about accuracy."
    )
    return Table("trainings", "Trainings", columns, rows, about).trimmed()


def _best(training: Training) -> tuple[Value, Value]:
    """The epoch whose weights were taken, and its Dice on the validation cases."""
    if training.best_epoch is None:
        return absent("this run recorded none"), absent("this run recorded none")
    epoch = Value(str(training.best_epoch))
    if not training.validation:
        return epoch, absent("no case was held back to choose an epoch: the last one was taken")
    found = next((one.dice for one in training.validation if one.epoch == training.best_epoch), None)
    return epoch, known(dice(found), "no validation case holds a label")


def environment_table(view: View) -> Table:
    """The machine and the libraries."""
    machine = view.results.environment
    load = absent("not readable on this system") if machine.load_before is None else Value(f"{machine.load_before:.2f}")
    facts: list[tuple[str, Value]] = [
        ("machine", Value(machine.machine)),
        ("CPU", Value(f"{machine.cpu}, {count(machine.cores, 'core')}")),
        ("memory", Value(f"{significant(machine.memory_gib)} GiB")),
        ("GPU", Value(machine.gpu or "none")),
        ("system", Value(machine.os)),
        ("threads given to each backend", Value(str(machine.threads))),
        ("load before the run", load),
        ("Python", Value(machine.python)),
        ("libraries", Value(", ".join(f"{name} {version}" for name, version in machine.libraries.items()))),
        ("sambench", Value(view.results.sambench_version)),
    ]
    if machine.variables:
        facts.append(("variables", Value(", ".join(f"{name}={value}" for name, value in machine.variables.items()))))
    rows = tuple((Value(name), value) for name, value in facts)
    return Table("environment", "Environment", (*keys("what"), Column("value", "text")), rows)
