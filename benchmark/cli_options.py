"""Options that several commands share: what to use of a task instead of its defaults."""

from __future__ import annotations

from typing import Annotated

import typer

LabelNames = Annotated[
    list[str] | None, typer.Option("--label", metavar="NAME", help="Only this label; may be given several times.")
]
Channel = Annotated[int | None, typer.Option(help="Of a multi-channel image. Default: the task's.")]
Window = Annotated[
    tuple[float, float] | None, typer.Option(metavar="LEVEL WIDTH", help="CT window, HU. Default: the task's.")
]
