"""`sambench fetch …`: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.console import download_bar, interruptible

if TYPE_CHECKING:
    from benchmark.data.msd import Task

fetch_app = typer.Typer(help="Download what sambench does not carry, with its checksum.", no_args_is_help=True)


@fetch_app.command("sam")
def fetch_sam(
    model: Annotated[str, typer.Argument(help="The SAM variant, such as vit_b.", show_default=False)],
) -> None:
    """Download a SAM's published checkpoint into the cache ($SAMBENCH_CACHE) and print its path."""
    from benchmark.errors import InputError
    from exporters.fetch import fetch
    from exporters.sam import SAM_MODELS

    if model not in SAM_MODELS:
        raise InputError(f"fetch sam: {model!r} is not known; choose from {', '.join(SAM_MODELS)}")
    variant = SAM_MODELS[model]
    if variant.packaged is not None:
        where = variant.published.url
        typer.echo(f"{model}: nothing needs to be downloaded, its weights come with a {where} ({variant.licence})")
        return
    with interruptible(), download_bar(variant.published.file) as on_progress:
        path = fetch(variant.published, on_progress)
    typer.echo(f"{model}: {path.stat().st_size / 1e6:.1f} MB, licence of the weights: {variant.licence}", err=True)
    typer.echo(path)  # alone on stdout, for --checkpoint "$(sambench fetch sam MODEL)"


@fetch_app.command("msd")
def fetch_msd(
    task: Annotated[str, typer.Argument(help="An official task, such as Task09_Spleen.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The folder of task folders.")] = Path("data"),
    keep_archive: Annotated[
        bool, typer.Option("--keep-archive", help="Leave the archive in the cache when the task is extracted.")
    ] = False,
    phantom: Annotated[
        bool,
        typer.Option(
            "--phantom", help="Draw a small phantom with the task's names, labels and layout instead of downloading."
        ),
    ] = False,
) -> None:
    """Download an official task of the Decathlon, extract it and print its folder."""
    from benchmark.data.fetch import LICENCE, fetch_task, present_task

    if phantom:
        _draw(task, out)
        return

    opened = present_task(task, out)
    if opened is None:
        with interruptible():
            opened = fetch_task(task, out, download_bar, keep_archive)
        typer.echo(f"{task}: extracted; licence of the data: {LICENCE}", err=True)
    else:
        typer.echo(f"{task}: is there already, nothing is downloaded", err=True)
    typer.echo(_summary(opened), err=True)
    typer.echo(opened.folder)  # alone on stdout, for --data "$(sambench fetch msd TASK)"


def _draw(task: str, out: Path) -> None:
    from benchmark.data.msd import open_task
    from benchmark.data.phantom_tasks import write_official_phantom

    opened = open_task(write_official_phantom(task, out))
    typer.echo(f"{task}: a phantom in its layout, no patient's data", err=True)
    typer.echo(_summary(opened), err=True)
    typer.echo(opened.folder)


def _summary(task: Task) -> str:
    from benchmark.data.intensity import describe

    channel = f" (channel {task.channel} of {task.channels})" if task.channels > 1 else ""
    labels = ", ".join(f"{value} {name}" for value, name in task.labels.items())
    count = len(task.cases)
    return (
        f"{task.name}: {task.modality}{channel}, shown by {describe(task.intensity)}; labels {labels}; "
        f"{count} case{'s' * (count != 1)}"
    )
