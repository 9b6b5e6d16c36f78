"""Where a run to compare with is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.errors import InputError
from benchmark.history.store import is_history, newest
from benchmark.results import RESULTS_FILE, Results, load_results


def find_results(place: Path) -> tuple[Results, str]:
    """The results of a run, a results.json or a history (its newest accepted run), and where they were read.

    Raises:
        InputError: there are none, or they are damaged.
    """
    if is_history(place):
        run = newest(place)
        return run.results, str(run.path)
    return load_results(place), str(place)


def require_outputs(outputs: Mapping[str, Path | None], inputs: Sequence[Path]) -> None:
    """Holds that no file which is to be written is a folder, a run's results, or another of them.

    Raises:
        InputError: one is.
    """
    taken = {place.resolve(): f"is what is compared ({place})" for place in inputs}
    for option, path in outputs.items():
        if path is None:
            continue
        if path.is_dir():
            raise InputError(f"{option} {path}: is a folder; name a file")
        if path.name == RESULTS_FILE:
            raise InputError(f"{option} {path}: {RESULTS_FILE} is the name of a run's results; name another file")
        if reason := taken.get(path.resolve()):
            raise InputError(f"{option} {path}: {reason}; name another file")
        taken[path.resolve()] = f"is written by {option} already"
