"""What was found, in a sentence for each candidate: how fast in each stage, and what it costs in Dice."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.results import Comparison
from reports.text import ABSENT, condition, count, difference, interval, join, lane_name, margin, sentence, speedup
from reports.view import STAGES, Outcome, View

VERBS = {"pseudolabel": "pseudo-labels", "train": "trains", "segment": "segments"}
# Below this, two Dice values differ in none of the three decimals that a paper prints.
SAME_DICE = 0.0005


def findings(view: View) -> tuple[str, ...]:
    """A sentence for each group of comparisons; one that says why where there is none."""
    return tuple(finding(view, group) for group in by_candidate(view)) or (_nothing_to_compare(view),)


def by_candidate(view: View) -> list[list[Comparison]]:
    """Comparisons of one candidate with one baseline, the question of this project first."""
    groups: dict[tuple[str, str, str, str], list[Comparison]] = {}
    for comparison in view.results.comparisons:
        identity = (comparison.candidate, comparison.baseline, comparison.device, comparison.precision)
        groups.setdefault(identity, []).append(comparison)
    ranked = sorted(groups, key=lambda group: (group[:2] != ("onnxruntime", "pytorch"), group[3] != "fp32"))
    return [groups[identity] for identity in ranked]


def finding(view: View, group: list[Comparison]) -> str:
    """One candidate against one baseline over all stages."""
    candidate, baseline = view.sides(group[0])
    counted = [comparison for comparison in group if view.outcome(comparison) not in ("gate", "unmeasured")]
    if not counted:
        return _no_speed(view, group)
    against = f"{baseline} on this machine{on_device(view, group[0])}"
    clauses = []
    for stage in STAGES:
        if members := [comparison for comparison in counted if comparison.stage == stage]:
            clauses.append(f"{VERBS[stage]} {speed(view, members, against)}")
            against = ""
    return sentence(f"{candidate} {_and(clauses)}{_dice(view, group, counted)}")


def _and(clauses: list[str]) -> str:
    # A clause with commas of its own needs one before the "and".
    return (", and " if any("," in clause.partition("]")[2] for clause in clauses) else " and ").join(clauses)


def on_device(view: View, comparison: Comparison) -> str:
    """The device, where it does not go without saying."""
    return f" ({comparison.device})" if view.many_devices or comparison.device != "cpu" else ""


def speed(view: View, members: list[Comparison], against: str, *, counting: bool = True) -> str:
    """The speed in one stage.

    Args:
        view: the run.
        members: comparisons of which a speed counts.
        against: the baseline; empty where the sentence has named it before.
        counting: whether to say of how many comparisons that are alike.
    """
    by_outcome: dict[Outcome, list[Comparison]] = {}
    for comparison in members:
        by_outcome.setdefault(view.outcome(comparison), []).append(comparison)
    if len(by_outcome) == 1:
        return _uniform(next(iter(by_outcome)), members, against, counting)
    outcomes: tuple[Outcome, ...] = ("faster", "slower", "equivalent", "inconclusive")
    parts: list[str] = []
    for outcome in outcomes:
        if found := by_outcome.get(outcome):
            than = f" than {against}" if against and not parts and outcome in ("faster", "slower") else ""
            parts.append(f"{outcome}{than} in {len(found)} of {len(members)} ({speed_range(found)})")
    named = against if against and " than " not in parts[0] else ""
    return f"with mixed results{f' against {named}' if named else ''}: {join(parts)}"


def _uniform(outcome: Outcome, members: list[Comparison], against: str, counting: bool) -> str:
    many = f" ({count(len(members), 'comparison')})" if counting and len(members) > 1 else ""
    than = f" than {against}" if against else ""
    if outcome == "faster":
        return f"{speed_range(members)} faster{than}{many}"
    if outcome == "slower":
        return f"slower{than}, at {speed_range(members)} of its speed{many}"
    if outcome == "equivalent":
        within = f" within {margin(widest)}" if (widest := _widest_margin(members)) is not None else ""
        return f"as fast{f' as {against}' if against else ''}{within}, at {speed_range(members)}{many}"
    return f"neither clearly faster nor clearly slower{than}, at {speed_range(members)}{many}"


def _widest_margin(members: list[Comparison]) -> float | None:
    return max((comparison.margin for comparison in members if comparison.margin is not None), default=None)


def speed_range(members: list[Comparison]) -> str:
    """A speedup with its interval, or the smallest and the largest."""
    ordered = sorted(members, key=lambda comparison: comparison.speedup or 0)
    ends = [ordered[0]] if len(ordered) == 1 else [ordered[0], ordered[-1]]
    if not any(comparison.ci95 for comparison in ends):
        return " to ".join(dict.fromkeys(speedup(comparison.speedup) for comparison in ends)) + " (no interval)"
    return " to ".join(dict.fromkeys(_with_interval(comparison) for comparison in ends))


def hull(members: Sequence[Comparison]) -> str:
    """The range of several speedups with the outer bounds of their intervals, in short; empty where there is none."""
    ratios = [comparison.speedup for comparison in members if comparison.speedup is not None]
    if not ratios:
        return ""
    ends = list(dict.fromkeys(speedup(ratio) for ratio in (min(ratios), max(ratios))))
    bounds = [comparison.ci95 for comparison in members if comparison.ci95 is not None]
    outer = (min(low for low, _ in bounds), max(high for _, high in bounds)) if len(bounds) == len(members) else None
    shown = interval(outer)
    text = "–".join([*(end.removesuffix("×") for end in ends[:-1]), ends[-1]])
    return f"{text} {shown}" if shown != ABSENT else f"{text} (no interval)"


def _with_interval(comparison: Comparison) -> str:
    bounds = interval(comparison.ci95)
    return speedup(comparison.speedup) + (f" {bounds}" if bounds != ABSENT else " (no interval)")


def _dice(view: View, group: list[Comparison], counted: list[Comparison]) -> str:
    """What the speed costs, as the end of a sentence."""
    failed = [comparison for comparison in group if view.outcome(comparison) == "gate"]
    if failed:
        worst = min(failed, key=lambda comparison: view.dice_difference(comparison) or 0)
        return (
            f" – but the gate failed in {len(failed)} of {count(len(group), 'comparison')}, whose speed does not count"
            f" ({_loss(view, worst)})"
        )
    known = [delta for comparison in counted if (delta := view.dice_difference(comparison)) is not None]
    gate = "gate passed" if len(counted) == len(group) else "gate passed wherever both ran"
    without = [reason for comparison in counted if (reason := view.no_dice(comparison))]
    if not known and without:
        return f" – {gate} on masks alone ({without[0]})"
    if not known:
        return f", with an unknown difference in Dice – {gate}"
    if without:
        gate += f", in {len(without)} of {count(len(counted), 'comparison')} on masks alone ({without[0]})"
    largest = max(known, key=abs)
    if abs(largest) < SAME_DICE:
        return f", with the same Dice (largest difference {abs(largest):.4f}) – {gate}"
    return f", with Dice changed by {difference(largest)} at most – {gate}"


def _loss(view: View, comparison: Comparison) -> str:
    """What failed the gate, and where."""
    lost = view.dice_difference(comparison)
    what = comparison.reason if lost is None and comparison.reason else f"Dice {difference(lost)}"
    return f"{what} in {_where(comparison)}"


def _where(comparison: Comparison) -> str:
    parts = [comparison.stage, comparison.task]
    if comparison.prompt is not None:
        parts.append(condition(comparison.stage, comparison.prompt))
    return ", ".join(parts)


def _no_speed(view: View, group: list[Comparison]) -> str:
    """A candidate of which no speed counts."""
    candidate, baseline = view.sides(group[0])
    failed = [comparison for comparison in group if view.outcome(comparison) == "gate"]
    if not failed:
        reason = view.why_unmeasured(group[0])
        return sentence(f"{candidate} could not be compared with {baseline}{on_device(view, group[0])}: {reason}")
    worst = min(failed, key=lambda comparison: view.dice_difference(comparison) or 0)
    share = "" if len(failed) == len(group) == 1 else f" in {len(failed)} of {count(len(group), 'comparison')}"
    return sentence(
        f"{candidate} fails the gate against {baseline}{share}, so its speed does not count ({_loss(view, worst)})"
    )


def _nothing_to_compare(view: View) -> str:
    cells = view.results.cells
    if not cells:
        return "Nothing to compare: the run has no cells."
    good = list(dict.fromkeys(lane_name(cell.backend, cell.precision) for cell in cells if cell.status == "ok"))
    if not good:
        first = next((cell.reason for cell in cells if cell.reason), "no reason recorded")
        return sentence(f"Nothing to compare: none of {count(len(cells), 'cell')} gave a valid result ({first})")
    ran = f"only {good[0]} gave valid results" if len(good) == 1 else f"{join(good)} ran, without a comparison"
    return sentence(f"Nothing to compare: {ran}")
