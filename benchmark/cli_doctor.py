"""`sambench doctor`: which backends, devices and precisions really work here, and why not."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.console import INTERRUPTED, complain, steps

if TYPE_CHECKING:
    from benchmark.doctor.needs import Needs
    from benchmark.doctor.schema import Diagnosis

SOMETHING_MISSING = 1


class Output(str, Enum):
    """How a diagnosis is printed."""

    text = "text"
    json = "json"


def _output(text: str) -> Output:
    """Typer's own reading of an enumeration, in its words; some of its versions put `Value error` before them."""
    try:
        return Output(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(repr(one.value) for one in Output)}.") from None


def doctor(
    spec: Annotated[
        Path | None,
        typer.Argument(
            help="A run specification: exit with 1 if something that it needs is missing.", show_default=False
        ),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(help="Check this one alone; may be given again. Default: cpu and every GPU.", show_default=False),
    ] = None,
    format_: Annotated[
        Output,
        typer.Option(
            "--format",
            parser=_output,
            metavar=f"[{'|'.join(one.value for one in Output)}]",
            help="For people, or for a program.",
        ),
    ] = Output.text,
) -> None:
    """Tell what works here: run a small network by every backend, on every device, in every precision.

    Each is held against PyTorch fp32, in a process of its own; for what does not work, what to install.
    """
    from rich.console import Console

    from benchmark.doctor.show import show

    devices = _devices(device)
    needs = None if spec is None else _needs(spec, devices)
    found = _diagnose(devices, needs)
    if format_ is Output.json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        show(found, Console())
    if not found.ok:
        raise typer.Exit(SOMETHING_MISSING)


def _diagnose(devices: list[str] | None, needs: Needs | None) -> Diagnosis:
    from benchmark.doctor.job import Doctor

    try:
        with steps("sambench doctor") as say:
            return Doctor(devices, needs, say).diagnose()
    except KeyboardInterrupt:
        complain("interrupted; nothing is kept of a diagnosis")
        raise SystemExit(INTERRUPTED) from None


def _devices(names: list[str] | None) -> list[str] | None:
    from benchmark.errors import InputError
    from runners.device import Device

    if not names:
        return None
    try:
        return list(dict.fromkeys(str(Device.parse(name)) for name in names))
    except ValueError as error:
        raise InputError(f"--device: {error}") from None


def _needs(spec: Path, devices: list[str] | None) -> Needs:
    from benchmark.doctor.needs import needs_of
    from benchmark.errors import InputError
    from benchmark.spec import load_spec
    from reports.text import join

    needs = needs_of(load_spec(spec), spec.name)
    if devices is None:
        return needs
    unused = [one for one in devices if one not in needs.devices]
    if unused:
        raise InputError(
            f"--device: {spec.name} does not use {join(unused)}, it uses {join(list(needs.devices))}; name one of "
            "these, or leave the specification out"
        )
    return needs.on(devices)
