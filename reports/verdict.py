"""The verdict in sentences: what a reader takes away who reads nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.results import Comparison, TaskInfo
from reports.effort import effort_sentences
from reports.supervision import supervision_sentences
from reports.table import Tone
from reports.text import ABSENT, condition, count, difference, interval, join, lane_name, margin, sentence, speedup
from reports.view import STAGES, Outcome, View, lacks_dice

VERBS = {"pseudolabel": "pseudo-labels", "train": "trains", "segment": "segments"}
NOUNS = {"pseudolabel": "pseudo-labelling", "train": "training", "segment": "segmentation"}
# Below this, two Dice values differ in none of the three decimals that a paper prints.
SAME_DICE = 0.0005
FEW_CASES = 5


@dataclass(frozen=True)
class Verdict:
    """The first sentence, the sentences after it, and what to keep in mind when believing them."""

    headline: str
    more: tuple[str, ...]
    caveats: tuple[str, ...]
    tone: Tone


def judge(view: View) -> Verdict:
    """The verdict of a run."""
    groups = _groups(view)
    sentences = [_compare(view, group) for group in groups] or [_nothing_to_compare(view)]
    outcomes = [view.outcome(comparison) for comparison in groups[0]] if groups else []
    trouble = _trouble(view)
    return Verdict(
        headline=sentences[0],
        more=(*sentences[1:], *effort_sentences(view), *supervision_sentences(view), *trouble),
        caveats=tuple(_caveats(view)),
        tone=_tone(outcomes),
    )


def _tone(outcomes: Sequence[Outcome]) -> Tone:
    if outcomes and all(outcome == "faster" for outcome in outcomes):
        return "good"
    if outcomes and all(outcome in ("slower", "gate") for outcome in outcomes):
        return "bad"
    return "doubt"


def _groups(view: View) -> list[list[Comparison]]:
    """Comparisons of one candidate with one baseline, the question of this project first."""
    groups: dict[tuple[str, str, str, str], list[Comparison]] = {}
    for comparison in view.results.comparisons:
        identity = (comparison.candidate, comparison.baseline, comparison.device, comparison.precision)
        groups.setdefault(identity, []).append(comparison)
    ranked = sorted(groups, key=lambda group: (group[:2] != ("onnxruntime", "pytorch"), group[3] != "fp32"))
    return [groups[identity] for identity in ranked]


def _compare(view: View, group: list[Comparison]) -> str:
    """One candidate against one baseline over all stages."""
    candidate, baseline = view.sides(group[0])
    counted = [comparison for comparison in group if view.outcome(comparison) not in ("gate", "unmeasured")]
    if not counted:
        return _no_speed(view, group)
    against = f"{baseline} on this machine{_device(view, group[0])}"
    clauses = []
    for stage in STAGES:
        if members := [comparison for comparison in counted if comparison.stage == stage]:
            clauses.append(f"{VERBS[stage]} {_speed(view, members, against)}")
            against = ""
    return sentence(f"{candidate} {_and(clauses)}{_dice(view, group, counted)}")


def _and(clauses: list[str]) -> str:
    # A clause with commas of its own needs one before the "and".
    return (", and " if any("," in clause.partition("]")[2] for clause in clauses) else " and ").join(clauses)


def _device(view: View, comparison: Comparison) -> str:
    return f" ({comparison.device})" if view.many_devices or comparison.device != "cpu" else ""


def _speed(view: View, members: list[Comparison], against: str) -> str:
    """The speed in one stage; `against` is empty where the sentence has named the baseline before."""
    by_outcome: dict[Outcome, list[Comparison]] = {}
    for comparison in members:
        by_outcome.setdefault(view.outcome(comparison), []).append(comparison)
    if len(by_outcome) == 1:
        return _uniform(next(iter(by_outcome)), members, against)
    outcomes: tuple[Outcome, ...] = ("faster", "slower", "equivalent", "inconclusive")
    parts: list[str] = []
    for outcome in outcomes:
        if found := by_outcome.get(outcome):
            than = f" than {against}" if against and not parts and outcome in ("faster", "slower") else ""
            parts.append(f"{outcome}{than} in {len(found)} of {len(members)} ({_range(found)})")
    named = against if against and " than " not in parts[0] else ""
    return f"with mixed results{f' against {named}' if named else ''}: {join(parts)}"


def _uniform(outcome: Outcome, members: list[Comparison], against: str) -> str:
    many = f" ({count(len(members), 'comparison')})" if len(members) > 1 else ""
    than = f" than {against}" if against else ""
    if outcome == "faster":
        return f"{_range(members)} faster{than}{many}"
    if outcome == "slower":
        return f"slower{than}, at {_range(members)} of its speed{many}"
    if outcome == "equivalent":
        within = f" within {margin(widest)}" if (widest := _widest_margin(members)) is not None else ""
        return f"as fast{f' as {against}' if against else ''}{within}, at {_range(members)}{many}"
    return f"neither clearly faster nor clearly slower{than}, at {_range(members)}{many}"


def _widest_margin(members: list[Comparison]) -> float | None:
    return max((comparison.margin for comparison in members if comparison.margin is not None), default=None)


def _range(members: list[Comparison]) -> str:
    """A speedup with its interval, or the smallest and the largest."""
    ordered = sorted(members, key=lambda comparison: comparison.speedup or 0)
    ends = [ordered[0]] if len(ordered) == 1 else [ordered[0], ordered[-1]]
    if not any(comparison.ci95 for comparison in ends):
        return " to ".join(dict.fromkeys(speedup(comparison.speedup) for comparison in ends)) + " (no interval)"
    return " to ".join(dict.fromkeys(_with_interval(comparison) for comparison in ends))


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
        return sentence(f"{candidate} could not be compared with {baseline}{_device(view, group[0])}: {reason}")
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


def _trouble(view: View) -> list[str]:
    """Cells without a valid result, counted."""
    cells = view.results.cells
    parts = []
    for status, phrase in (("failed", "failed"), ("invalid", "invalid"), ("skipped", "skipped")):
        if number := sum(cell.status == status for cell in cells):
            parts.append(f"{number} {phrase}")
    if not parts:
        return []
    return [sentence(f"Of {count(len(cells), 'cell')}, {join(parts)}: the reasons stand below")]


def _caveats(view: View) -> list[str]:
    """What limits the evidence: few cases, testing on training cases, and the notes of run and tasks."""
    caveats = [sentence(note) for note in view.results.notes]
    for task in view.results.tasks:
        caveats += [sentence(f"{task.name}: {note}") for note in task.notes]
        caveats += [sentence(f"{task.name}: {text}") for text in _evidence(view, task)]
    return list(dict.fromkeys(caveats))


def _evidence(view: View, task: TaskInfo) -> list[str]:
    # Random weights have no Dice for which there could be little evidence.
    cells = [cell for cell in view.results.cells if cell.task == task.name]
    stages = {cell.stage for cell in cells if not lacks_dice(cell)}
    seen = sorted(set(task.train_cases) & set(task.test_cases))
    few = []
    if "pseudolabel" in stages and len(task.cases) < FEW_CASES:
        few.append(f"{NOUNS['pseudolabel']} on {count(len(task.cases), 'case')}")
    if "segment" in stages and 0 < len(task.test_cases) < FEW_CASES:
        few.append(f"{NOUNS['segment']} on {count(len(task.test_cases), 'test case')}")
    found = [f"little evidence – Dice of {join(few)}"] if few else []
    if seen and "segment" in stages:
        verb = "was" if len(seen) == 1 else "were"
        found.append(f"{join(seen)} {verb} used for training and for testing")
    return found
