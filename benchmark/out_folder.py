"""What the commands that go on in their `--out` folder have in common: whose it is, and whether it can be written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmark.errors import InputError


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Turns what the system says of a folder that cannot be written into one sentence.

    Raises:
        InputError: it cannot.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"--out {folder}: cannot be written ({reason}); make room, or name another folder") from error


def require_same(folder: Path, holds: str, earlier: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuses to go on in a folder whose content was made with other settings.

    Args:
        folder: where.
        holds: its content in words, with what is wrong: `labels made otherwise`.
        earlier: the settings that it was made with.
        now: those that are asked for.

    Raises:
        InputError: they differ.
    """
    differing = sorted(key for key in {*earlier, *now} if earlier.get(key) != now.get(key))
    if differing:
        told = "; ".join(f"{key} was {earlier.get(key)} and is {now.get(key)}" for key in differing[:3])
        raise InputError(f"--out {folder}: holds {holds} ({told}); name a new folder")
