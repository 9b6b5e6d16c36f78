"""A run as it was asked for, by the command or from Python: read, checked against this machine, and given a folder.

Light, so that a mistake is told before what is heavy is imported.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.devices import require_devices
from benchmark.errors import InputError
from benchmark.spec import Spec, load_spec, parse_spec, set_field

RUNS = Path("runs")
"""Where a run without a folder goes, under its name."""


@dataclass(frozen=True)
class RunJob:
    """What to run, where, and the command that repeats it."""

    spec: Spec
    folder: Path
    command: str
    skip_unavailable: bool


def job_of_file(path: Path, out: Path | None, overrides: Sequence[str], skip_unavailable: bool) -> RunJob:
    """A run of a YAML specification.

    Args:
        path: the file.
        out: the run's folder; None for runs/NAME.
        overrides: `key=value` pairs.
        skip_unavailable: whether lanes that cannot run here are skipped rather than an error.

    Raises:
        InputError: the file, a field or an override is wrong.
        RunnerError: a device is not there.
    """
    spec = load_spec(path, overrides)
    folder = out or RUNS / spec.name
    words = ["sambench", "run", str(path), "--out", str(folder)]
    for one in overrides:
        words += ["--set", one]
    words += ["--skip-unavailable"] if skip_unavailable else []
    return _checked(RunJob(spec, folder, shlex.join(words), skip_unavailable))


def job_of_mapping(
    content: Mapping[str, Any], out: Path | None, overrides: Sequence[str], skip_unavailable: bool
) -> RunJob:
    """A run of a specification as a dictionary; its relative paths start at the current folder. See `job_of_file`."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(content), default=os.fspath))  # a path may be a Path
    except (TypeError, ValueError) as error:
        raise InputError(f"spec: holds what no YAML file can hold ({error}); use plain values") from None
    for one in overrides:
        set_field(plain, one)
    spec = parse_spec(plain, "spec", Path())
    folder = out or RUNS / spec.name
    words = [repr(plain), repr(str(folder)), *(["skip_unavailable=True"] if skip_unavailable else [])]
    return _checked(RunJob(spec, folder, f"sambench.run({', '.join(words)})", skip_unavailable))


def _checked(job: RunJob) -> RunJob:
    if not job.skip_unavailable:
        require_devices(job.spec)
    return job
