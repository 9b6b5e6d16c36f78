"""`sambench tune`: parse, call, print."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from benchmark.tuning.candidates import Candidate
    from benchmark.tuning.settings import TuneSettings

MODEL = "litemedsam"
LOG_WIDTH = 110


def tune(
    data: Annotated[Path, typer.Option(help="The MSD task folder; its reference labels give prompts and Dice.")],
    out: Annotated[Path, typer.Option(help="Folder of the tuning; an interrupted one goes on.")],
    model: Annotated[
        str | None,
        typer.Option(help="vit_b, vit_l, vit_h, medsam, mobilesam or litemedsam. Default: litemedsam, without --unet."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Weights. Default: the package's or the fetched ones.")
    ] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="No checkpoint: times mean what they say, Dice nothing.")
    ] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the random weights. Default: 0.")] = None,
    prompts: Annotated[str, typer.Option(help="Prompt strategies, as box,point (docs/prompts.md).")] = "box",
    unet: Annotated[
        Path | None, typer.Option(help="A segmentation network instead of a SAM; what `export unet` takes.")
    ] = None,
    budget: Annotated[str, typer.Option(help="Time for all of it, exports included, as 20m or 90s.")] = "20m",
    backends: Annotated[str | None, typer.Option(help="As pytorch,onnxruntime. Default: all.")] = None,
    precisions: Annotated[str | None, typer.Option(help="As fp32,int8. Default: all.")] = None,
    threads: Annotated[str | None, typer.Option(help="As 1,2. Default: a few up to all processors.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    cases: Annotated[int, typer.Option(min=1, help="At most so many, drawn by seed.")] = 1,
    slices: Annotated[
        int, typer.Option(min=0, help="At most so many labelled ones of each case, evenly spread; 0 for all of it.")
    ] = 4,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the candidates, and stop.")] = False,
) -> None:
    """Find the fastest configuration of this machine that is as good as PyTorch, within a budget of time."""
    from benchmark.cli_options import seconds_option
    from benchmark.errors import InputError
    from benchmark.tuning.settings import TuneSettings

    if unet is not None and (model is not None or checkpoint is not None or random_weights):
        raise InputError("--unet: is tuned without a SAM; leave out --model, --checkpoint and --random-weights")
    if seed is not None and not random_weights:
        raise InputError("--seed: belongs to --random-weights; give both or neither")
    if checkpoint is not None and random_weights:
        raise InputError("--random-weights: excludes --checkpoint; give one of them")
    settings = TuneSettings(
        data=data,
        budget_s=seconds_option(budget, "--budget"),
        model=None if unet is not None else model or MODEL,
        checkpoint=checkpoint,
        random_seed=(seed or 0) if random_weights else None,
        prompts=_names(prompts, "--prompts"),
        unet=unet,
        backends=None if backends is None else _names(backends, "--backends"),
        precisions=None if precisions is None else _names(precisions, "--precisions"),
        threads=None if threads is None else _numbers(threads, "--threads"),
        device=device,
        cases=cases,
        slices=slices or None,
    )
    # What follows imports PyTorch, which takes many seconds on a loaded machine.
    settings.check_words()
    if dry_run:
        _list(settings, out)
    else:
        _tune(settings, out)


def _names(text: str, option: str) -> tuple[str, ...]:
    from benchmark.errors import InputError

    found = tuple(part.strip() for part in text.split(","))
    if not all(found):
        raise InputError(f"{option} {text!r}: is no list; write it as a,b")
    return found


def _numbers(text: str, option: str) -> tuple[int, ...]:
    from benchmark.errors import InputError

    parts = _names(text, option)
    if not all(part.isdecimal() for part in parts):
        raise InputError(f"{option} {text!r}: are no numbers; write them as 1,2")
    return tuple(map(int, parts))


def _list(settings: TuneSettings, out: Path) -> None:
    from benchmark.progress import progress_bars
    from benchmark.tuning.job import Tuning

    with progress_bars() as progress:
        candidates, absent = Tuning(settings, out, progress, "").prepare()
    _print_candidates(candidates, absent)


def _print_candidates(candidates: list[Candidate], absent: dict[str, str]) -> None:
    from benchmark.tuning.words import counted

    for candidate in candidates:
        typer.echo(candidate.name)
    told = counted(len(candidates), "candidate")
    typer.echo(f"{told}; defaults are tried first, then what promises most", err=True)
    for lane, reason in absent.items():
        typer.echo(f"{lane}: unavailable: {reason}", err=True)


def _tune(settings: TuneSettings, out: Path) -> None:
    from rich.console import Console

    from benchmark.progress import progress_bars
    from benchmark.tuning.job import Tuning
    from benchmark.tuning.place import REPORT_FILE, WINNER_FILE
    from benchmark.tuning.report import print_tune
    from benchmark.tuning.schema import TUNE_FILE

    with progress_bars() as progress:
        result = Tuning(settings, out, progress, shlex.join(["sambench", *sys.argv[1:]])).execute()
    # A log is as wide as it must be; cut-off names help nobody there.
    print_tune(result, Console(width=None if sys.stdout.isatty() else LOG_WIDTH))
    typer.echo(f"the winner as a specification, for `sambench run`: {out / WINNER_FILE}")
    typer.echo(f"report: {out / REPORT_FILE}")
    typer.echo(f"every candidate, for a program: {out / TUNE_FILE}")
