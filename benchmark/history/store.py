"""Where accepted runs are kept: a folder that only grows, each run in it whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from benchmark.errors import InputError
from benchmark.measured import Part
from benchmark.results import RESULTS_FILE, Results, load_results
from exporters.manifest import sha256_file

RUNS_FOLDER = "runs"
ACCEPTANCE_FILE = "acceptance.json"
HASH_SHOWN = 8


class Acceptance(Part):
    """How a run came into the history."""

    accepted: str = Field(description="UTC, ISO 8601")
    sha256: str = Field(description="of the results.json that was accepted")
    objections: list[str] = Field(default=[], description="what spoke against it, in sentences")
    reason: str | None = Field(default=None, description="why a person accepted it all the same")
    notes: list[str] = Field(default=[], description="what was found besides, as a run it could not be compared with")


@dataclass(frozen=True)
class AcceptedRun:
    """A run of the history.

    Attributes:
        place: its folder.
        results: what it measured.
        acceptance: how it came here.
    """

    place: Path
    results: Results
    acceptance: Acceptance

    @property
    def path(self) -> Path:
        """Its results.json."""
        return self.place / RESULTS_FILE


def is_history(folder: Path) -> bool:
    """Whether accepted runs lie there, and the folder is not a run's own."""
    return not (folder / RESULTS_FILE).exists() and any(_entries(folder))


def load_history(folder: Path) -> list[AcceptedRun]:
    """Every accepted run, oldest first; an empty or absent folder holds none.

    Raises:
        InputError: something in it is damaged, or was changed since it was accepted.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder for the history")
    found = [_load(place) for place in _entries(folder)]
    return sorted(found, key=lambda run: (run.results.created, run.place.name))


def newest(folder: Path) -> AcceptedRun:
    """The run that new ones are held against.

    Raises:
        InputError: no run was accepted there yet.
    """
    runs = load_history(folder)
    if not runs:
        raise InputError(
            f"{folder}: no run was accepted there yet; accept one with `sambench history {folder} --add RUN`"
        )
    return runs[-1]


def known_as(runs: list[AcceptedRun], sha256: str, results: Results) -> AcceptedRun | None:
    """The run that holds this very file, or the very same measurements: a run again that measured nothing anew."""
    measured = _measured(results)
    same = (run for run in runs if run.acceptance.sha256 == sha256 or _measured(run.results) == measured)
    return next(same, None)


def _measured(results: Results) -> tuple[object, ...]:
    """When and what a run measured, without how busy the machine was when it was started last."""
    return results.created, results.cells, results.comparisons


def keep(folder: Path, results_file: Path, results: Results, acceptance: Acceptance) -> AcceptedRun:
    """Copies a run into the history.

    Both files are written in a folder of another name that is renamed when it is complete, so that no reader and no
    interruption sees one without the other.

    Args:
        folder: of the history; made if it is not there.
        results_file: copied byte by byte, so that its hash stays what it was.
        results: what is in it.
        acceptance: how it came to be accepted.

    Raises:
        InputError: the folder cannot be written, or the file changed since it was read.
    """
    place = folder / RUNS_FOLDER / _name(results, acceptance.sha256)
    temporary = place.with_name(f".{os.getpid()}.{place.name}")
    try:
        temporary.mkdir(parents=True)
        shutil.copyfile(results_file, temporary / RESULTS_FILE)
        if file_sha256(temporary / RESULTS_FILE) != acceptance.sha256:
            raise InputError(f"{results_file}: changed while it was read; add it again when its run has ended")
        (temporary / ACCEPTANCE_FILE).write_text(acceptance.model_dump_json(indent=1), encoding="utf-8")
        temporary.rename(place)
    except OSError as error:
        raise InputError(f"{folder}: cannot keep a run there ({error.strerror}); name a folder to write in") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return AcceptedRun(place, results, acceptance)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return sha256_file(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name a run's folder or results.json") from None


def results_file(place: Path) -> Path:
    """The results.json of a run's folder, or the file itself."""
    return place if place.suffix == ".json" else place / RESULTS_FILE


def _entries(folder: Path) -> list[Path]:
    """The folders of runs; what begins with a dot is a copy that was interrupted."""
    runs = folder / RUNS_FOLDER
    if not runs.is_dir():
        return []
    return sorted(e for e in runs.iterdir() if not e.name.startswith(".") and e.is_dir())


def _load(place: Path) -> AcceptedRun:
    path = place / ACCEPTANCE_FILE
    try:
        acceptance = Acceptance.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        raise InputError(f"{path}: is damaged; remove the folder {place.name} and add its run again") from None
    if file_sha256(place / RESULTS_FILE) != acceptance.sha256:
        raise InputError(
            f"{place / RESULTS_FILE}: is not the file that was accepted (its SHA-256 differs); remove the folder "
            f"{place.name} and add its run again"
        )
    return AcceptedRun(place, load_results(place), acceptance)


def _name(results: Results, sha256: str) -> str:
    """`20261123T140509Z-abdomen-1a2b3c4d`: sorts by time and means the same file on every system."""
    moment = re.sub(r"[^0-9TZ]", "", results.created.split("+")[0].split(".")[0])
    name = re.sub(r"[^A-Za-z0-9_.]+", "-", results.name).strip("-.")[:40] or "run"
    return f"{moment.rstrip('Z')}Z-{name}-{sha256[:HASH_SHOWN]}"
