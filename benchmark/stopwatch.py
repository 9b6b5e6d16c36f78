"""How long a run took, the interrupted parts of it included."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark import __version__
from benchmark.files import sha256_text, write_text_atomically

ELAPSED_FILE = ".elapsed"


@contextmanager
def stopwatch(run_dir: Path, content: str) -> Iterator[Callable[[], float]]:
    """Seconds spent on a run of this content in this folder, those of its interrupted parts included."""
    path = run_dir / ELAPSED_FILE
    key = sha256_text(__version__, content)
    try:
        earlier, seconds = path.read_text(encoding="utf-8").split()
        before = float(seconds) if earlier == key else 0.0
    except (OSError, ValueError):
        before = 0.0
    started = time.perf_counter()

    def elapsed() -> float:
        return before + time.perf_counter() - started

    try:
        yield elapsed
    finally:
        write_text_atomically(path, f"{key} {elapsed():.1f}\n")
