"""Files that are written whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary name beside `path`, keeping its suffixes; renames it to `path` if the block succeeds.

    A reader sees the old file or the new one, and an interrupted run leaves neither half.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomically(path: Path, text: str) -> None:
    """Writes UTF-8 text whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256_text(*parts: str) -> str:
    """SHA-256 of the parts, each set apart from the next."""
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()
