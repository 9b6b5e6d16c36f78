"""Progress bars of work that resumes, and the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import typer

from benchmark.console import INTERRUPTED, complain

Advance = Callable[[float, str], None]

PRIOR_S = 30.0
"""So many seconds of the expected ones count as seen: before that much was done, the pace is hardly known."""


@dataclass
class TimeLeft:
    """What is left of work whose steps are known beforehand.

    Attributes:
        steps: how each step's title begins, in order, and about how many seconds it takes on some machine; how much
            faster this one is shows on the way.
        clock: seconds, steady.
    """

    steps: Sequence[tuple[str, float]]
    clock: Callable[[], float] = time.monotonic
    _next: int = 0
    _began: float = field(init=False)
    _step_began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self._step_began = self.clock()

    def start(self, title: str) -> None:
        """A step begins, so those before it are over; a title that is not among the steps is a part of the last one."""
        for place in range(self._next, len(self.steps)):
            if title.startswith(self.steps[place][0]):
                self._next, self._step_began = place + 1, self.clock()
                return

    def seconds(self) -> float:
        """Left of all steps, at the pace so far; what a step takes longer than expected is not foreseen."""
        now = self.clock()
        over = sum(expected for _, expected in self.steps[: max(0, self._next - 1)])
        pace = (self._step_began - self._began + PRIOR_S) / (over + PRIOR_S)
        current = self.steps[self._next - 1][1] * pace if self._next else 0.0
        coming = sum(expected for _, expected in self.steps[self._next :])
        return max(0.0, current - (now - self._step_began)) + coming * pace

    def words(self) -> str:
        """`about 2 min 30 s left`, in steps of ten seconds."""
        minutes, seconds = divmod(10 * max(1, round(self.seconds() / 10)), 60)
        told = [f"{minutes} min"] if minutes else []
        told += [f"{seconds} s"] if seconds else []
        return f"about {' '.join(told)} left"


class Bars:
    """Progress bars on the terminal; where there is none, a line at each step's start, for the log.

    Args:
        steps: of the whole work, where they are known beforehand; see `TimeLeft`.
    """

    def __init__(self, steps: Sequence[tuple[str, float]] = ()) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        self._console = Console(stderr=True)
        self._left = TimeLeft(steps) if steps else None
        # Two refreshes a second: drawing takes a core's time from what is measured.
        self.bars = Progress(
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), _left_column(),
            TextColumn("{task.fields[note]}"), console=self._console, refresh_per_second=2,
            disable=not self._console.is_terminal,
        )  # fmt: skip

    def start(self, title: str, total: float) -> Advance:
        """See `benchmark.run.Progress`."""
        if self._left is not None:
            self._left.start(title)
        if not self._console.is_terminal:
            left = f" ({self._left.words()})" if self._left is not None else ""
            typer.echo(f"{title}{left}", err=True)
        # The whole's time stands in the row of the step that is under way, and moves with it.
        bar = self.bars.add_task(title, total=total, note="", whole=self._left)

        def advance(amount: float, note: str) -> None:
            self.bars.update(bar, advance=amount, note=note)

        return advance

    def say(self, text: str) -> None:
        """See `benchmark.run.Progress`."""
        self._console.print(text, style="yellow", highlight=False)


def _left_column() -> Any:
    """The time that is left: of the whole work where its steps are known, else of the row."""
    from rich.progress import Task, TimeRemainingColumn
    from rich.text import Text

    class Left(TimeRemainingColumn):
        def render(self, task: Task) -> Text:
            whole: TimeLeft | None = task.fields.get("whole")
            if whole is None:
                return super().render(task)
            return Text("" if task.finished else whole.words(), style="progress.remaining")

    return Left(elapsed_when_finished=False)


@contextmanager
def progress_bars(steps: Sequence[tuple[str, float]] = ()) -> Iterator[Bars]:
    """Bars for long work that can be interrupted and resumed; Ctrl-C ends it with a sentence.

    Args:
        steps: of the whole work, where they are known beforehand; see `TimeLeft`.
    """
    progress = Bars(steps)
    try:
        with progress.bars:
            yield progress
    # Here and not in `main`, because click turns it into its own "Aborted!" on the way there.
    except KeyboardInterrupt:
        complain("interrupted; what is finished is kept, run the same command again to go on")
        raise SystemExit(INTERRUPTED) from None
