"""What a tuning found, in words and tables: for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.tuning.schema import CandidateResult, Fate, TuneResult, Versus
from benchmark.tuning.words import counted
from reports.markdown import escape, folded, table_text
from reports.table import Column, Table, Tone, Value, absent, keys
from reports.text import lane_name, significant

if TYPE_CHECKING:
    from rich.console import Console

TONES: dict[Fate, Tone] = {
    "winner": "good", "open": "doubt", "forced out": "doubt", "gate": "bad", "invalid": "bad", "failed": "bad",
}  # fmt: skip
FIRST: tuple[Fate, ...] = (
    "winner", "equal", "open", "slower", "forced out", "not raced", "gate", "invalid", "failed", "unavailable",
)  # fmt: skip
"""Fates of who was tried or cannot be tried here, in the order of the table."""

BATCHES = {"prompts_per_call": "prompts in a call", "windows_per_batch": "windows at once"}


def headline(result: TuneResult) -> str:
    """What to deploy: `Deploy ONNX Runtime with 4 prompts in a call`."""
    winner = result.of(result.winner)
    name = lane_name(winner.backend, winner.precision)
    settings = settings_words(winner)
    return f"Deploy {name} {f'with {settings}' if settings else 'as it is by default'}"


def settings_words(candidate: CandidateResult) -> str:
    """`threads 1, 4 prompts in a call, graph basic`; empty for a lane's defaults."""
    own = candidate.own
    words = [f"threads {own.threads}"] if own.threads else []
    words += [f"{count} {words}" for field, words in BATCHES.items() if (count := getattr(own, field))]
    words += [f"{name} {value}" for name, value in own.options.items()]
    return ", ".join(words)


def lines(result: TuneResult) -> list[str]:
    """What it gains and what it costs."""
    found = [_gain(result), _dice(result), _memory(result), f"Why this one: {result.why}."]
    others = [one for one in result.versus if one.other != result.reference]
    if others:
        told = ", ".join(f"{one.speedup:.2f}× {one.other}" for one in others)
        found.append(f"Against what one would try by hand, every backend as it is by default: {told}.")
    found += [f"{note}." for note in result.notes]
    return found


def _gain(result: TuneResult) -> str:
    if result.winner == result.reference:
        return "Nothing that was measured is faster than the reference, so there is nothing to gain."
    found = next((one for one in result.versus if one.other == result.reference), None)
    if found is None:
        return "What it gains over the reference was not measured."
    return f"Gain: {found.speedup:.2f}× the speed of {lane_name('pytorch')} as it is by default{_certainty(found)}."


def _certainty(found: Versus) -> str:
    if found.ci95 is None:
        return f" ({found.reason})"
    return f" (95 % interval {found.ci95[0]:.2f}–{found.ci95[1]:.2f}, {found.pairs} pairs of the {found.source})"


def _dice(result: TuneResult) -> str:
    winner, reference = result.of(result.winner), result.of(result.reference)
    parts = []
    for variant in result.variants:
        own, theirs, masks = winner.dice.get(variant), reference.dice.get(variant), winner.mask_dice.get(variant)
        overlap = "" if masks is None else f"masks overlap with Dice {masks:.4f}"
        if own is None or theirs is None:
            parts.append(f"{variant}: {overlap or 'no label to compare'}")
        else:
            told = f"{variant}: {own:.4f} against {theirs:.4f} ({own - theirs:+.4f})".replace("-", "−")
            parts.append(f"{told}, {overlap}" if overlap else told)
    why = f"; no Dice against the labels: {result.no_dice}" if result.no_dice else ""
    return f"Dice: {'; '.join(parts)}{why}."


def _memory(result: TuneResult) -> str:
    own, theirs = result.of(result.winner).memory_mib, result.of(result.reference).memory_mib
    if own is None or theirs is None:
        return "Memory: this system does not tell a process's peak."
    return f"Memory: {own:,.0f} MiB against {theirs:,.0f} MiB (peaks of the processes)."


def versus_table(result: TuneResult) -> Table | None:
    """The winner against the reference and every backend's default; None where it is alone."""
    rows = tuple(
        (
            Value(one.other),
            Value(f"{one.speedup:.2f}×", number=one.speedup),
            Value(f"{one.ci95[0]:.2f}–{one.ci95[1]:.2f}") if one.ci95 else absent(one.reason),
            Value(str(one.pairs), number=one.pairs),
            Value(one.source),
        )
        for one in result.versus
    )
    columns = (*keys("against"), Column("speed"), Column("95 % interval"), Column("pairs"), Column("from", "text"))
    return Table("versus", "The winner against what one would try by hand", columns, rows) if rows else None


def candidates_table(result: TuneResult, every: bool) -> Table:
    """A row a candidate.

    Args:
        result: of a tuning.
        every: whether those that were not tried are there, too.
    """
    order = {fate: place for place, fate in enumerate(FIRST)}
    shown = [one for one in result.candidates if every or one.fate in order]
    shown.sort(key=lambda one: (order.get(one.fate, len(order)), one.unit_ms or 0.0))
    columns = (
        *keys("candidate"), Column("fate", "text"), Column("ms a unit"), Column("Dice", width=90),
        Column("masks", width=100), Column("MiB", width=80), Column("why", "text"),
    )  # fmt: skip
    about = (
        "ms a unit: when it was tried, alone; pairs decide, not this. Dice: against the reference labels. masks: Dice "
        "between its masks and the reference's. Where there are several variants, the lowest."
    )
    return Table("candidates", "Candidates", columns, tuple(_row(one, result) for one in shown), about)


def _row(one: CandidateResult, result: TuneResult) -> tuple[Value, ...]:
    return (
        Value(one.name),
        Value(one.fate, tone=TONES.get(one.fate, "plain")),
        _number(one.unit_ms, significant(one.unit_ms)),
        _number(_lowest(one.dice.values()), digits=4),
        _number(_lowest(one.mask_dice.values()), digits=4),
        _number(one.memory_mib, None if one.memory_mib is None else f"{one.memory_mib:,.0f}"),
        Value(one.reason),
    )


def _lowest(values: object) -> float | None:
    known = [value for value in values if value is not None]  # type: ignore[attr-defined]
    return min(known, default=None)


def _number(value: float | None, text: str | None = None, digits: int = 1) -> Value:
    if value is None:
        return Value("–")
    return Value(text or f"{value:.{digits}f}", number=value)


def facts(result: TuneResult) -> str:
    """What was measured, on what, for how long."""
    here = result.environment
    units = f"{counted(result.units, 'unit')} of {', '.join(result.cases)}"
    time = f"{result.spent_s:.0f} s of a budget of {result.budget_s:.0f} s"
    what = f"{result.model} on {result.task} ({', '.join(result.variants)})"
    return (
        f"{what}: {units}; {here.cpu}, {here.cores} cores; {time}; "
        f"equally fast is within ±{100 * result.margin:.3g} %; the gate keeps {result.gate:.1%} of the reference's Dice"
    )


def tune_markdown(result: TuneResult) -> str:
    """The page."""
    blocks = [f"**{escape(headline(result))}**", *map(escape, lines(result)), escape(facts(result))]
    versus = versus_table(result)
    if versus is not None:
        blocks += [f"## {versus.title}", table_text(versus)]
    blocks += ["## Candidates", table_text(candidates_table(result, every=False))]
    left = _left(result.candidates)
    blocks += folded(f"{counted(len(left), 'candidate')} not tried", [escape("; ".join(left))] if left else [])
    blocks += ["## Run it again", f"```sh\n{result.command}\nsambench run winner.yaml\n```"]
    return "\n\n".join(blocks) + "\n"


def _left(candidates: Sequence[CandidateResult]) -> list[str]:
    return [one.name for one in candidates if one.fate == "not tried"]


def print_tune(result: TuneResult, console: Console) -> None:
    """The same on the terminal."""
    from rich.text import Text

    from reports.terminal import draw_table

    console.print(Text(headline(result), style="bold green"))
    for line in lines(result):
        console.print(Text(line))
    console.print(Text(facts(result), style="dim"))
    for table in (versus_table(result), candidates_table(result, every=False)):
        if table is not None:
            console.print(draw_table(table, console))
