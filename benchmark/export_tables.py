"""What an export found, as tables in the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from exporters.manifest import FileEntry, LabelParity, Ladder, Manifest, WindowLadder

LOG_WIDTH = 110


def print_manifest(manifest: Manifest) -> None:
    """Files, the parity ladder, notes and the gate."""
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
        print_ladder(manifest.parity)
    for note in manifest.precision_notes:
        typer.echo(f"note: {note}")
    if manifest.gate:
        if trained := manifest.settings.get("trained_on"):
            kinds = " and ".join(trained)
            typer.echo(f"the gate counts the kinds of prompt that {manifest.model} was trained on: {kinds}")
        typer.echo(f"gate: {manifest.gate}" + (f" – {manifest.gate_reason}" if manifest.gate_reason else ""))


def _flops_each(entry: FileEntry) -> float:
    """For one image of the batch, or one prompt on one embedding."""
    return (entry.flops or 0) / entry.flops_shapes[entry.inputs[0].name][0]


def print_ladder(ladder: Ladder | WindowLadder) -> None:
    """A row for each kind of prompt, or for each label."""
    from exporters.manifest import WindowLadder

    if not isinstance(ladder, WindowLadder):
        _print(_prompts_table(ladder))
        return
    _print(_windows_table(ladder))
    error = "are not finite" if ladder.logit_max_error is None else f"differ by {ladder.logit_max_error:.1e} at most"
    typer.echo(f"logits {error}; {ladder.voxels_differing:.4%} of voxels get another label")
    if ladder.reason:
        typer.echo(f"note: {ladder.reason}")


def _windows_table(ladder: WindowLadder) -> Table:
    from rich import box
    from rich.table import Table

    windows, cases = ladder.windows, len(ladder.samples)
    table = Table(
        title=f"Parity with PyTorch on {windows} window{'s' * (windows != 1)} of {cases} case{'s' * (cases != 1)}",
        box=box.SIMPLE,
    )
    for column in ("label", "mask Dice", "Dice", "PyTorch's"):
        table.add_column(column, justify="left" if column == "label" else "right")

    def told(value: float | None, digits: int) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    rows: Mapping[str, LabelParity | WindowLadder] = {**ladder.labels, "all labels": ladder}
    for name, parity in rows.items():
        table.add_row(name, told(parity.mask_dice, 4), told(parity.dice, 3), told(parity.dice_pytorch, 3))
    return table


def _prompts_table(ladder: Ladder) -> Table:
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
