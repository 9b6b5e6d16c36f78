"""Where a run to compare with is found."""

from __future__ import annotations

from pathlib import Path

from benchmark.history.store import is_history, newest
from benchmark.results import Results, load_results


def find_results(place: Path) -> tuple[Results, str]:
    """The results of a run, a results.json or a history (its newest accepted run), and where they were read.

    Raises:
        InputError: there are none, or they are damaged.
    """
    if is_history(place):
        run = newest(place)
        return run.results, str(run.path)
    return load_results(place), str(place)
