"""`sambench train`: parse, call, print."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli_options import Channel, LabelNames, Window

if TYPE_CHECKING:
    from rich.table import Table

    from benchmark.training.task import TrainReport

ROWS_SHOWN = 40


def train(
    data: Annotated[Path, typer.Option(help="The MSD task folder.")],
    out: Annotated[Path, typer.Option(help="Folder of the training; an interrupted one goes on.")],
    labels: Annotated[
        Path | None,
        typer.Option(help="Folder of pseudo labels, as `sambench label` writes it. Default: the reference labels."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings, YAML (docs/train.md). Default: all defaults.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting: epochs=60.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the split, the weights and the windows.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:N or auto. Default: a GPU where it is.")] = None,
    names: LabelNames = None,
    channel: Channel = None,
    window: Window = None,
) -> None:
    """Train a UNet on a task's reference labels or on pseudo labels, and test it against the reference labels."""
    # Waiting threads sleep instead of spinning: where others want the cores, an epoch took a quarter of the time so.
    # Nothing is timed here. Read once, when PyTorch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from benchmark.data.msd import TaskOverride
    from benchmark.progress import progress_bars
    from benchmark.spec import load_train_spec
    from benchmark.training.task import train_task

    overrides = [*(set_ or []), *([f"device={device}"] if device is not None else [])]
    spec = load_train_spec(config, overrides)
    override = TaskOverride(channel, window, tuple(sorted(set(names))) if names else None)
    with progress_bars() as progress:
        report = train_task(data, spec, seed, out, progress, labels, override)
    _print(report, out)


def _print(report: TrainReport, out: Path) -> None:
    from rich.console import Console

    console = Console(markup=False)  # a label may be called [core]
    console.print(score_table(report))
    training = report.training
    dice = next((v.dice for v in training.validation if v.epoch == training.best_epoch), None)
    chosen = "" if dice is None else f", validation Dice {dice:.3f}"
    typer.echo(
        f"{training.model} on {training.labels} labels: epoch {training.best_epoch} of {training.epochs}{chosen}, "
        f"{training.seconds:.0f} s on {training.device}"
    )
    for note in report.notes:
        typer.echo(f"note: {note}")
    typer.echo(f"the network: {out / 'unet.pt'}")
    typer.echo(f"how it was trained and tested: {out / 'training.json'}, {out / 'split.json'}, {out / 'test.csv'}")


def score_table(report: TrainReport) -> Table:
    """A row a test case and label, up to `ROWS_SHOWN`, and each label's mean."""
    from rich import box
    from rich.table import Table

    from benchmark.metrics import mean

    table = Table("case", "label", title=f"{report.task.name}: test cases against the reference labels", box=box.SIMPLE)
    for name in ("Dice", f"NSD at {report.task.nsd_tolerance_mm:g} mm", "HD95, mm"):
        table.add_column(name, justify="right")
    for score in report.scores[:ROWS_SHOWN]:
        table.add_row(score.case, score.label, _number(score.dice, 3), _number(score.nsd, 3), _number(score.hd95_mm, 1))
    left = len(report.scores) - ROWS_SHOWN
    if left > 0:
        table.add_row(f"… {left} more in test.csv")
    table.add_section()
    for name in report.task.labels.values():
        own = [score for score in report.scores if score.label == name]
        columns = ([s.dice for s in own], [s.nsd for s in own], [s.hd95_mm for s in own])
        values = [_number(mean(column), digits) for column, digits in zip(columns, (3, 3, 1), strict=True)]
        table.add_row("mean", name, *values)
    return table


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
