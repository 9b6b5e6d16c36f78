"""Dice against annotation effort, as a table and as a sentence: what a box buys over a click."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from reports.accuracy import MEAN, numbers
from reports.lineup import Kind, Lineup, Strategy, lineups, main_lineups, whereabouts
from reports.speed import cell_reason, dice_reason
from reports.table import Column, Table, Value, absent, keys, known
from reports.text import ABSENT, backend_name, clicks, dice, sentence, significant
from reports.view import View

BEST = "★"
PER_OBJECT = " per object and slice"


def prompt_tables(view: View) -> tuple[Table, ...]:
    """Dice by prompt strategy, a table for each line-up, because tasks have different labels."""
    found = lineups(view)
    return tuple(
        _table(lineup, f"-{number}" if number > 1 else "", f" – {where}" if where else "", _settings(view))
        for number, (lineup, where) in enumerate(zip(found, whereabouts(found), strict=True), 1)
    )


def _table(lineup: Lineup, suffix: str, where: str, settings: str) -> Table:
    labels = lineup.labels if len(lineup.labels) > 1 else ()
    mean = MEAN if labels else "".join(lineup.labels) or MEAN
    best = {label: _best(s.label_dice(label) for s in lineup.strategies) for label in labels}
    highest = _best(strategy.dice for strategy in lineup.strategies)
    rows = []
    for strategy in lineup.strategies:
        per_label = (_marked(_label_value(strategy, label), best[label]) for label in labels)
        rows.append((*_effort(strategy), _marked(_mean_value(strategy), highest), *per_label))
    return Table(
        key=f"prompts{suffix}",
        title=f"Dice by prompt strategy{where}",
        columns=(
            *keys("strategy"),
            Column("effort"),
            Column("boxes", width=110),
            Column("clicks", width=110),
            *map(Column, (mean, *labels)),
        ),
        rows=tuple(rows),
        about=(
            f"{lineup.task}, {lineup.model}, {_lane_name(lineup)} on {lineup.device}: the mean over cases. Effort is"
            f" clicks per object and slice; a box counts as two, one a corner.{settings} {BEST} marks the best of a"
            " column."
        ),
    )


def _settings(view: View) -> str:
    """What of the specification changes every row, where it is not the default."""
    sam = view.results.spec.get("sam")
    chosen = sam if isinstance(sam, dict) else {}
    told = " Every connected component has a prompt of its own." if chosen.get("per") == "component" else ""
    return told + (" Of three masks, the one with the best predicted IoU." if chosen.get("masks") == "three" else "")


def _lane_name(lineup: Lineup) -> str:
    return f"{backend_name(lineup.lane.backend)} {lineup.lane.precision}"


def _effort(strategy: Strategy) -> tuple[Value, ...]:
    if strategy.effort is None:
        lacking = absent(cell_reason(strategy.cell, "no effort was recorded"))
        return (Value(strategy.name), lacking, lacking, lacking)
    counted = (strategy.effort, strategy.boxes, strategy.clicks)
    return (Value(strategy.name), *(Value(significant(number, 2), number=number) for number in counted))


def _mean_value(strategy: Strategy) -> Value:
    return known(dice(strategy.dice), dice_reason(strategy.cell), strategy.dice)


def _label_value(strategy: Strategy, label: str) -> Value:
    entries = [entry for entry in strategy.cell.dice_per_case if entry.label == label]
    value = strategy.label_dice(label)
    lacking = next((entry.reason for entry in entries if entry.dice is None and entry.reason), None)
    if value is None:
        return absent(cell_reason(strategy.cell, lacking or "no Dice was measured"))
    left_out = len(entries) - len(numbers(entries, label))
    note = f"{left_out} of {len(entries)} cases left out: {lacking or 'no Dice'}" if left_out else None
    return Value(dice(value), note, number=value)


def _best(values: Iterable[float | None]) -> str:
    """The highest value as it is shown: two that read the same are both the best."""
    return dice(max((value for value in values if value is not None), default=None))


def _marked(value: Value, best: str) -> Value:
    # The star stands before the number, so that digits stay under digits.
    return replace(value, text=f"{BEST} {value.text}", tone="good") if value.text == best != ABSENT else value


def effort_sentences(view: View) -> tuple[str, ...]:
    """What a box buys over a click, a sentence for each task and model."""
    found = main_lineups(view)
    return tuple(
        f"{where}: {_sentence(lineup)}." if where else sentence(_sentence(lineup))
        for lineup, where in zip(found, whereabouts(found), strict=True)
    )


def _sentence(lineup: Lineup) -> str:
    """A box against the best points, and the best of all where that is neither."""
    boxes, points = _of_kind(lineup, "box"), _of_kind(lineup, "point")
    if not boxes or not points:
        return _best_and_cheapest(lineup.measured)
    box = next((strategy for strategy in boxes if strategy.name == "box"), None) or _leader(boxes)
    point, leader = _leader(points), _leader(lineup.measured)
    first, second = _named(box, boxes, PER_OBJECT), _named(point, points)
    text = f"{first}{',' if ',' in first else ''} reaches Dice {dice(box.dice)}; {second}, {dice(point.dice)}"
    if dice(leader.dice) in (dice(box.dice), dice(point.dice)):
        return text
    return f"{text}; the best of all, {_priced(leader)}, {dice(leader.dice)}"


def _best_and_cheapest(measured: Sequence[Strategy]) -> str:
    best, cheapest = _leader(measured), measured[0]
    among = f"of {len(measured)} prompt strategies, {_priced(best, PER_OBJECT)}"
    if best is cheapest:
        return f"{among} asks for the fewest clicks and none reaches more than its Dice of {dice(best.dice)}"
    reached = f"reaches the highest Dice, {dice(best.dice)}"
    return f"{among} {reached}; the cheapest, {_priced(cheapest)}, {dice(cheapest.dice)}"


def _of_kind(lineup: Lineup, kind: Kind) -> list[Strategy]:
    return [strategy for strategy in lineup.measured if strategy.kind == kind]


def _leader(strategies: Sequence[Strategy]) -> Strategy:
    """The highest Dice as it is shown; of equal ones the cheapest, which stands first."""
    return max(strategies, key=lambda strategy: round(strategy.dice or 0.0, 3))


def _named(strategy: Strategy, kin: Sequence[Strategy], per: str = "") -> str:
    """A strategy with its price; the plain ones go by what a person does."""
    if strategy.name == "box" or (strategy.name == "point" and len(kin) == 1):
        return f"a {_priced(strategy, per)}"
    return f"the {'best' if len(kin) > 1 else 'only'} {strategy.kind} strategy, {_priced(strategy, per)}"


def _priced(strategy: Strategy, per: str = "") -> str:
    return f"{strategy.name} ({clicks(strategy.effort)}{per})"
