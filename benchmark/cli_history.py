"""`sambench history`: runs that were accepted, and the trend through them."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from benchmark.history.accept import Decision

REFUSED = 1


class TrendFormat(str, Enum):
    """A trend's file format."""

    html = "html"
    md = "md"


def history(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the history.", show_default=False)],
    add: Annotated[Path | None, typer.Option("--add", metavar="RUN", help="A run to accept: its folder.")] = None,
    accept: Annotated[
        str | None,
        typer.Option(
            "--accept", metavar="REASON", help="With --add: accept it whatever speaks against it; kept with it."
        ),
    ] = None,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Print the newest accepted results.json and nothing else.")
    ] = False,
    format_: Annotated[
        list[TrendFormat] | None, typer.Option("--format", help="What to write; may be given twice. Default: html.")
    ] = None,
    last: Annotated[int, typer.Option(min=1, help="Print so many of the newest runs; files hold all.")] = 10,
    calibration: Annotated[
        Path | None, typer.Option(help="A file of `sambench calibrate`. Default: this machine's own, if there is one.")
    ] = None,
) -> None:
    """Keep accepted runs and show their trend; exit with 1 if a run is refused."""
    from benchmark.errors import InputError
    from benchmark.history.accept import add_run
    from benchmark.history.store import newest

    if baseline and (add or accept or format_):
        raise InputError("--baseline prints a path and nothing else: leave out --add, --accept and --format")
    if accept is not None and add is None:
        raise InputError("--accept needs the run that it is about: give --add RUN")
    if baseline:
        typer.echo(newest(folder).path)
        return
    decision = add_run(folder, add, accept, calibration) if add is not None else None
    if decision is not None:
        _tell(decision, folder, add or folder)
        if decision.run is None:
            raise typer.Exit(REFUSED)
    _publish(folder, format_ or [TrendFormat.html], last)


def _tell(decision: Decision, folder: Path, place: Path) -> None:
    """What became of the run."""
    from benchmark.console import complain

    if decision.run is None:
        complain(
            f'{place}: not accepted; mend it, or accept it with --accept "reason". What speaks against it:', "refused"
        )
    elif decision.known:
        typer.echo(f"{place}: is in {folder} already, as {decision.run.place.name}")
    else:
        how = " although this speaks against it:" if decision.objections else ""
        typer.echo(f"{place}: accepted as {decision.run.place.name}{how}", err=decision.run is None)
    for objection in decision.objections:
        typer.echo(f"  {objection}", err=decision.run is None)
    for note in decision.notes:
        typer.echo(f"  note: {note}", err=decision.run is None)


def _publish(folder: Path, formats: list[TrendFormat], last: int) -> None:
    """Prints the trend and writes it."""
    from rich.console import Console

    from benchmark.errors import InputError
    from benchmark.history.store import load_history
    from benchmark.history.trend import trend
    from reports.trend import print_trend, summarize_trend
    from reports.trend_pages import write_trend_html, write_trend_markdown

    runs = load_history(folder)
    if not runs:
        raise InputError(
            f"{folder}: no run was accepted there yet; accept one with `sambench history {folder} --add RUN`"
        )
    found = trend(runs)
    writers = {TrendFormat.html: write_trend_html, TrendFormat.md: write_trend_markdown}
    written = {format_: writers[format_](found, folder) for format_ in formats}
    print_trend(summarize_trend(found, last), Console())
    for format_, path in written.items():
        typer.echo(f"{format_.value:>4} trend: {path}")
