"""`sambench calibrate`: this machine's noise floor and the smallest change it can show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli_options import seconds_option
from benchmark.progress import progress_bars

if TYPE_CHECKING:
    from benchmark.calibration.store import Calibration


def calibrate(
    budget: Annotated[str, typer.Option(help="Time for one comparison, as 20s or 2m.")] = "20s",
    runs: Annotated[int, typer.Option(min=2, help="Comparisons of each kind.")] = 20,
    planted: Annotated[
        list[float] | None, typer.Option("--planted", help="Share of extra work, 0.05 for 5 %. May be given again.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads per operator. Default: the cores.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of turns.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="File to write. Default: in the cache, where later runs find it.")
    ] = None,
) -> None:
    """Measure this machine: compare a runner with itself and with itself made slower, many times.

    The work is LiteMedSAM's mask decoder in ONNX Runtime. Later runs on this machine do not call a speedup that lies
    within its noise floor.
    """
    from benchmark.calibration.job import PLANTED, CalibrationSettings, run_calibration
    from benchmark.preflight import require_threads

    if threads is not None:
        require_threads(threads, "--threads")
    settings = CalibrationSettings(
        budget_s=seconds_option(budget, "--budget"), runs=runs, planted=tuple(planted or PLANTED), threads=threads,
        seed=seed, out=out,
    )  # fmt: skip
    with progress_bars() as progress:
        found, path = run_calibration(settings, progress)
    _print(found)
    typer.echo(f"calibration: {path}")


def _print(found: Calibration) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "extra work", "runs", "median speedup", "interval ±", "told a change", "verdicts", "s", box=box.SIMPLE
    )
    for level in found.levels:
        table.add_row(
            f"{level.planted:.1%}" if level.planted else "none (A/A)",
            str(level.runs),
            "–" if level.median_speedup is None else f"{level.median_speedup:.3f}×",
            "–" if level.widest_half_width is None else f"{level.widest_half_width:.1%}",
            f"{level.found:.0%}",
            ", ".join(f"{count} {verdict}" for verdict, count in level.verdicts.items()),
            f"{level.median_seconds:.0f}",
        )
    console = Console()
    console.print(table)
    console.print(found.words, highlight=False)
    if found.reason:
        console.print(found.reason, highlight=False)
