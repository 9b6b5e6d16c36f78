"""The command line: parse, call, print. Heavy imports stay inside the commands."""

from __future__ import annotations

import shlex
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark import __version__
from benchmark.cli_artifacts import export_app
from benchmark.cli_calibrate import calibrate
from benchmark.cli_compare import compare
from benchmark.cli_doctor import doctor
from benchmark.cli_fetch import fetch_app
from benchmark.cli_history import history
from benchmark.cli_label import label
from benchmark.cli_schema import schema_app
from benchmark.cli_train import train
from benchmark.cli_tune import tune
from benchmark.console import MISTAKE, complain
from benchmark.progress import Bars, progress_bars

if TYPE_CHECKING:
    from rich.console import Console

    from benchmark.results import Results
    from benchmark.spec import Spec

app = typer.Typer(
    name="sambench",
    help="Benchmark ONNX Runtime against PyTorch for SAM pseudo-labelling and UNet segmentation of medical scans.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(export_app, name="export")
app.add_typer(fetch_app, name="fetch")
app.add_typer(schema_app, name="schema")
app.command()(label)
app.command()(train)
app.command()(calibrate)
app.command()(compare)
app.command()(doctor)
app.command()(history)
app.command()(tune)


class Format(str, Enum):
    """A report's file format."""

    html = "html"
    md = "md"
    csv = "csv"
    json = "json"


def main() -> None:
    """Runs the command line; a mistake of the user is one sentence and exit code 2, never a traceback."""
    try:
        app(prog_name="sambench")  # by whatever file it was started
    except Exception as error:  # only to find out whose mistake it is; anything unknown is raised again
        if isinstance(error, OSError) and error.filename is not None and not isinstance(error, BrokenPipeError):
            complain(f"{error.filename}: {error.strerror}; name a place that can be read and written")
        elif _is_users_mistake(error):
            complain(str(error))
        else:
            raise
        sys.exit(MISTAKE)


def _is_users_mistake(error: Exception) -> bool:
    from benchmark.errors import InputError
    from exporters.manifest import ExportError
    from runners.base import RunnerError

    return isinstance(error, (InputError, ExportError, RunnerError))


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"sambench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run; an interrupted one is resumed. Default: runs/demo, or runs/demo-full."),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="The long form: more slices, longer trainings, all the time for turns.")
    ] = False,
) -> None:
    """Run the embedded default: a phantom abdomen, LiteMedSAM, a small UNet, both backends, and the report."""
    from benchmark.demo import FULL, REPORTS, SHORT, WHAT_NEXT

    chosen = FULL if full else SHORT
    folder = out or Path("runs") / chosen.name
    words = ["sambench", "demo", *(["--full"] if full else []), "--out", str(folder)]
    with progress_bars(chosen.steps) as progress:
        results = _execute(chosen.prepare(folder, progress), folder, shlex.join(words), progress)
        progress.start(REPORTS, 1)
    _publish(results, folder)
    for line in WHAT_NEXT:
        typer.echo(line)


@app.command()
def run(
    spec: Annotated[Path, typer.Argument(help="The run specification, YAML.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Folder of the run; resumes in it. Default: runs/NAME.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a field: measure.repeats=3.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Time for each comparison's turns, as 120s or 2m: measure.budget_s.")
    ] = None,
    skip_unavailable: Annotated[
        bool, typer.Option("--skip-unavailable", help="Run what this machine can, and say why the rest was skipped.")
    ] = False,
) -> None:
    """Run a benchmark and write its results and reports."""
    from benchmark.cli_options import seconds_option
    from benchmark.run_job import job_of_file

    overrides = list(set_ or [])
    if budget is not None:
        overrides.append(f"measure.budget_s={seconds_option(budget, '--budget'):g}")
    job = job_of_file(spec, out, overrides, skip_unavailable)
    with progress_bars() as progress:
        results = _execute(job.spec, job.folder, job.command, progress, skip_unavailable)
    _publish(results, job.folder)


@app.command()
def report(
    run_dir: Annotated[Path, typer.Argument(help="The folder of a run.", show_default=False)],
    format_: Annotated[
        list[Format] | None,
        typer.Option("--format", help="What to write; may be given several times. Default: html and md."),
    ] = None,
) -> None:
    """Write a run's reports again, from its results.json, and print the terminal one."""
    from benchmark.results import load_results

    _publish(load_results(run_dir), run_dir, format_)


def _console() -> Console:
    from rich.console import Console

    return Console()


def _execute(spec: Spec, out: Path, command: str, progress: Bars, skip_unavailable: bool = False) -> Results:
    from benchmark.run import Run

    return Run(spec, out, progress, command, skip_unavailable).execute()


def _publish(results: Results, run_dir: Path, formats: list[Format] | None = None) -> None:
    """Prints the terminal report and writes the others."""
    from reports.html import without_collections
    from reports.terminal import print_report
    from reports.written import write_reports

    console = _console()
    folder = run_dir.parent if run_dir.suffix == ".json" else run_dir
    with without_collections():
        summary, written = write_reports(results, folder, [one.value for one in formats or ()])
        print_report(results, console, summary)
    for format_, path in written.items():
        typer.echo(f"{format_:>4} report: {path}")


if __name__ == "__main__":
    main()
