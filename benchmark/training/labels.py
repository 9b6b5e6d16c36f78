"""Where the labels come from that a UNet learns: the task itself, or files of pseudo labels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmark.data.msd import CaseFiles, Task
from benchmark.data.volume import Volume, load_labels
from benchmark.errors import InputError
from exporters.manifest import sha256_file

ENDINGS = (".nii.gz", ".nii")
CASES_NAMED = 5


@dataclass(frozen=True)
class LabelSource:
    """One kind of label for the cases of a task.

    Attributes:
        name: `reference`, a prompt strategy, or the name of a folder.
        files: case → its pseudo labels; None for the reference labels, which lie in the task.
        provenance: where pseudo labels come from, as their folder says.
    """

    name: str
    files: Mapping[str, Path] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def missing(self, cases: Iterable[CaseFiles]) -> list[str]:
        """The cases that have no labels."""
        if self.files is None:
            return []
        return [c.case for c in cases if c.case not in self.files or not self.files[c.case].is_file()]

    def digests(self, cases: Iterable[CaseFiles]) -> dict[str, str]:
        """Case → SHA-256 of its pseudo labels; empty for the reference labels."""
        return {} if self.files is None else {c.case: sha256_file(self.files[c.case]) for c in cases}

    def on(self, task: Task, volume: Volume) -> Volume:
        """The volume with these labels in the place of its reference labels.

        Raises:
            InputError: a file of pseudo labels cannot be read or does not fit the image.
        """
        if self.files is None:
            return volume
        return replace(volume, label=load_labels(task, self.files[volume.case], volume.geometry))


def label_folder(folder: Path, cases: Iterable[CaseFiles]) -> LabelSource:
    """Pseudo labels from a folder: an MSD task, as `sambench label` writes it, or plainly one file a case.

    Args:
        folder: with `labelsTr/CASE.nii.gz` or `CASE.nii.gz`; `.nii` will do.
        cases: that need labels.

    Raises:
        InputError: the folder is not there, or a case has no file in it.
    """
    if not folder.is_dir():
        raise InputError(f"--labels {folder}: is no folder; name one with CASE.nii.gz or labelsTr/CASE.nii.gz")
    wanted = list(cases)
    home = folder / "labelsTr" if (folder / "labelsTr").is_dir() else folder
    found = {files.case: path for files in wanted if (path := _label_file(home, files)) is not None}
    if absent := [files.case for files in wanted if files.case not in found]:
        named = ", ".join(absent[:CASES_NAMED]) + (", …" if len(absent) > CASES_NAMED else "")
        raise InputError(
            f"--labels {home}: has no labels for {len(absent)} of the {len(wanted)} cases to train and validate on "
            f"({named}); add CASE.nii.gz for each, or remove the cases from dataset.json"
        )
    provenance = _provenance(folder)
    prompt = provenance.get("prompt")
    return LabelSource(prompt if isinstance(prompt, str) else folder.resolve().name, found, provenance)


def _provenance(folder: Path) -> dict[str, Any]:
    """What `sambench label` wrote of the labels; empty for anybody else's."""
    try:
        found = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["provenance"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _label_file(home: Path, files: CaseFiles) -> Path | None:
    """The case's file: named after the case, or as the task names its own label."""
    names = [files.label.name, *(files.case + ending for ending in ENDINGS)]
    return next((home / name for name in names if (home / name).is_file()), None)
