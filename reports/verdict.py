"""The verdict in sentences: what a reader takes away who reads nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.results import Comparison, TaskInfo
from reports.advice import NOUNS, Choice, advice, choices
from reports.effort import effort_sentences
from reports.findings import by_candidate, finding, findings
from reports.glance import counts
from reports.supervision import supervision_sentences
from reports.table import Tone
from reports.text import count, join, margin, sentence
from reports.view import View, lacks_dice

FEW_CASES = 5


@dataclass(frozen=True)
class Verdict:
    """What to do, then how sure that is, what to keep in mind when believing it, and what else was found.

    Attributes:
        headline: what to do.
        no_picture: why there is no picture of speedups; empty where there is one.
        sure: how sure it is; empty where no speed counts.
        caveats: what limits the evidence.
        found: what else was found, a sentence each.
        tone: of the advice.
    """

    headline: str
    no_picture: str
    sure: str
    caveats: tuple[str, ...]
    found: tuple[str, ...]
    tone: Tone

    @property
    def more(self) -> tuple[str, ...]:
        """All sentences after the headline."""
        return (self.sure, *self.found) if self.sure else self.found


def judge(view: View) -> Verdict:
    """The verdict of a run."""
    found = choices(view)
    told = advice(view, found)
    first, *rest = [told, *_untold(view, found)] if told else findings(view)
    more = (*rest, *effort_sentences(view), *supervision_sentences(view), *_trouble(view))
    return Verdict(
        headline=first,
        no_picture=_no_picture(view),
        sure=certainty(view) if told else "",
        caveats=tuple(_caveats(view)),
        found=tuple(line for line in more if line),
        tone=_tone([choice.kind for choice in found]),
    )


def _tone(kinds: Sequence[str]) -> Tone:
    if kinds and all(kind == "use" for kind in kinds):
        return "good"
    return "bad" if kinds and all(kind == "keep" for kind in kinds) else "doubt"


def _untold(view: View, found: Sequence[Choice]) -> list[str]:
    """The findings of those candidates of which the advice does not say everything."""
    told = [comparison for choice in found if choice.kind in ("use", "open") for comparison in choice.members]
    return [finding(view, group) for group in by_candidate(view) if not all(one in told for one in group)]


def certainty(view: View) -> str:
    """How sure the speeds are: clear verdicts, pairs, calibration. Empty where no speed counts."""
    counted = [c for c in view.results.comparisons if view.outcome(c) not in ("gate", "unmeasured")]
    if not counted:
        return ""
    clear = sum(comparison.verdict != "inconclusive" for comparison in counted)
    margins = {comparison.margin for comparison in counted}
    width = f" at {margin(value)}" if len(margins) == 1 and (value := next(iter(margins))) is not None else ""
    verdicts = count(len(counted), "verdict")
    which = f"the {verdicts} {'is' if len(counted) == 1 else 'are all'} clear"
    if clear < len(counted):
        which = f"{clear or 'none'} of {verdicts} {'is' if clear < 2 else 'are'} clear"
    pairs = sorted({comparison.pairs for comparison in counted})
    from_to = count(pairs[0], "pair") if len(pairs) == 1 else f"{pairs[0]:,} to {pairs[-1]:,} pairs"
    return sentence(f"How sure: {which}{width}, from {from_to} of turns{_each(counted)}; {_calibrated(view)}")


def _no_picture(view: View) -> str:
    counted, failed, unmeasured = counts(view)
    if counted:
        return ""
    if not failed + unmeasured:
        return "No picture of speedups: nothing was compared."
    parts = ([f"{failed} failed the gate"] if failed else []) + ([f"{unmeasured} not measured"] if unmeasured else [])
    whole = count(failed + unmeasured, "comparison")
    return sentence(f"No picture of speedups: of {whole} none has a speed that counts ({join(parts)})")


def _each(counted: Sequence[Comparison]) -> str:
    return " each" if len(counted) > 1 else ""


def _calibrated(view: View) -> str:
    if view.results.calibration:
        return f"this machine was {view.results.calibration}"
    return "this machine was not calibrated, so its noise floor is not known (sambench calibrate finds it)"


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
