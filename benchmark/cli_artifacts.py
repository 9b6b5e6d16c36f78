"""`sambench export …`: parse, call, print."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.console import complain, interruptible, steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from exporters.manifest import FileEntry, Ladder, Manifest
    from exporters.parity import Sample
    from exporters.sam import SamModel

export_app = typer.Typer(help="Export a model to ONNX, checked against PyTorch.", no_args_is_help=True)

FAILED = 1
LOG_WIDTH = 110


class Masks(str, Enum):
    """Which masks the decoder answers with."""

    one = "one"
    three = "three"
    all = "all"


class Precision(str, Enum):
    """Of weights and arithmetic; `exporters.precision.PRECISIONS`."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"
    int8_static = "int8-static"


DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="An MSD task folder: its slices are compared on, and calibrate int8-static."),
]
SlicesOption = Annotated[
    int, typer.Option("--slices", min=0, help="Slices that are compared on; 0 leaves the parity ladder out.")
]


@export_app.command("sam")
def export_sam(
    out: Annotated[Path, typer.Option(help="Folder for encoder.onnx, decoder.onnx and manifest.json.")],
    model: Annotated[str, typer.Option(help="vit_b, vit_l, vit_h, medsam, mobilesam or litemedsam.")] = "litemedsam",
    checkpoint: Annotated[
        Path | None, typer.Option(help="Weights. Default: the package's, or those that `sambench fetch sam` got.")
    ] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="No checkpoint: good for latency, worthless for accuracy.")
    ] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the random weights. Default: 0.")] = None,
    masks: Annotated[
        Masks, typer.Option(help="one (for boxes and clear prompts), three (ambiguous points), all four.")
    ] = Masks.one,
    precision: Annotated[Precision, typer.Option(help="Of weights and arithmetic.")] = Precision.fp32,
    data: DataOption = None,
    slices: SlicesOption = 2,
) -> None:
    """Export a SAM's encoder and decoder."""
    from benchmark.errors import InputError
    from exporters.base import refuse_foreign_folder
    from exporters.sam import find_model, load_sam

    if seed is not None and not random_weights:
        raise InputError("--seed: belongs to --random-weights; give both or neither")
    if precision is Precision.int8_static and slices == 0:
        raise InputError("--slices: int8-static calibrates on slices; give 1 or more")
    variant = find_model(model)
    refuse_foreign_folder(out)
    with interruptible(), steps(f"export {model}") as on_step:
        samples = _samples(variant, data, slices)  # first: a damaged task is told before anything heavy begins
        on_step("load the weights")
        loaded = load_sam(model, checkpoint, (seed or 0) if random_weights else None, masks.value)
        manifest = loaded.export(out, precision.value, samples, on_step)
    _print_manifest(manifest)
    typer.echo(f"written to {out}")


@export_app.command("unet")
def export_unet(
    out: Annotated[Path, typer.Option(help="Folder for unet.onnx and manifest.json.")],
    checkpoint: Annotated[Path, typer.Option(help="A UNet that sambench trained: RUN_DIR/models/*.pt.")],
) -> None:
    """Export a trained UNet."""
    from exporters.unet import load_unet

    with interruptible(), steps("export the UNet and hold it against PyTorch"):
        manifest = load_unet(checkpoint).export(out)
    _print_manifest(manifest)
    typer.echo(f"written to {out}")


@export_app.command("verify")
def export_verify(
    folder: Annotated[Path, typer.Argument(help="The folder of an artifact.", show_default=False)],
    checkpoint: Annotated[Path | None, typer.Option(help="The weights it was made from, if they were a file.")] = None,
    data: DataOption = None,
    slices: SlicesOption = 2,
) -> None:
    """Check an artifact's hashes and hold it against PyTorch again; exit 1 if it is not what its manifest says."""
    from exporters.manifest import ArtifactChangedError, load_manifest
    from exporters.sam import SAM_MODELS
    from exporters.verify import verify_artifact

    with interruptible(), steps(f"verify {folder}") as on_step:
        try:
            model = SAM_MODELS.get(load_manifest(folder).model)
            samples = _samples(model, data, slices) if model else []
            found = verify_artifact(folder, checkpoint, samples, on_step)
        except ArtifactChangedError as error:
            complain(str(error))
            raise typer.Exit(FAILED) from None
    for name, errors in found.errors.items():
        told = ", ".join(f"{output} {error:.1e}" for output, error in errors.items())
        typer.echo(f"{name}: differs from PyTorch by at most {told}")
    if found.ladder:
        _print(_ladder_table(found.ladder))
        then = found.manifest.parity
        if then is not None and then.samples != found.ladder.samples:
            typer.echo(
                f"compared on other slices than at the export ({', '.join(then.samples)}): gate {found.ladder.gate}"
            )
    typer.echo(f"{folder}: unchanged, and computes what its manifest says")


def _samples(model: SamModel, data: Path | None, count: int) -> Sequence[Sample]:
    from benchmark.data.msd import open_task
    from benchmark.samples import phantom_samples, task_samples

    if count == 0:
        return []
    return phantom_samples(model, count) if data is None else task_samples(open_task(data), model, count)


def _print_manifest(manifest: Manifest) -> None:
    from rich import box
    from rich.table import Table

    table = Table(title=f"{manifest.model}, opset {manifest.opset}, {manifest.precision}", box=box.SIMPLE)
    for column in ("file", "type", "MB", "nodes", "GFLOP", "output", "max error", "allowed"):
        table.add_column(column, justify="left" if column in {"file", "type", "output"} else "right")
    for entry in manifest.files.values():
        for name, error in entry.max_abs_error.items():
            table.add_row(
                entry.file,
                entry.precision,
                f"{entry.bytes / 1e6:.1f}",
                str(sum(entry.nodes.values())),
                "–" if entry.flops is None else f"{_flops_each(entry) / 1e9:.1f}",
                name,
                "not finite" if error is None else f"{error:.1e}",
                f"{entry.tolerance[name]:.0e}" if entry.tolerance else "gate",
            )
    _print(table)
    if manifest.parity:
        _print(_ladder_table(manifest.parity))
    for note in manifest.precision_notes:
        typer.echo(f"note: {note}")
    if manifest.gate:
        trained = " and ".join(manifest.settings["trained_on"])
        typer.echo(f"the gate counts the kinds of prompt that {manifest.model} was trained on: {trained}")
        typer.echo(f"gate: {manifest.gate}" + (f" – {manifest.gate_reason}" if manifest.gate_reason else ""))


def _flops_each(entry: FileEntry) -> float:
    """For one image of the batch, or one prompt on one embedding."""
    return (entry.flops or 0) / entry.flops_shapes[entry.inputs[0].name][0]


def _ladder_table(ladder: Ladder) -> Table:
    from rich import box
    from rich.table import Table

    count = len(ladder.samples)
    cosine = "–" if ladder.embedding_cosine is None else f"{ladder.embedding_cosine:.6f}"
    table = Table(
        title=f"Parity with PyTorch on {count} slice{'s' * (count != 1)}; embedding cosine {cosine}", box=box.SIMPLE
    )
    for column in ("prompts", "n", "logit error", "mask Dice", "pixels off", "Dice", "PyTorch's", "gate"):
        table.add_column(column, justify="left" if column in {"prompts", "gate"} else "right")
    for kind, parity in ladder.kinds.items():
        table.add_row(
            kind,
            str(parity.prompts),
            "not finite" if parity.low_res_max_error is None else f"{parity.low_res_max_error:.1e}",
            f"{parity.mask_dice:.4f}",
            f"{parity.pixels_differing:.4%}",
            "–" if parity.dice is None else f"{parity.dice:.3f}",
            "–" if parity.dice_pytorch is None else f"{parity.dice_pytorch:.3f}",
            parity.gate,
        )
    reasons = {parity.reason for parity in ladder.kinds.values() if parity.reason}
    table.caption = f"no Dice: {'; '.join(sorted(reasons))}" if reasons else None
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    # A log is as wide as it must be; cut-off names help nobody there.
    Console(width=None if sys.stdout.isatty() else LOG_WIDTH).print(table)
