"""Weak supervision (pseudo labels) against full supervision (reference labels), as tables and as sentences."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.results import Cell, SupervisionEffect
from reports.speed import dice_reason
from reports.table import Column, Table, Value, absent, keys, known
from reports.text import REFERENCE, condition, count, dice, dice_interval, difference, sentence
from reports.view import View

WIDE = 0.1
"""An interval of Dice wider than this leaves open whether the difference matters."""
LEARNT = 0.3
"""Two UNets that both stay below have hardly learnt to segment, and agree for that reason alone."""
MANY_SENTENCES = 3
NO_INTERVAL = "this run recorded no interval"
ABOUT = (
    "The same UNet trained on pseudo labels (weak) or on the reference labels (full), both scored against the reference"
    " labels of the same test cases. The interval is over test cases (Student's, paired); how much a second training"
    " would differ is not in it."
)


def supervision_table(view: View) -> Table | None:
    """Both Dice values and their difference on each backend, where the run has both."""
    rows = tuple(
        (*map(Value, _names(effect)), Value(view.variant(weak)), *_numbers(effect), _kept(effect))
        for weak, effect in _effects(view)
    )
    if not rows:
        return None
    return Table(
        key="supervision",
        title="Weak against full supervision",
        columns=(
            *keys("task", "model", "weak labels", "backend"),
            *map(Column, ("Dice weak", "Dice full", "difference", "95 % interval")),
            Column("test cases", width=100),
            Column("share kept", width=110),
        ),
        rows=rows,
        about=ABOUT,
    )


def supervision_label_table(view: View) -> Table | None:
    """The same for each label, on one backend: backends are compared elsewhere."""
    rows = tuple(
        (*map(Value, _names(effect)), Value(effect.label), *_numbers(effect))
        for effect in _first_lanes(view.results.supervision)
        if effect.label is not None
    )
    if not rows:
        return None
    return Table(
        key="supervision-labels",
        title="Weak against full supervision, label by label",
        columns=(
            *keys("task", "model", "weak labels", "label"),
            *map(Column, ("Dice weak", "Dice full", "difference", "95 % interval", "test cases")),
        ),
        rows=rows,
    )


def supervision_sentences(view: View) -> list[str]:
    """What pseudo labels cost, for those who read nothing else."""
    every = [effect for effect in view.results.supervision if effect.label is None]
    main = [effect for effect in _first_lanes(every) if effect.difference is not None]
    if len(main) <= MANY_SENTENCES:
        return [_sentence(view, effect) for effect in main]
    differences = [effect.difference for effect in main if effect.difference is not None]
    apart = sum(effect.ci95 is not None and not _contains_zero(effect.ci95) for effect in main)
    return [
        sentence(
            f"weak supervision changes the UNet's Dice by {difference(min(differences), 3)} to"
            f" {difference(max(differences), 3)} against full supervision in {count(len(main), 'pair')} of trainings;"
            f" the interval excludes 0 in {apart} of them"
        )
    ]


def _sentence(view: View, effect: SupervisionEffect) -> str:
    where = f" on {effect.task}" if view.many_tasks else ""
    found = (
        f"trained on {effect.labels} pseudo labels the UNet reaches Dice {dice(effect.dice_weak)}{where}, on reference"
        f" labels {dice(effect.dice_full)}: {difference(effect.difference, 3)}"
    )
    if effect.ci95 is None:
        return sentence(f"{found}, without an interval – {effect.reason or NO_INTERVAL}")
    over = f"{dice_interval(effect.ci95)} over {count(effect.cases, 'test case')}"
    return sentence(f"{found} {over} – {_meaning(effect.ci95)}{_hardly(effect)}")


def _hardly(effect: SupervisionEffect) -> str:
    """What takes the meaning from a small difference: neither has learnt enough to lose anything."""
    if max(effect.dice_weak or 0.0, effect.dice_full or 0.0) >= LEARNT:
        return ""
    return f"; but with Dice below {LEARNT} neither has learnt enough for the comparison to mean anything"


def _meaning(ci95: tuple[float, float]) -> str:
    """An interval in plain words."""
    wide = ci95[1] - ci95[0] > WIDE
    if not _contains_zero(ci95):
        found = "the whole interval lies below 0" if ci95[1] < 0 else "the whole interval lies above 0"
        return f"{found}, but it is wide: how much is not known" if wide else found
    if wide:
        return "the interval contains 0 and is wide: so few cases neither show a difference nor rule one out"
    return f"the interval contains 0: no difference is shown, and one beyond {max(map(abs, ci95)):.3f} is unlikely"


def _contains_zero(ci95: tuple[float, float]) -> bool:
    return ci95[0] <= 0 <= ci95[1]


def _first_lanes(effects: Sequence[SupervisionEffect]) -> list[SupervisionEffect]:
    """Each effect on the lane that stands for all: the reference's, which has a cell before all others."""
    found: dict[tuple[str | None, ...], SupervisionEffect] = {}
    for effect in effects:
        found.setdefault((effect.task, effect.model, effect.labels, effect.label), effect)
    return list(found.values())


def _effects(view: View) -> list[tuple[Cell, SupervisionEffect]]:
    """The valid cells of weak supervision, each with its effect."""
    cells = [cell for cell in view.cells("segment") if cell.status == "ok"]
    full = {(cell.task, cell.model, view.variant(cell)): cell for cell in cells if cell.prompt == REFERENCE}
    found = []
    for cell in cells:
        reference = full.get((cell.task, cell.model, view.variant(cell)))
        if cell.prompt != REFERENCE and reference is not None:
            found.append((cell, _recorded(view, cell) or _of_means(cell, reference)))
    return found


def _recorded(view: View, weak: Cell) -> SupervisionEffect | None:
    lane = (weak.task, weak.model, weak.prompt, weak.backend, weak.device, weak.precision)
    return next(
        (
            e
            for e in view.results.supervision
            if e.label is None and (e.task, e.model, e.labels, e.backend, e.device, e.precision) == lane
        ),
        None,
    )


def _of_means(weak: Cell, full: Cell) -> SupervisionEffect:
    """Of a run that recorded no effect: an older one, or one of checkpoints that were brought."""
    lacking = next((dice_reason(cell) for cell in (weak, full) if cell.dice is None), None)
    return SupervisionEffect(
        task=weak.task,
        model=weak.model,
        labels=weak.prompt or "",
        label=None,
        backend=weak.backend,
        device=weak.device,
        precision=weak.precision,
        dice_weak=weak.dice,
        dice_full=full.dice,
        difference=None if weak.dice is None or full.dice is None else weak.dice - full.dice,
        ci95=None,
        cases=len({entry.case for entry in weak.dice_per_case if entry.dice is not None}),
        reason=lacking or NO_INTERVAL,
    )


def _names(effect: SupervisionEffect) -> tuple[str, str, str]:
    return effect.task, effect.model, condition("segment", effect.labels)


def _numbers(effect: SupervisionEffect) -> tuple[Value, ...]:
    why = effect.reason
    return (
        known(dice(effect.dice_weak), why, effect.dice_weak),
        known(dice(effect.dice_full), why, effect.dice_full),
        known(difference(effect.difference), why, effect.difference),
        known(dice_interval(effect.ci95), why),
        Value(str(effect.cases)),
    )


def _kept(effect: SupervisionEffect) -> Value:
    if effect.dice_weak is None or effect.dice_full is None:
        return absent(effect.reason)
    if effect.dice_full <= 0:
        return absent("full supervision reached a Dice of 0")
    share = effect.dice_weak / effect.dice_full
    return Value(f"{share:.1%}", number=100 * share)
