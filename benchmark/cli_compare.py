"""`sambench compare`: one run against another, for people and for CI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

REGRESSED = 1


def compare(
    base: Annotated[Path, typer.Argument(help="The run to compare with: its folder or results.json.")],
    new: Annotated[Path, typer.Argument(help="The run that is judged.")],
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="EXPR",
            help="What is a regression: latency>5%, dice<-0.001, inconclusive. May be given again. Missing and newly "
            "failing cells always are.",
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow",
            metavar="WHAT",
            help="Compare although this differs: hardware, driver, data, spec. Or accept cells: missing, failed.",
        ),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="A file of `sambench calibrate`. Default: this machine's own, if there is one.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the comparison there, as a comment for a CI.")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the comparison there, for a program.")] = None,
) -> None:
    """Compare two runs cell by cell; exit with 1 if the new one regressed."""
    from rich.console import Console

    from benchmark.compare.comparable import parse_allowed
    from benchmark.compare.places import find_results, require_outputs
    from benchmark.compare.rules import parse_rules
    from benchmark.compare.run import calibration_of, compare_runs, warnings
    from benchmark.console import complain
    from benchmark.files import write_text_atomically
    from reports.comparison import print_comparison, summarize_comparison
    from reports.comparison_markdown import comparison_markdown

    require_outputs({"--markdown": markdown, "--json": json_}, (base, new))
    rules = parse_rules(fail_on or [])
    allowed = parse_allowed(allow or [])
    (old, old_place), (found, new_place) = find_results(base), find_results(new)
    known = calibration_of(found, calibration)
    compared = compare_runs(old, found, (old_place, new_place), rules, allowed, known)
    summary = summarize_comparison(compared)
    if markdown is not None:
        write_text_atomically(markdown, comparison_markdown(summary))
    if json_ is not None:
        write_text_atomically(json_, compared.model_dump_json(indent=1))
    print_comparison(summary, Console())
    for warning in warnings(rules, compared.floors):
        complain(warning, "warning")
    if compared.regressed:
        raise typer.Exit(REGRESSED)
