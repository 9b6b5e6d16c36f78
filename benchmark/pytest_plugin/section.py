"""The section `sambench` at the end of a pytest session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.compare.schema import Change
from benchmark.pytest_plugin.judge import Judged
from benchmark.pytest_plugin.schema import Measurement

ABSENT = "–"


def show_section(
    terminal: Any,
    measurements: Sequence[Measurement],
    unmeasured: Mapping[str, str],
    judged: Sequence[Judged],
    lines: Sequence[str],
) -> None:
    """Writes it.

    Args:
        terminal: pytest's terminal reporter.
        measurements: of this session.
        unmeasured: test → why it was not timed.
        judged: every test against the baseline; empty without one.
        lines: what else there is to say.
    """
    if not (measurements or unmeasured or judged or lines):
        return
    terminal.section("sambench", sep="=")
    against = {one.test: one for one in judged}
    rows = [_row(one, against.get(one.test)) for one in measurements]
    if rows:
        for row in _aligned([_titles(bool(judged)), *([*row] for row in rows)], bool(judged)):
            terminal.write_line(row)
    for test, reason in unmeasured.items():
        terminal.write_line(f"{test}: not measured: {reason}")
    for one in judged:
        if one.remark and not one.offences:
            terminal.write_line(f"{one.test}: {one.remark}")
    for one in judged:
        for offence in one.offences:
            terminal.write_line(f"REGRESSION {one.test} - {offence}", red=True)
    for line in lines:
        terminal.write_line(line)


def _titles(compared: bool) -> list[str]:
    return [
        "test",
        "p50 ms",
        "p90 ms",
        "samples",
        "steady",
        "Dice",
        *(["latency", "95 % interval", "verdict"] * compared),
    ]


def _row(one: Measurement, judged: Judged | None) -> list[str]:
    latency = one.latency_ms
    dice = one.metrics.get("dice")
    return [
        one.test,
        _number(latency.p50),
        _number(latency.p90),
        str(len(latency.samples)),
        "yes" if one.warmup.steady else "no",
        ABSENT if dice is None else f"{dice:.4f}",
        *_changed(judged.change("latency") if judged else None),
    ]


def _changed(change: Change | None) -> list[str]:
    if change is None or change.change is None:
        return [ABSENT, ABSENT, ABSENT]
    interval = ABSENT if change.ci95 is None else f"[{100 * change.ci95[0]:+.1f}, {100 * change.ci95[1]:+.1f}]"
    return [f"{100 * change.change:+.1f} %", interval, change.verdict]


def _number(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.4g}"


def _aligned(rows: Sequence[Sequence[str]], compared: bool) -> list[str]:
    columns = 9 if compared else 6
    widths = [max(len(row[index]) for row in rows) for index in range(columns)]
    return [
        "  ".join(
            cell.ljust(width) if index in (0, columns - 1) and (compared or index == 0) else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row[:columns], widths, strict=True))
        ).rstrip()
        for row in rows
    ]
