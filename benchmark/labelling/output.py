"""The folder of pseudo labels: an MSD task, and beside it what makes an interrupted labelling resumable.

dataset.json         the source's, with the labelled cases and their provenance; written last
imagesTr/            hard links to the source's images, copies where the disk allows no links
labelsTr/            pseudo labels, each moved here whole
imagesTs/            empty: nnU-Net's converter wants it
dice.csv             case, label, Dice
.sambench/           settings, a record a case, files that are being written
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.msd import CaseFiles, Task
from benchmark.data.volume import Geometry, save_labels
from benchmark.errors import InputError
from benchmark.files import sha256_text
from benchmark.labelling.images import is_placed, label_name, place_image, source_images
from benchmark.labelling.records import LabelledCase, load_case, save_case
from benchmark.metrics import EMPTY_REFERENCE
from benchmark.out_folder import require_same, writable
from benchmark.plan import fingerprint
from benchmark.results import Effort
from exporters.manifest import sha256_file

WORK = ".sambench"
PROVENANCE = "provenance"
SUBFOLDERS = ("imagesTr", "labelsTr", "imagesTs")

ELSEWHERE = ("validation", "dataset")
"""Fields of dataset.json that lead to files of the source: MONAI's validation cases, nnU-Net's list of its labels."""


def require_apart(folder: Path, task: Task) -> None:
    """Refuses an output folder where the source's files are, before a model is loaded.

    Raises:
        InputError: it is a file, or the task lies there.
    """
    own, source = folder.resolve(), task.folder.resolve()
    if own == source:
        raise InputError(f"--out {folder}: is the task itself; its reference labels would be lost; name another folder")
    if own.is_relative_to(source) or source.is_relative_to(own):
        raise InputError(f"--out {folder}: it and the task {task.folder} lie in one another; name a folder beside it")
    homes = {path.resolve().parent for files in task.cases for path in (files.image, files.label)}
    for name in SUBFOLDERS:
        if (folder / name).resolve() in homes:
            raise InputError(f"--out {folder}: its {name} leads to the task's own files; name another folder")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder}: is a file; name a folder")


@dataclass(frozen=True)
class Output:
    """The output folder of one labelling.

    Args:
        folder: where.
        task: what is labelled.
        provenance: where the labels come from; another one may not go on in the same folder.
    """

    folder: Path
    task: Task
    provenance: Mapping[str, Any]

    @property
    def work(self) -> Path:
        """The folder of records and of files that are being written."""
        return self.folder / WORK

    @property
    def _writing(self) -> Path:
        return self.work / "writing"

    @property
    def _settings(self) -> Path:
        return self.work / "settings.json"

    def claim(self) -> None:
        """Takes an empty folder, or one of an interrupted labelling with the same provenance.

        Nothing that another process could be at work on is touched.

        Raises:
            InputError: the folder is the source's, somebody else's, or of other settings, or cannot be written.
        """
        require_apart(self.folder, self.task)
        with writable(self.folder):
            if self.folder.is_dir() and any(self.folder.iterdir()):
                self._require_own()
            self.work.mkdir(parents=True, exist_ok=True)  # first: it tells the folder as ours

    def _require_own(self) -> None:
        if not self.work.is_dir():
            raise InputError(f"--out {self.folder}: not empty and no labels of sambench; name a new folder")
        try:
            earlier = _plain(json.loads(self._settings.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError):
            return  # killed before the first settings were written, or damaged: each case's record knows them too
        if not any((self.work / "cases").glob("*")):
            return  # it failed before its first case, so that nothing in it was labelled otherwise
        require_same(self.folder, "labels made otherwise", earlier, _plain(self.provenance))

    def begin(self) -> None:
        """Makes the folders and removes what a killed process left. Only its sole user may call it.

        Raises:
            InputError: the folder cannot be written.
        """
        with writable(self.folder):
            shutil.rmtree(self._writing, ignore_errors=True)
            for name in (*SUBFOLDERS, f"{WORK}/cases", f"{WORK}/{self._writing.name}"):
                (self.folder / name).mkdir(exist_ok=True)
            self._write(self._settings, json.dumps(self.provenance, indent=1))

    def finished(self, files: CaseFiles) -> LabelledCase | None:
        """The record of a case whose files are there as they were written; None if it has to be labelled."""
        record = load_case(self._record_path(files.case))
        if record is None or record.key != self._key(files) or record.label != label_name(files):
            return None
        images = source_images(files)
        if record.images != tuple(image.name for image in images):
            return None
        if not all(is_placed(image, self.folder / "imagesTr" / image.name) for image in images):
            return None
        label = self.folder / "labelsTr" / record.label
        return record if label.is_file() and sha256_file(label) == record.label_sha256 else None

    def save(
        self, files: CaseFiles, labels: NDArray[np.uint8], geometry: Geometry, slices: int, effort: Effort,
        dice: Mapping[str, float | None], notes: tuple[str, ...] = (),
    ) -> LabelledCase:  # fmt: skip
        """Writes a case: its images, its label, and last the record that says it is finished.

        Args:
            files: of the source.
            labels: [X, Y, Z] in LPS.
            geometry: of the image.
            slices: that held an object.
            effort: clicks and boxes.
            dice: against the reference.
            notes: how it ran.

        Raises:
            InputError: the folder cannot be written any more.
        """
        images, name = source_images(files), label_name(files)
        with writable(self.folder):
            for image in images:
                place_image(image, self.folder / "imagesTr" / image.name, self._writing / image.name)
            temporary = self._writing / name
            save_labels(labels, geometry, temporary)
            record = LabelledCase(
                key=self._key(files),
                case=files.case,
                images=tuple(image.name for image in images),
                label=name,
                label_sha256=sha256_file(temporary),
                slices=slices,
                effort=effort,
                dice=dict(dice),
                notes=notes,
            )
            temporary.replace(self.folder / "labelsTr" / name)
            save_case(record, self._record_path(files.case))
        return record

    def finish(self, records: Sequence[LabelledCase]) -> None:
        """Writes dataset.json and dice.csv, once every case is there.

        Raises:
            InputError: the folder cannot be written any more.
        """
        rows = [
            (record.case, label, f"{dice:.6f}", "") if dice is not None else (record.case, label, "", EMPTY_REFERENCE)
            for record in records
            for label, dice in record.dice.items()
        ]
        table = io.StringIO(newline="")
        csv.writer(table).writerows([("case", "label", "dice", "reason"), *rows])
        with writable(self.folder):
            self._remove_strangers(records)
            self._write(self.folder / "dice.csv", table.getvalue())
            self._write(self.folder / "dataset.json", json.dumps(self._dataset(records), indent=1))
            shutil.rmtree(self._writing, ignore_errors=True)

    def _remove_strangers(self, records: Sequence[LabelledCase]) -> None:
        """Removes cases that the source had when an earlier call labelled them.

        nnU-Net takes every file of its folders for a case.
        """
        images = {image for record in records for image in record.images}
        labels = {record.label for record in records}
        own = {self._record_path(record.case) for record in records}
        for path in sorted((self.work / "cases").glob("*.json")):
            stranger = load_case(path)
            if path in own or stranger is None:
                continue
            for name, kept, folder in (
                *((image, images, "imagesTr") for image in stranger.images),
                (stranger.label, labels, "labelsTr"),
            ):
                if name not in kept:
                    (self.folder / folder / Path(name).name).unlink(missing_ok=True)
            path.unlink()

    def _dataset(self, records: Sequence[LabelledCase]) -> dict[str, Any]:
        """The source's dataset.json with the labelled cases alone.

        All its labels stay declared, whichever were asked for: nnU-Net wants their values without a gap.
        """
        data: dict[str, Any] = json.loads((self.task.folder / "dataset.json").read_text(encoding="utf-8-sig"))
        data.setdefault("name", self.task.name)
        data["numTraining"] = len(records)
        if "training" in data:
            data["training"] = [
                {"image": f"./imagesTr/{record.images[0]}", "label": f"./labelsTr/{record.label}"} for record in records
            ]
            data["test"], data["numTest"] = [], 0
        for name in ELSEWHERE:
            data.pop(name, None)
        data[PROVENANCE] = {
            **self.provenance,
            "labelled": list(self.task.labels.values()),
            "cases_without_prompt": [record.case for record in records if not record.slices],
            **({"notes": notes} if (notes := notes_of(records)) else {}),
        }
        return data

    def _write(self, path: Path, text: str) -> None:
        """Writes a text whole or not at all; a kill leaves nothing outside the work folder."""
        temporary = self._writing / path.name
        temporary.write_text(text, encoding="utf-8", newline="")
        temporary.replace(path)

    def _key(self, files: CaseFiles) -> str:
        what = [_plain(self.provenance), fingerprint(self.task, (files,))]
        return sha256_text(json.dumps(what, sort_keys=True, default=str))

    def _record_path(self, case: str) -> Path:
        return self.work / "cases" / f"{case}.json"


def notes_of(records: Sequence[LabelledCase]) -> list[str]:
    """What the cases have to say of how they ran, each thing once and with the cases that it holds for."""
    told: dict[str, list[str]] = {}
    for record in records:
        for note in record.notes:
            told.setdefault(note, []).append(record.case)
    return [f"{note} (cases {', '.join(cases)})" for note, cases in told.items()]


def _plain(values: Any) -> dict[str, Any]:
    """As JSON gives it back, where tuples are lists, and flat, so that what differs can be named."""
    plain = json.loads(json.dumps(values))
    if not isinstance(plain, dict):
        raise ValueError("settings are one JSON object")
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        flat |= {f"{key}.{name}": part for name, part in value.items()} if isinstance(value, dict) else {key: value}
    return flat
