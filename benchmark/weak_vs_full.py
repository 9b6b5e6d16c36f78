"""What pseudo labels cost a UNet: trained on them against trained on the reference labels, case by case.

Both saw the same training cases and are scored on the same test cases, so the differences are paired: what makes a case
hard for one makes it hard for the other, and leaves the difference. The interval is over cases alone: how much another
training of the same labels would differ is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmark.measure.statistics import paired_difference
from benchmark.metrics import mean
from benchmark.results import Cell, Results, SupervisionEffect
from benchmark.spec import REFERENCE_LABELS

SAME_CASE = "trained and tested on the same case: one case is no evidence of accuracy"

Scores = dict[str, float]
"""case → Dice."""


def weak_against_full(results: Results) -> list[SupervisionEffect]:
    """One entry for each pair of trainings of this run on each backend; where a task has several labels, also for each.

    UNets that were brought as checkpoints are left out: what they learned from is not known.
    """
    found = []
    for weak, full in _pairs(results):
        task = next((task for task in results.tasks if task.name == weak.task), None)
        same_case = task is not None and bool(set(task.train_cases) & set(task.test_cases))
        names = list(dict.fromkeys(entry.label for entry in (*weak.dice_per_case, *full.dice_per_case)))
        for label in (None, *(names if len(names) > 1 else ())):
            found.append(_effect(weak, full, label, same_case))
    return found


def _pairs(results: Results) -> Iterator[tuple[Cell, Cell]]:
    trained = {(training.task, training.model, training.labels) for training in results.trainings}
    cells = [c for c in results.cells if c.stage == "segment" and (c.task, c.model, c.prompt) in trained]
    full = {_lane(cell): cell for cell in cells if cell.prompt == REFERENCE_LABELS}
    for cell in cells:
        if cell.prompt != REFERENCE_LABELS and _lane(cell) in full:
            yield cell, full[_lane(cell)]


def _lane(cell: Cell) -> tuple[str, ...]:
    return cell.task, cell.model, cell.backend, cell.device, cell.precision


def _effect(weak: Cell, full: Cell, label: str | None, same_case: bool) -> SupervisionEffect:
    ours, theirs = (_scores(cell, label) for cell in (weak, full))
    # Both score a label wherever the reference has it; a lane without a valid result has none at all.
    cases = [case for case in ours if case in theirs]
    difference = paired_difference([ours[case] for case in cases], [theirs[case] for case in cases])
    if cases:
        reason = SAME_CASE if same_case else difference.reason
    else:
        reason = _no_dice(weak, label) or _no_dice(full, label) or difference.reason
    return SupervisionEffect(
        task=weak.task,
        model=weak.model,
        labels=weak.prompt or "",
        label=label,
        backend=weak.backend,
        device=weak.device,
        precision=weak.precision,
        dice_weak=mean(ours[case] for case in cases),
        dice_full=mean(theirs[case] for case in cases),
        difference=difference.mean,
        ci95=None if same_case else difference.ci95,
        cases=difference.cases,
        reason=reason,
    )


def _scores(cell: Cell, label: str | None) -> Scores:
    """Each case's Dice of a label, or the mean of its labels; of a valid cell alone."""
    by_case: dict[str, list[float]] = {}
    for entry in cell.dice_per_case if cell.status == "ok" else ():
        if entry.dice is not None and label in (None, entry.label):
            by_case.setdefault(entry.case, []).append(entry.dice)
    return {case: sum(values) / len(values) for case, values in by_case.items()}


def _no_dice(cell: Cell, label: str | None) -> str | None:
    """Why a cell has no Dice of a label in any case; None if it has one."""
    if _scores(cell, label):
        return None
    if cell.status != "ok":
        return f"{cell.backend} {cell.precision} is {cell.status}: {cell.reason}"
    return next((e.reason for e in cell.dice_per_case if label in (None, e.label) and e.reason), "no Dice was measured")
