"""One run against another: whether they are comparable, every cell's changes, and what offends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmark.calibration.store import Calibration, find_calibration, load_calibration
from benchmark.compare.cells import compare_cells
from benchmark.compare.changes import PAIRED_FLOOR, RAW_FLOOR
from benchmark.compare.comparable import differences
from benchmark.compare.rules import METRICS, Rule, judged_by, limits_of
from benchmark.compare.schema import BLOCKING, CellChange, Change, Difference, Floors, Offence, RunComparison, RunSide
from benchmark.errors import InputError
from benchmark.results import Results

MOVED = 0.05
"""Times that nothing was measured beside and that changed by more are worth a sentence."""


def compare_runs(
    base: Results,
    new: Results,
    places: tuple[str, str],
    rules: Sequence[Rule],
    allowed: Iterable[str] = (),
    calibration: Calibration | None = None,
) -> RunComparison:
    """Compares two runs.

    Args:
        base: what the new run is held against.
        new: what is judged.
        places: where both were read, for the reader.
        rules: what offends.
        allowed: kinds of difference that shall not forbid the comparison, and `missing` or `failed` cells that shall
            not offend.
        calibration: of this machine, for the floor of the intervals.

    Raises:
        InputError: the runs are not comparable; the message says in what they differ.
    """
    allowed = frozenset(allowed)
    found = differences(base, new)
    forbidding = [one for one in found if one.blocking and one.kind not in allowed]
    if forbidding:
        raise InputError(_refusal(places, forbidding))
    for results, place in ((base, places[0]), (new, places[1])):
        if not results.cells:
            raise InputError(
                f"{place}: holds no cells, so there is nothing to compare; name a run that measured something"
            )
    floors = floors_of(calibration)
    cells = compare_cells(base, new, limits_of(rules), floors)
    judged = judged_by(rules)
    return RunComparison(
        base=_side(base, places[0]),
        new=_side(new, places[1]),
        rules=[rule.text for rule in rules if rule.name not in allowed],
        metrics=judged,
        floors=floors,
        differences=list(found),
        cells=cells,
        offences=[one for rule in rules if rule.name not in allowed for one in _offences(rule, cells, judged)],
        drift=[*_busy(base, new), *_drift(base, new, cells)],
    )


def floors_of(calibration: Calibration | None, raw: float = RAW_FLOOR) -> Floors:
    """What noise adds to an interval: by the calibration where it says so, else by what this project saw.

    Args:
        calibration: of this machine.
        raw: of times that nothing was measured beside, at least.
    """
    measured = calibration.noise_floor if calibration else None
    # A calibration compares one program with itself. Two backends in two runs differ by more than that.
    paired = max(measured or 0.0, PAIRED_FLOOR)
    raw = max(measured or 0.0, raw)
    machine = "this machine was not calibrated" if measured is None else f"this machine's noise floor is {measured:.2%}"
    words = f"intervals hold ±{100 * paired:.3g} % against the reference and ±{100 * raw:.3g} % without"
    return Floors(paired=paired, raw=raw, words=f"{machine}; {words}")


def calibration_of(new: Results, given: Path | None) -> Calibration | None:
    """The calibration that was given, else this cache's of the machine that the new run names."""
    if given is not None:
        return load_calibration(given)
    from exporters.fetch import cache_dir

    return find_calibration(cache_dir(), new.environment)


def warnings(rules: Sequence[Rule], floors: Floors) -> list[str]:
    """Limits finer than what this machine can show: they are not refused, but nothing within the floor breaks them."""
    return [
        f"{rule.text}: the limit is finer than the noise floor of ±{floors.paired:.2%}; only changes beyond are told"
        for rule in rules
        if rule.limit is not None and METRICS[rule.name].relative and rule.limit < floors.paired
    ]


def _refusal(places: tuple[str, str], forbidding: Sequence[Difference]) -> str:
    kinds = [kind for kind in BLOCKING if any(one.kind == kind for one in forbidding)]
    told = "; ".join(one.words for one in forbidding[:5])
    more = f"; and {len(forbidding) - 5} more" if len(forbidding) > 5 else ""
    way_out = " ".join(f"--allow {kind}" for kind in kinds)
    return (
        f"{places[1]} is not comparable with {places[0]}: {told}{more}. Run both alike, or compare all the same with"
        f" {way_out}"
    )


def _side(results: Results, place: str) -> RunSide:
    return RunSide(
        name=results.name,
        created=results.created,
        place=place,
        sambench_version=results.sambench_version,
        cells=len(results.cells),
    )


def _offences(rule: Rule, cells: Iterable[CellChange], judged: Sequence[str]) -> Iterable[Offence]:
    for cell in cells:
        words = _breaks(rule, cell, judged)
        if words:
            yield Offence(rule=rule.text, cell=cell, words=words)


def _breaks(rule: Rule, cell: CellChange, judged: Sequence[str]) -> str | None:
    if rule.name == "missing":
        return cell.reason if cell.fate == "missing" else None
    if rule.name == "failed":
        return cell.reason if cell.fate == "newly failing" else None
    return broken(rule, cell.changes, judged)


def broken(rule: Rule, changes: Sequence[Change], judged: Sequence[str]) -> str | None:
    """What of the changes breaks a rule on a metric, or `inconclusive`; None if nothing does.

    Args:
        rule: on a metric, or `inconclusive`.
        changes: of one cell or test.
        judged: the metrics that count.
    """
    if rule.name == "inconclusive":
        unsure = next((one for one in changes if one.metric in judged and one.verdict == "inconclusive"), None)
        return f"{METRICS[unsure.metric].title}: {unsure.reason}" if unsure else None
    found = [one for one in changes if one.metric == rule.name and one.verdict == "regression"]
    return "; ".join(change_words(one) for one in found) or None


def change_words(change: Change) -> str:
    """A change with its interval, as in `latency +10.3 % [+8.1, +12.4]`."""
    metric = METRICS[change.metric]
    if change.change is None:
        return f"{metric.title}: {change.reason}"
    if not metric.relative:
        interval = f" [{change.ci95[0]:+.4f}, {change.ci95[1]:+.4f}]" if change.ci95 else ""
        return _signed(f"{metric.title} {change.change:+.4f}{interval}") + f" ({change.how})"
    interval = f" [{100 * change.ci95[0]:+.1f}, {100 * change.ci95[1]:+.1f}]" if change.ci95 else ""
    return _signed(f"{metric.title} {100 * change.change:+.1f} %{interval}") + f" ({change.how})"


def _signed(text: str) -> str:
    return text.replace("-", "−")


def _busy(base: Results, new: Results) -> list[str]:
    """Other work hits backends differently, so that even their ratio moves."""
    sides = (("base", base.environment.busy), ("new run", new.environment.busy))
    return [
        f"The machine was busy before the {side}, which moves ratios, too ({busy}): compare runs of an idle machine"
        for side, busy in sides
        if busy
    ]


def _peak_change(base: Results, new: Results, device: str) -> float | None:
    """How much faster the machine's own matrix product became, as a share; None where a run did not measure it."""
    rates = [one.peak[device].fp32_gflops if device in one.peak else None for one in (base, new)]
    return None if rates[0] is None or rates[1] is None or rates[0] <= 0 else rates[1] / rates[0] - 1


def _is_raw(change: Change) -> bool:
    return change.metric in ("latency", "device_latency", "throughput") and not change.paired


def _drift(base: Results, new: Results, cells: Sequence[CellChange]) -> list[str]:
    """What cells moved that nothing was measured beside, and whether the machine moved with them."""
    moved = [
        (cell, one)
        for cell in cells
        for one in cell.changes
        if one.metric == "latency" and _is_raw(one) and one.change is not None and abs(one.change) > MOVED
    ]
    told = []
    for device in dict.fromkeys(cell.device for cell, _ in moved):
        some = [one.change for cell, one in moved if cell.device == device and one.change is not None]
        peak = _peak_change(base, new, device)
        hint = "" if peak is None else f"; the machine's own matrix-multiply rate changed by {peak:+.1%}"
        count = f"{len(some)} cell{'s' if len(some) > 1 else ''}"
        size = f"{min(some):+.1%}" if len(some) == 1 else f"{min(some):+.1%} to {max(some):+.1%}"
        told.append(
            f"Times without a paired interval changed by {size} in {count} on {device}{hint}: the machine, or code that"
            " all backends share"
        )
    return told
