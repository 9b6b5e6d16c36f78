"""Options that several commands share: what to use of a task instead of its defaults."""

from __future__ import annotations

import re
from typing import Annotated

import typer

LabelNames = Annotated[
    list[str] | None, typer.Option("--label", metavar="NAME", help="Only this label; may be given several times.")
]
Channel = Annotated[int | None, typer.Option(help="Of a multi-channel image. Default: the task's.")]
Window = Annotated[
    tuple[float, float] | None, typer.Option(metavar="LEVEL WIDTH", help="CT window, HU. Default: the task's.")
]

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds_option(text: str, option: str) -> float:
    """Reads a time: `120`, `120s`, `2m`, `1.5h`.

    Args:
        text: as the user gave it.
        option: where.

    Raises:
        InputError: it is none.
    """
    from benchmark.errors import InputError

    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if found is None:
        raise InputError(f"{option} {text}: is no time; give one as 90, 120s, 2m or 1h")
    return float(found[1]) * _UNITS[found[2]]
