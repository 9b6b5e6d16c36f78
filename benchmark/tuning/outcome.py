"""From what was measured to what became of each candidate, and what the winner gains. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmark.measure.statistics import PAIRS_NEEDED
from benchmark.results import LaneKey
from benchmark.sections import LaneSpec
from benchmark.tuning.candidates import BatchKind, Candidate
from benchmark.tuning.race import FEWEST_PAIRS, Choice, Standing, against, standings
from benchmark.tuning.records import HeatRecord, Screening
from benchmark.tuning.schema import CandidateResult, Fate, Versus
from benchmark.tuning.words import counted
from reports.text import backend_name


@dataclass(frozen=True)
class Measured:
    """All of a tuning.

    Attributes:
        candidates: in the order of the menu.
        screenings: name → of whoever was tried.
        heats: in order.
        final: None where there was no time for it.
        choice: of the last heat; its name is the winner, or was before the final.
        winner: after the final.
        why_not_tried: told of whoever was not.
        absent: lane → why it cannot run here.
        no_room: name → why it could not race.
    """

    candidates: Sequence[Candidate]
    screenings: Mapping[str, Screening]
    heats: Sequence[HeatRecord]
    final: HeatRecord | None
    choice: Choice
    winner: str
    why_not_tried: str
    absent: Mapping[str, str]
    no_room: Mapping[str, str] = field(default_factory=dict)


def results(measured: Measured, kind: BatchKind, margin: float) -> list[CandidateResult]:
    """Every candidate with its fate and the reason, and every lane that is absent.

    Args:
        measured: everything.
        kind: what batches are of.
        margin: half-width of what counts as equally fast.
    """
    found = []
    for candidate in measured.candidates:
        screening = measured.screenings.get(candidate.name)
        fate, reason = fate_of(candidate.name, measured, margin)
        heat = last_heat(candidate.name, measured.heats)
        final = measured.final.times.get(candidate.name, []) if measured.final else []
        own = {} if screening is None else _numbers(screening)
        found.append(
            CandidateResult(
                name=candidate.name,
                backend=candidate.backend,
                precision=candidate.precision,
                own=candidate.own(kind),
                fate=fate,
                reason=reason,
                race_ms=_rounded(heat.times.get(candidate.name, []) if heat else []),
                final_ms=_rounded(final),
                **own,  # type: ignore[arg-type]
            )
        )
    for lane, reason in measured.absent.items():
        key = LaneKey.parse(lane)
        found.append(
            CandidateResult(
                name=f"{lane} (all)", backend=key.backend, precision=key.precision, own=LaneSpec(),
                fate="unavailable", reason=reason,
            )
        )  # fmt: skip
    return found


def _numbers(screening: Screening) -> dict[str, object]:
    return screening.model_dump(include={"unit_ms", "dice", "mask_dice", "memory_mib", "start_s"})


def _rounded(samples: Iterable[float]) -> list[float]:
    return [round(sample, 4) for sample in samples]


def fate_of(name: str, measured: Measured, margin: float) -> tuple[Fate, str]:
    """What became of a candidate, and why."""
    screening = measured.screenings.get(name)
    if name == measured.winner:
        return "winner", why_it(measured)
    if screening is None:
        return "not tried", measured.why_not_tried
    if screening.dropped is not None:
        return screening.dropped, screening.reason or "it gave no reason"
    told = _in_final(name, measured, margin)
    if told is not None:
        return told
    heat = last_heat(name, measured.heats)
    if heat is None:
        late = f"the budget ended before its race: {_tried(screening, measured)}"
        return "not raced", measured.no_room.get(name, late)
    return _raced(name, heat, measured, margin)


def _in_final(name: str, measured: Measured, margin: float) -> tuple[Fate, str] | None:
    """What the final tells of a candidate; its pairs are fresh, so they count before those of a race."""
    failed = _failed_in_final(name, measured)
    if failed is not None:
        return "failed", failed
    times = measured.final.times if measured.final else {}
    if not times.get(name) or not times.get(measured.winner):
        return None
    own = Standing(name, *against(times[measured.winner], times[name]))
    words = own.words.replace("the leader's", "the winner's")
    if own.behind(margin) or name == measured.choice.name:
        return "slower", f"surely slower in the final: {words}"
    if own.level(margin):
        return "equal", f"as fast within the margin, in the final: {words}"
    return None if own.interval is None else ("open", f"not told apart by more than the margin in the final: {words}")


def _tried(screening: Screening, measured: Measured) -> str:
    best = measured.screenings[measured.winner].unit_ms
    return f"{best / screening.unit_ms:.2f}× of the winner's speed when tried" if best and screening.unit_ms else "–"


def _raced(name: str, heat: HeatRecord, measured: Measured, margin: float) -> tuple[Fate, str]:
    left = next((left for left in heat.left if left.name == name), None)
    if left is not None:
        return ("failed" if left.failed else "forced out" if left.forced else "slower"), left.reason
    return _still_there(name, heat, margin)


def why_it(measured: Measured) -> str:
    """Why the winner is the winner."""
    if measured.winner == measured.choice.name:
        return measured.choice.why
    if _failed_in_final(measured.choice.name, measured) is not None:
        return f"{measured.choice.name}, which had won the race, failed in the final"
    return f"in the final it was surely faster than {measured.choice.name}, which had won the race"


def _failed_in_final(name: str, measured: Measured) -> str | None:
    left = measured.final.left if measured.final else []
    return next((f"in the final: {one.reason}" for one in left if one.name == name and one.failed), None)


def short_of_time(candidates: Sequence[CandidateResult]) -> list[str]:
    """What the budget had no time for, in sentences."""
    words = {
        "not tried": "not tried",
        "not raced": "tried and not raced",
        "forced out": "sent out of a race before it was surely slower",
    }
    counts = {fate: sum(one.fate == fate for one in candidates) for fate in words}
    return [
        f"{counted(count, 'candidate')} {'was' if count == 1 else 'were'} {words[fate]}, because the budget ended"
        for fate, count in counts.items()
        if count
    ]


def not_raced_against(
    candidates: Sequence[CandidateResult], plain: Sequence[str], compared: Sequence[str]
) -> list[str]:
    """Backends whose plain default dropped out, so that nobody knows whether the winner is faster, in sentences.

    Args:
        candidates: with their fates.
        plain: names of the plain defaults, the reference left out.
        compared: names of whoever the winner was held against all the same.
    """
    verbs: dict[Fate, str] = {
        "failed": "failed", "invalid": "did not run as what it was asked for", "gate": "did not hold the gate",
    }  # fmt: skip
    return [
        f"{backend_name(one.backend)} as it is by default {verbs[one.fate]} ({one.reason.rstrip('.')}), so the winner "
        "was not raced against it"
        for one in candidates
        if one.name in plain and one.fate in verbs and one.name not in compared
    ]


def _still_there(name: str, heat: HeatRecord, margin: float) -> tuple[Fate, str]:
    """Of who was in its race to the end and did not win."""
    if heat.rounds == 0:
        return "open", f"nothing was measured in its race: {heat.ended}"
    own = next(one for one in standings(heat.times, heat.racing) if one.name == name)
    told = "it led its race" if own.ratio == 1.0 and own.interval == (1.0, 1.0) else own.words
    if own.level(margin):
        return "equal", f"as fast within the margin: {told}"
    if own.behind(margin):
        return "slower", f"surely slower: {told}"
    return "open", f"not told apart when {heat.ended or 'the race was interrupted'}: {told}"


def last_heat(name: str, heats: Sequence[HeatRecord]) -> HeatRecord | None:
    """The last race that a candidate took part in."""
    return next((heat for heat in reversed(heats) if name in heat.entrants), None)


def versus(measured: Measured, others: Sequence[str]) -> list[Versus]:
    """The winner against each of the others, by the best that there is: the final, a common race, or the screening.

    Args:
        measured: everything.
        others: names; the winner and those that did not pass are left out.
    """
    found = []
    for other in others:
        screening = measured.screenings.get(other)
        if other != measured.winner and screening is not None and screening.dropped is None:
            found.append(_versus(measured, other))
    return found


def _versus(measured: Measured, other: str) -> Versus:
    winner = measured.winner
    races = [("final", measured.final), *(("race", heat) for heat in reversed(measured.heats))]
    known = []
    for source, race in races:
        if race is not None and race.times.get(winner) and race.times.get(other):
            pairs = min(len(race.times[winner]), len(race.times[other]))
            known.append((pairs >= PAIRS_NEEDED, pairs, source, race))
    if not known:
        ours, theirs = measured.screenings[winner].unit_ms, measured.screenings[other].unit_ms
        assert ours and theirs  # noqa: S101 - both passed
        reason = "one after another, when they were tried: the budget had no time for pairs"
        return Versus(other=other, speedup=theirs / ours, ci95=None, pairs=0, source="screening", reason=reason)
    # The final is of fresh pairs: a race's winner was chosen by the race's own, which flatter it.
    _, pairs, source, race = next((one for one in known if one[0]), max(known, key=lambda one: one[1]))
    speedup, interval, _ = against(race.times[other][:pairs], race.times[winner][:pairs])
    why = None if interval else f"{pairs} pairs; an interval needs {FEWEST_PAIRS}"
    return Versus(
        other=other, speedup=speedup, ci95=interval, pairs=pairs, source=source, reason=why,  # type: ignore[arg-type]
    )  # fmt: skip
