"""A tuning's folder: whose it is, and what is written into it at the end."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from benchmark.errors import InputError
from benchmark.files import write_text_atomically
from benchmark.out_folder import require_same, writable
from benchmark.spec import REFERENCE_BACKEND
from benchmark.tuning.candidates import BatchKind, Candidate
from benchmark.tuning.report import tune_markdown
from benchmark.tuning.schema import TuneResult, save_tune
from benchmark.tuning.settings import TuneSettings

SETTINGS_FILE = "settings.json"
WINNER_FILE = "winner.yaml"
REPORT_FILE = "tune.md"

MAY_CHANGE = frozenset({"budget_s", "backends", "precisions", "threads"})
"""Settings that another call in the same folder may have: what to try and for how long, not what was measured."""


def claim(out: Path, settings: TuneSettings) -> None:
    """Makes the folder, or goes on in that of an earlier call with the same settings.

    Raises:
        InputError: it is a file, somebody else's, of other settings, or cannot be written.
    """
    now = _plain(settings)
    path = out / SETTINGS_FILE
    with writable(out):
        if out.exists() and not out.is_dir():
            raise InputError(f"--out {out}: is a file; name a folder")
        if out.is_dir() and any(out.iterdir()):
            try:
                earlier = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                raise InputError(f"--out {out}: not empty and no tuning; name a new folder") from None
            require_same(out, "a tuning of something else", earlier, now)
        write_text_atomically(path, json.dumps(now, indent=1))


def _plain(settings: TuneSettings) -> dict[str, Any]:
    found = {one.name: getattr(settings, one.name) for one in fields(settings) if one.name not in MAY_CHANGE}
    found["data"] = settings.data.resolve()
    loaded: dict[str, Any] = json.loads(json.dumps(found, default=str))
    return loaded


def write(result: TuneResult, out: Path) -> None:
    """Writes winner.yaml, tune.md and tune.json, each whole or not at all."""
    with writable(out):
        write_text_atomically(out / WINNER_FILE, winner_yaml(result))
        write_text_atomically(out / REPORT_FILE, tune_markdown(result))
        save_tune(result, out)


def winner_spec(settings: TuneSettings, winner: Candidate, kind: BatchKind) -> dict[str, Any]:
    """A specification that runs the winner beside the reference, as plain values.

    Args:
        settings: what was tuned.
        winner: of them.
        kind: what its batch is of.
    """
    own = winner.own(kind).model_dump(exclude_defaults=True)
    return settings.content(
        backends=list(dict.fromkeys((REFERENCE_BACKEND, winner.backend))),
        precisions=[winner.precision],
        **({"lanes": {str(winner.lane): own}} if own else {}),
    )


def winner_yaml(result: TuneResult) -> str:
    """The specification as a file, with what it is above it."""
    lines = [
        f"# {result.winner}: written by `{result.command}`, {result.created[:10]}",
        "# `sambench run` takes this as it is and measures the winner beside the reference.",
    ]
    if result.reference in result.spec.get("lanes", {}):
        lines.append("# The winner is the reference's own lane: these settings are the reference's, and it runs alone.")
    return "\n".join(lines) + "\n" + yaml.safe_dump(result.spec, sort_keys=False, allow_unicode=True)
