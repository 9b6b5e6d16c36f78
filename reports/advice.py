"""What to do: for each stage and model the backend to use, or why to keep the baseline."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmark.results import Comparison
from reports.findings import SAME_DICE, hull, on_device, speed, speed_range
from reports.text import count, difference, join, lane_name, margin, sentence
from reports.view import STAGES, View

Kind = Literal["use", "either", "open", "keep", "unmeasured"]
NOUNS = {"pseudolabel": "pseudo-labelling", "train": "training", "segment": "segmentation"}
# As `speed` words outcomes that differ.
MIXED = "with mixed results"
# What is worth naming first where no candidate is clearly the one to use.
RANKS: tuple[Kind, ...] = ("use", "either", "open", "keep", "unmeasured")


@dataclass(frozen=True)
class Choice:
    """The advice for one stage and model on one device, and the comparisons of the lane that it speaks of."""

    kind: Kind
    where: str
    members: tuple[Comparison, ...]


def choices(view: View) -> tuple[Choice, ...]:
    """One choice for each stage, model and device, in the order of the pipeline."""
    units: dict[tuple[str, str, str], list[Comparison]] = {}
    for comparison in view.results.comparisons:
        units.setdefault((comparison.stage, comparison.model, comparison.device), []).append(comparison)
    ordered = sorted(units, key=lambda unit: STAGES.index(unit[0]))
    return tuple(_choose(view, unit, units[unit], [u[0] for u in units]) for unit in ordered)


def _choose(view: View, unit: tuple[str, str, str], members: Iterable[Comparison], stages: Sequence[str]) -> Choice:
    """The fastest lane of those that are never slower and never fail the gate; without one, the most promising."""
    stage, model, _ = unit
    lanes: dict[tuple[str, str, str], list[Comparison]] = {}
    for comparison in members:
        lanes.setdefault((comparison.candidate, comparison.precision, comparison.baseline), []).append(comparison)
    kind, chosen = min(
        ((_kind(view, lane), lane) for lane in lanes.values()),
        key=lambda found: (RANKS.index(found[0]), _mixed(view, found[1]), -_mean_speedup(view, found[1])),
    )
    several = stages.count(stage) > 1
    where = NOUNS[stage] + (f" with {model}" if several and view.many_models else "") + on_device(view, chosen[0])
    return Choice(kind, where, tuple(chosen))


def _kind(view: View, lane: Sequence[Comparison]) -> Kind:
    outcomes = {view.outcome(comparison) for comparison in lane}
    if "gate" in outcomes or "slower" in outcomes:
        return "keep"
    measured = outcomes - {"unmeasured"}
    if not measured:
        return "unmeasured"
    if measured == {"equivalent"}:
        return "either"
    return "open" if "inconclusive" in measured else "use"


def _mixed(view: View, lane: Sequence[Comparison]) -> bool:
    return len({view.outcome(comparison) for comparison in lane}) > 1


def _mean_speedup(view: View, lane: Sequence[Comparison]) -> float:
    """The geometric mean over what counts; 0 where nothing does."""
    found = [c.speedup for c in lane if c.speedup and view.outcome(c) not in ("gate", "unmeasured")]
    return math.exp(sum(map(math.log, found)) / len(found)) if found else 0.0


def advice(view: View, found: Sequence[Choice]) -> str:
    """The first words of a report; empty where there is nothing to compare."""
    told = []
    for members in _alike(choice for choice in found if choice.kind == "use"):
        told.append(_use(view, members))
    keep: dict[str, list[str]] = {}
    for choice in found:
        if choice.kind == "keep":
            keep.setdefault(_baseline(view, choice), []).append(_why_keep(view, choice))
    told += [sentence(f"Keep {baseline} for {'; and for '.join(reasons)}") for baseline, reasons in keep.items()]
    told += [_otherwise(view, choice) for choice in found if choice.kind not in ("use", "keep")]
    return " ".join(told)


def _alike(found: Iterable[Choice]) -> list[list[Choice]]:
    """Choices of one lane, which share a sentence."""
    lanes: dict[tuple[str, str, str], list[Choice]] = {}
    for choice in found:
        first = choice.members[0]
        lanes.setdefault((first.candidate, first.precision, first.baseline), []).append(choice)
    return list(lanes.values())


def _use(view: View, found: Sequence[Choice]) -> str:
    """One lane for all the choices that name it; the models of one stage share its noun."""
    candidate, baseline = view.sides(found[0].members[0])
    than = f" than {baseline}"
    places: list[tuple[str, str]] = []
    for choice in found:
        counted = _counted(view, choice)
        mixed = _mixed(view, counted)
        words = speed(view, counted, "", counting=False) if mixed else f"{hull(counted)} faster{than}"
        than = than if mixed else ""
        places.append((choice.where, words.removeprefix(f"{MIXED}: ")))
    cost = _cost(view, [comparison for choice in found for comparison in choice.members])
    if len(places) == 1:
        return sentence(f"Use {candidate} for {places[0][0]}: {places[0][1]}, {cost}")
    return sentence(
        f"Use {candidate} for {join([f'{where} ({words})' for where, words in _shortened(places)])}: {cost}"
    )


def _shortened(places: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """A stage that the place before has named is not named again: `pseudo-labelling with a (…) and with b (…)`."""
    short, last = [], ""
    for where, words in places:
        stage, model, rest = where.partition(" with ")
        short.append((f"with {rest}" if model and stage == last else where, words))
        last = stage
    return short


def _counted(view: View, choice: Choice) -> list[Comparison]:
    return [comparison for comparison in choice.members if view.outcome(comparison) not in ("gate", "unmeasured")]


def _cost(view: View, members: Sequence[Comparison]) -> str:
    """What it costs in Dice, and whether the gate passed."""
    counted = [comparison for comparison in members if view.outcome(comparison) != "unmeasured"]
    gate = "gate passed"
    if len(counted) < len(members):
        gate += f" in the {len(counted)} of {len(members)} comparisons that ran"
    without = [reason for comparison in counted if (reason := view.no_dice(comparison))]
    if without:
        where = "" if len(without) == len(counted) else f" in {len(without)} of {len(counted)} comparisons"
        return f"{gate}{where} on masks alone ({without[0]})"
    known = [delta for comparison in counted if (delta := view.dice_difference(comparison)) is not None]
    if not known:
        return f"an unknown difference in Dice, {gate}"
    largest = max(known, key=abs)
    dice = "the same Dice" if abs(largest) < SAME_DICE else f"Dice {difference(largest)}{' at most' * (len(known) > 1)}"
    return f"{dice}, {gate}"


def _baseline(view: View, choice: Choice) -> str:
    return view.sides(choice.members[0])[1]


def _what_lacks(counted: Sequence[Comparison]) -> str:
    """What would decide it, where too few pairs are all that is wrong."""
    if any(comparison.ci95 is not None for comparison in counted):
        return ""
    pairs = sorted({comparison.pairs for comparison in counted})
    shown = count(pairs[0], "pair") if len(pairs) == 1 else f"{pairs[0]:,} to {pairs[-1]:,} pairs"
    return f": {shown} of turns are too few for an interval; give it more time (--budget 5m)"


def _why_keep(view: View, choice: Choice) -> str:
    candidate = view.sides(choice.members[0])[0]
    failed = [comparison for comparison in choice.members if view.outcome(comparison) == "gate"]
    if failed:
        worst = min(failed, key=lambda comparison: view.dice_difference(comparison) or 0)
        lost = view.dice_difference(worst)
        cost = (worst.reason or "its masks differ") if lost is None else f"Dice {difference(lost)}"
        share = f" in {len(failed)} of {len(choice.members)}" if len(choice.members) > 1 else ""
        return f"{choice.where}: {candidate} fails the gate{share} ({cost})"
    words = speed(view, _counted(view, choice), "")
    verb = "has" if words.startswith(MIXED) else "is"
    return f"{choice.where}: {candidate} {verb} {words.removeprefix('with ')}"


def _otherwise(view: View, choice: Choice) -> str:
    candidate, baseline = view.sides(choice.members[0])
    counted = _counted(view, choice)
    if choice.kind == "either":
        within = {comparison.margin for comparison in counted}
        known = f" within {margin(width)}" if len(within) == 1 and (width := within.pop()) is not None else ""
        return sentence(
            f"For {choice.where} either serves: {candidate} is as fast as {baseline}{known} ({speed_range(counted)})"
        )
    if choice.kind == "open":
        unclear = sum(view.outcome(comparison) == "inconclusive" for comparison in counted)
        share = f" in {unclear} of {count(len(counted), 'comparison')}" if len(counted) > 1 else ""
        return sentence(
            f"Undecided for {choice.where}: {candidate} against {baseline} is inconclusive{share}, at {hull(counted)}"
            f"{_what_lacks(counted)}"
        )
    first = choice.members[0]
    return sentence(
        f"No advice for {choice.where}: {lane_name(first.candidate, first.precision)} could not be compared with"
        f" {baseline}: {view.why_unmeasured(first)}"
    )
