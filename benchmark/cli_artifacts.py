"""`sambench export …`: parse, call, print."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.console import complain, interruptible, steps
from benchmark.export_tables import print_ladder, print_manifest

if TYPE_CHECKING:
    from exporters.unet_config import UNetConfig

export_app = typer.Typer(help="Export a model to ONNX, checked against PyTorch.", no_args_is_help=True)

FAILED = 1


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
    typer.Option("--data", help="An MSD task folder: its cases are compared on, and calibrate int8-static."),
]
SlicesOption = Annotated[
    int, typer.Option("--slices", min=0, help="Slices that are compared on; 0 leaves the parity ladder out.")
]
WindowsOption = Annotated[
    int, typer.Option("--windows", min=0, help="Windows that are compared on; 0 leaves the parity ladder out.")
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
    from benchmark.export_job import sam_artifact

    if seed is not None and not random_weights:
        raise InputError("--seed: belongs to --random-weights; give both or neither")
    drawn = (seed or 0) if random_weights else None
    with interruptible(), steps(f"export {model}") as on_step:
        manifest = sam_artifact(out, model, checkpoint, drawn, masks.value, precision.value, data, slices, on_step)
    print_manifest(manifest)
    typer.echo(f"written to {out}")


@export_app.command("unet")
def export_unet(
    out: Annotated[Path, typer.Option(help="Folder for unet.onnx and manifest.json.")],
    checkpoint: Annotated[
        Path,
        typer.Option(
            help="A UNet that sambench trained; a YAML file that describes a network of MONAI's; a MONAI bundle's "
            "folder; a trained nnU-Net v2 model's folder; or a state dict, with --network."
        ),
    ],
    network: Annotated[
        str | None, typer.Option(help="Of a state dict: UNet, BasicUNet, DynUNet, AttentionUnet or SegResNet.")
    ] = None,
    arguments: Annotated[str, typer.Option(help="Of a state dict: the network's arguments, as JSON.")] = "{}",
    patch: Annotated[str | None, typer.Option(help="Of a state dict: voxels of a window, as 96,96,96.")] = None,
    labels: Annotated[str | None, typer.Option(help="Of a state dict: names of its channels, as liver,spleen.")] = None,
    in_channels: Annotated[int, typer.Option(min=1, help="Of a state dict: channels of the image.")] = 1,
    precision: Annotated[Precision, typer.Option(help="Of weights and arithmetic.")] = Precision.fp32,
    data: DataOption = None,
    windows: WindowsOption = 4,
) -> None:
    """Export a segmentation network."""
    from benchmark.export_job import unet_artifact

    described = _described(network, arguments, patch, labels, in_channels)
    with interruptible(), steps("export the UNet") as on_step:
        manifest = unet_artifact(out, checkpoint, described, precision.value, data, windows, on_step)
    print_manifest(manifest)
    typer.echo(f"written to {out}")


def _described(
    network: str | None, arguments: str, patch: str | None, labels: str | None, in_channels: int
) -> UNetConfig | None:
    """The network that the options describe; None where there are none."""
    import json

    from benchmark.errors import InputError
    from benchmark.export_job import described_network

    try:
        given = json.loads(arguments)
    except ValueError as error:
        raise InputError(
            f"--arguments: {arguments} is no JSON ({error}); write it as '{{\"channels\": [16, 32]}}'"
        ) from None
    sides, names = (None if text is None else [part.strip() for part in text.split(",")] for text in (patch, labels))
    return described_network(network, given, sides, names, in_channels)


@export_app.command("verify")
def export_verify(
    folder: Annotated[Path, typer.Argument(help="The folder of an artifact.", show_default=False)],
    checkpoint: Annotated[Path | None, typer.Option(help="The weights it was made from, if they were a file.")] = None,
    data: DataOption = None,
    slices: SlicesOption = 2,
    windows: WindowsOption = 4,
) -> None:
    """Check an artifact's hashes and hold it against PyTorch again; exit 1 if it is not what its manifest says."""
    from benchmark.export_job import samples_for
    from exporters.manifest import ArtifactChangedError
    from exporters.verify import verify_artifact

    with interruptible(), steps(f"verify {folder}") as on_step:
        try:
            samples = samples_for(folder, data, slices, windows)
            found = verify_artifact(folder, checkpoint, samples, on_step)
        except ArtifactChangedError as error:
            complain(str(error))
            raise typer.Exit(FAILED) from None
    for name, errors in found.errors.items():
        told = ", ".join(f"{output} {error:.1e}" for output, error in errors.items())
        typer.echo(f"{name}: differs from PyTorch by at most {told}")
    if found.ladder:
        print_ladder(found.ladder)
        then = found.manifest.parity
        if then is not None and then.samples != found.ladder.samples:
            typer.echo(f"compared on others than at the export ({', '.join(then.samples)}): gate {found.ladder.gate}")
    typer.echo(f"{folder}: unchanged, and computes what its manifest says")
