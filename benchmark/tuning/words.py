"""Small words of what a tuning tells."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """`1 candidate`, `2 candidates`; of nouns that take an s."""
    return f"{count} {noun}{'s' * (count != 1)}"
