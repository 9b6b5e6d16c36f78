"""What long work shows: a spinner or a bar on a terminal, plain lines in a log; and how a mistake is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

MISTAKE = 2
INTERRUPTED = 130


def complain(message: str, kind: str = "error") -> None:
    """An error or a warning, in one sentence, on stderr."""
    typer.secho(f"{kind}: ", fg="red" if kind == "error" else "yellow", bold=True, nl=False, err=True)
    typer.echo(message, err=True)


@contextmanager
def steps(title: str) -> Iterator[Callable[[str], None]]:
    """Shows which step of some work without a known length is under way.

    Yields:
        To be called at each step's start.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda step: typer.echo(f"{title}: {step}", err=True)
        return
    with console.status(title) as status:
        yield lambda step: status.update(f"{title}: {step}")


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C ends with a sentence, where nothing half-written is kept."""
    try:
        yield
    # Here and not in `main`, because click turns it into its own "Aborted!" on the way there.
    except KeyboardInterrupt:
        complain("interrupted; nothing half-written is kept, run the same command again")
        raise SystemExit(INTERRUPTED) from None


@contextmanager
def download_bar(file: str, doing: str = "downloading") -> Iterator[Callable[[int, int | None], None]]:
    """Shows the bytes, the speed and the time left; without a terminal, a line when the first bytes are there.

    Args:
        file: whose bytes.
        doing: what is done to it, said where there is no bar.

    Yields:
        To be called with the bytes done and the bytes in all, None where that is unknown.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _one_line(file, doing)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bars:
        bar = bars.add_task(f"{doing} {file}", total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


def _one_line(file: str, doing: str) -> Callable[[int, int | None], None]:
    said = False

    def say_once(done: int, total: int | None) -> None:
        nonlocal said
        if not said:
            size = f" ({total / 1e6:.1f} MB)" if total else ""
            typer.echo(f"{doing} {file}{size}", err=True)
        said = True

    return say_once
