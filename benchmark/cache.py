"""Texts that are costly to make and always the same, kept in the cache."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from benchmark.files import write_text_atomically
from exporters.fetch import cache_dir


def cached_text(name: str, make: Callable[[], str]) -> str:
    """The text of that name, made where the cache does not hold it.

    Args:
        name: a file name that changes with everything the text depends on.
        make: makes the text.
    """
    path = cache_dir() / name
    with suppress(OSError, UnicodeDecodeError):
        if text := path.read_text(encoding="utf-8"):
            return text
    text = make()
    with suppress(OSError):  # a cache that cannot be written costs time, nothing else
        write_text_atomically(path, text)
    return text
