"""Tables of what was run, on what, and what did not work."""

from __future__ import annotations

from benchmark.results import Training
from reports.speed import STATUS, place, place_columns
from reports.table import Column, Table, Value, absent, keys, known
from reports.text import REFERENCE, count, dice, duration, settings, significant
from reports.view import View


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
            Value(duration(training.seconds), number=training.seconds),
            *(
                (_loss(training.loss[0]), _loss(training.loss[-1]))
                if training.loss
                else [absent("no loss recorded")] * 2
            ),
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


def _loss(value: float) -> Value:
    return Value(significant(value), number=value)


def _best(training: Training) -> tuple[Value, Value]:
    """The epoch whose weights were taken, and its Dice on the validation cases."""
    if training.best_epoch is None:
        return absent("this run recorded none"), absent("this run recorded none")
    epoch = Value(str(training.best_epoch))
    if not training.validation:
        return epoch, absent("no case was held back to choose an epoch: the last one was taken")
    found = next((one.dice for one in training.validation if one.epoch == training.best_epoch), None)
    return epoch, known(dice(found), "no validation case holds a label", found)


def environment_table(view: View) -> Table:
    """The machine and the libraries."""
    machine = view.results.environment
    unreadable = absent("not readable on this system")
    load = unreadable if machine.load_before is None else Value(f"{machine.load_before:.2f}")
    facts: list[tuple[str, Value]] = [
        ("machine", Value(machine.machine)),
        ("CPU", Value(f"{machine.cpu}, {count(machine.cores, 'core')}")),
        ("memory", Value(f"{significant(machine.memory_gib)} GiB")),
        ("frequency governor", Value(machine.governor) if machine.governor else unreadable),
        ("GPU", Value(machine.gpu or "none")),
        *(
            [("driver", Value(machine.driver) if machine.driver else unreadable)]
            if machine.gpu or machine.driver
            else []
        ),
        ("system", Value(machine.os)),
        ("threads given to each backend", Value(str(machine.threads))),
        ("load before the run", load),
        *([("other processes", Value(machine.busy, tone="doubt"))] if machine.busy else []),
        (
            "calibration",
            Value(view.results.calibration or "none of this machine: verdicts rest on the margin asked for"),
        ),
        ("Python", Value(machine.python)),
        ("libraries", Value(", ".join(f"{name} {version}" for name, version in machine.libraries.items()))),
        ("sambench", Value(view.results.sambench_version)),
    ]
    if machine.variables:
        facts.append(("variables", Value(settings(machine.variables))))
    rows = tuple((Value(name), value) for name, value in facts)
    return Table("environment", "Environment", (*keys("what"), Column("value", "text")), rows)
