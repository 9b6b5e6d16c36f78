"""Where a run to compare with is found."""

from __future__ import annotations

from pathlib import Path

from benchmark.results import Results, load_results


def find_results(place: Path) -> tuple[Results, str]:
    """The results of a run's folder or of a results.json, and where they were read.

    Raises:
        InputError: there are none, or they are damaged.
    """
    return load_results(place), str(place)
