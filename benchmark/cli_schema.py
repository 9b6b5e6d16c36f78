"""`sambench schema …`: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

schema_app = typer.Typer(help="Write what a file may hold as a JSON schema, for editors.", no_args_is_help=True)


@schema_app.command("spec")
def schema_spec(
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: print it.", show_default=False)] = None,
) -> None:
    """Write the JSON schema of a run specification.

    An editor with a YAML language server completes and checks a specification whose first line is
    `# yaml-language-server: $schema=spec.schema.json`.
    """
    from benchmark.files import write_text_atomically
    from benchmark.spec import spec_schema

    text = spec_schema()
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_text_atomically(out, text)
        typer.echo(f"written to {out}")
