"""`sambench label`: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli_options import Channel, LabelNames, Window

if TYPE_CHECKING:
    from rich.table import Table

    from benchmark.labelling.job import LabelReport

CASES_SHOWN = 20


def label(
    data: Annotated[Path, typer.Option(help="The MSD task folder; its reference labels give the prompts.")],
    out: Annotated[Path, typer.Option(help="Folder of the labels, an MSD task; an interrupted labelling goes on.")],
    model: Annotated[str, typer.Option(help="vit_b, vit_l, vit_h, medsam, mobilesam or litemedsam.")] = "litemedsam",
    prompt: Annotated[
        str, typer.Option(help="The prompt strategy: box, point, iterative5, … (docs/prompts.md).")
    ] = "box",
    backend: Annotated[
        str, typer.Option(help="pytorch, pytorch-compile, onnxruntime, openvino, tensorrt.")
    ] = "onnxruntime",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N, or cuda:all: every GPU takes cases.")] = "cpu",
    precision: Annotated[str, typer.Option(help="fp32, fp16, int8 or int8-static.")] = "fp32",
    checkpoint: Annotated[
        Path | None, typer.Option(help="Weights. Default: the package's or the fetched ones.")
    ] = None,
    per: Annotated[str, typer.Option(help="object, or component: a prompt for each connected part.")] = "object",
    masks: Annotated[str, typer.Option(help="one, or three: the best of three by predicted IoU.")] = "one",
    min_pixels: Annotated[int, typer.Option(help="An object with fewer pixels in a slice gets no prompt.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the strategies that draw at random.")] = 0,
    labels: LabelNames = None,
    channel: Channel = None,
    window: Window = None,
    prompts_per_call: Annotated[int | None, typer.Option(help="Default: the backend's fastest.")] = None,
    on_out_of_memory: Annotated[
        str, typer.Option(help="fail, or halve: fewer prompts in a call where device memory runs out, which is told.")
    ] = "fail",
    threads: Annotated[int | None, typer.Option(help="Per operator. Default: the cores of this process.")] = None,
) -> None:
    """Write SAM's pseudo labels of a task as an MSD task, ready for nnU-Net or MONAI."""
    from benchmark.labelling.job import label_task
    from benchmark.labelling.settings import parse_settings
    from benchmark.measure.environment import available_cores
    from benchmark.progress import progress_bars

    threads = available_cores() if threads is None else threads
    settings = parse_settings(
        model=model, checkpoint=checkpoint, prompt=prompt, per=per, masks=masks, min_pixels=min_pixels, seed=seed,
        backend=backend, device=device, precision=precision, prompts_per_call=prompts_per_call,
        on_out_of_memory=on_out_of_memory, threads=threads, channel=channel, window=window, labels=labels or None,
    )  # fmt: skip
    with progress_bars() as progress:
        report = label_task(data, settings, out, progress)
    _print(report, out)


def _print(report: LabelReport, out: Path) -> None:
    from rich.console import Console

    from benchmark.labelling.output import notes_of

    console = Console(markup=False)  # a label may be called [core]
    console.print(case_table(report))
    console.print(label_table(report))
    total = len(report.records)
    earlier = total - report.labelled
    rate = "" if report.slices_per_second is None else f", {report.slices_per_second:.1f} slices/s"
    kept = f" ({earlier} by an earlier call)" if earlier else ""
    typer.echo(f"{total} case{'s' * (total != 1)} labelled{kept}{rate}")
    for note in notes_of(report.records):
        typer.echo(note)
    unprompted = [record.case for record in report.records if not record.slices]
    if unprompted:
        named = ", ".join(unprompted[:CASES_SHOWN]) + (", …" if len(unprompted) > CASES_SHOWN else "")
        typer.echo(f"without an object to prompt for, so with an empty label: {named}")
    typer.echo(f"the labels as an MSD task: {out}")
    typer.echo(f"Dice of every case and label: {out / 'dice.csv'}")


def case_table(report: LabelReport) -> Table:
    """A row a case, up to `CASES_SHOWN`: Dice over its labels, the label that came out worst, and the effort."""
    from rich import box
    from rich.table import Table

    from benchmark.metrics import mean

    table = Table("case", title=f"Pseudo labels of {report.task.name} against the reference", box=box.SIMPLE)
    for name in ("Dice", "slices", "clicks", "boxes"):
        table.add_column(name, justify="right")
    table.add_column("lowest")
    for record in report.records[:CASES_SHOWN]:
        known = {name: dice for name, dice in record.dice.items() if dice is not None}
        worst = min(known, key=lambda name: known[name], default=None)
        effort = record.effort
        table.add_row(
            record.case, _number(mean(known.values())), str(record.slices), f"{effort.clicks:g}", f"{effort.boxes:.4g}",
            "–" if worst is None else f"{worst} {known[worst]:.3f}",
        )  # fmt: skip
    left = len(report.records) - CASES_SHOWN
    if left > 0:
        table.add_row(f"… {left} more")
    return table


def label_table(report: LabelReport) -> Table:
    """A row a label: the mean of its Dice over the cases that have it, and the case where it came out worst."""
    from rich import box
    from rich.table import Table

    from benchmark.metrics import mean

    table = Table("label", box=box.SIMPLE)
    for name in ("Dice", "cases"):
        table.add_column(name, justify="right")
    table.add_column("lowest")
    for name in report.task.labels.values():
        known = {record.case: dice for record in report.records if (dice := record.dice.get(name)) is not None}
        worst = min(known, key=lambda case: known[case], default=None)
        table.add_row(
            name,
            _number(mean(known.values())),
            str(len(known)),
            "–" if worst is None else f"{worst} {known[worst]:.3f}",
        )
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
