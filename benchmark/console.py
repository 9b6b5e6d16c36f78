"""What a download shows: a bar on a terminal, one line in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def download_bar(file: str) -> Iterator[Callable[[int, int | None], None]]:
    """Shows the bytes, the speed and the time left; without a terminal, a line when the first bytes are there.

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
        yield _one_line(file)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bars:
        bar = bars.add_task(file, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


def _one_line(file: str) -> Callable[[int, int | None], None]:
    import typer

    said = False

    def say_once(done: int, total: int | None) -> None:
        nonlocal said
        if not said:
            size = f" ({total / 1e6:.1f} MB)" if total else ""
            typer.echo(f"downloading {file}{size}", err=True)
        said = True

    return say_once
