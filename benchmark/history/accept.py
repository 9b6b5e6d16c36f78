"""Whether a run may join the history: what speaks against it, and who decided otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from benchmark.compare.comparable import differences
from benchmark.compare.rules import parse_rules
from benchmark.compare.run import calibration_of, compare_runs
from benchmark.compare.schema import CellChange
from benchmark.errors import InputError
from benchmark.history.store import Acceptance, AcceptedRun, file_sha256, keep, known_as, load_history, results_file
from benchmark.results import Cell, Comparison, LaneKey, Results, load_results

DIFFERENCES_TOLD = 3

BAD = ("failed", "invalid")
"""A skipped cell was never asked to run."""


@dataclass(frozen=True)
class Decision:
    """What became of a run that was to join.

    Attributes:
        run: as it lies in the history; None where it was refused.
        known: whether it had been there before.
        objections: what speaks against it, in sentences.
        notes: what the reader should know besides.
    """

    run: AcceptedRun | None
    known: bool
    objections: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def add_run(folder: Path, place: Path, reason: str | None = None, calibration: Path | None = None) -> Decision:
    """Accepts a run into the history, or refuses it.

    A run with a cell that failed, is invalid or broke a gate is refused, and so is one that regressed against the run
    before it, by the rules that `sambench compare` has where none are given. A reason overrides that: it is kept beside
    the run, which then counts as any other, because a person said so.

    Args:
        folder: of the history.
        place: the run's folder or results.json.
        reason: why it is accepted whatever speaks against it.
        calibration: of this machine; None looks for it as `sambench compare` does.

    Raises:
        InputError: the run or the history is damaged, or the reason is empty.
    """
    if reason is not None and not reason.strip():
        raise InputError('--accept: give the reason in words, as --accept "new driver, 3 % slower everywhere"')
    path = results_file(place)
    results = load_results(place)
    sha256 = file_sha256(path)
    runs = load_history(folder)
    known = known_as(runs, sha256, results)
    if known is not None:
        return Decision(known, known=True)
    found, notes = _against_the_run_before(runs, results, path, calibration)
    objections = (*unsound(results), *found)
    if objections and reason is None:
        return Decision(None, known=False, objections=objections, notes=notes)
    acceptance = Acceptance(
        accepted=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        sha256=sha256,
        objections=list(objections),
        reason=reason.strip() if reason and objections else None,
        notes=list(notes),
    )
    return Decision(keep(folder, path, results, acceptance), known=False, objections=objections, notes=notes)


def unsound(results: Results) -> tuple[str, ...]:
    """What in a run alone speaks against it, a sentence for each cell: failed, invalid, or below the gate."""
    found = {_cell_words(c): f"{c.status}: {c.reason or 'no reason'}" for c in results.cells if c.status in BAD}
    for comparison in results.comparisons:
        words = _compared_words(comparison)
        if comparison.gate == "fail" and words not in found:
            found[words] = f"below the gate: {comparison.reason or 'no reason'}"
    if not results.cells:
        return ("the run has no cells",)
    return tuple(f"{words}: {what}" for words, what in found.items())


def _against_the_run_before(
    runs: Sequence[AcceptedRun], results: Results, path: Path, calibration: Path | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What regressed against the newest earlier run, and what else there is to say of it."""
    earlier = [run for run in runs if run.results.created <= results.created]
    if not earlier:
        return (), ("it is the first of its history, so there was nothing to compare it with",)
    last = earlier[-1]
    blocking = [one.words for one in differences(last.results, results) if one.blocking]
    if blocking:
        more = f" and {len(blocking) - DIFFERENCES_TOLD} more" if len(blocking) > DIFFERENCES_TOLD else ""
        told = f"{'; '.join(blocking[:DIFFERENCES_TOLD])}{more}"
        return (), (f"not comparable with {last.place.name}, so a new line begins: {told}",)
    compared = compare_runs(
        last.results,
        results,
        (str(last.path), str(path)),
        parse_rules([]),
        calibration=calibration_of(results, calibration),
    )
    # A cell that newly fails is told by its own status already.
    offences = [one for one in compared.offences if one.rule != "failed"]
    return tuple(f"{_cell_words(o.cell)}: {o.words} ({o.rule} against {last.place.name})" for o in offences), ()


def _cell_words(cell: Cell | CellChange) -> str:
    """`segment, Task09_Spleen, unet-2d, box, onnxruntime int8 on cpu`."""
    return _words((cell.stage, cell.task, cell.model, cell.prompt), cell.backend, cell.precision, cell.device)


def _compared_words(comparison: Comparison) -> str:
    c = comparison
    return _words((c.stage, c.task, c.model, c.prompt), c.candidate, c.precision, c.device)


def _words(names: Sequence[str | None], backend: str, precision: str, device: str) -> str:
    return f"{', '.join(name for name in names if name)}, {LaneKey(backend, precision)} on {device}"
