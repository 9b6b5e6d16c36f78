"""Progress bars of work that resumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from benchmark.console import INTERRUPTED, complain


class Bars:
    """Progress bars on the terminal; where there is none, a line at each step's start, for the log."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        self._console = Console(stderr=True)
        # Two refreshes a second: drawing takes a core's time from what is measured.
        self.bars = Progress(
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"), console=self._console, refresh_per_second=2,
            disable=not self._console.is_terminal,
        )  # fmt: skip

    def start(self, title: str, total: float) -> Callable[[float, str], None]:
        """See `benchmark.run.Progress`."""
        if not self._console.is_terminal:
            typer.echo(title, err=True)
        bar = self.bars.add_task(title, total=total, note="")

        def advance(amount: float, note: str) -> None:
            self.bars.update(bar, advance=amount, note=note)

        return advance

    def say(self, text: str) -> None:
        """See `benchmark.run.Progress`."""
        self._console.print(text, style="yellow", highlight=False)


@contextmanager
def progress_bars() -> Iterator[Bars]:
    """Bars for long work that can be interrupted and resumed; Ctrl-C ends it with a sentence."""
    progress = Bars()
    try:
        with progress.bars:
            yield progress
    # Here and not in `main`, because click turns it into its own "Aborted!" on the way there.
    except KeyboardInterrupt:
        complain("interrupted; what is finished is kept, run the same command again to go on")
        raise SystemExit(INTERRUPTED) from None
