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
import json
import os
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
from benchmark.files import sha256_text, write_text_atomically
from benchmark.labelling.records import LabelledCase, load_case, save_case
from benchmark.metrics import EMPTY_REFERENCE
from benchmark.plan import fingerprint
from benchmark.results import Effort
from exporters.manifest import sha256_file

WORK = ".sambench"
PROVENANCE = "provenance"


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

    def claim(self) -> None:
        """Makes the folder, or takes up an interrupted labelling with the same provenance.

        Raises:
            InputError: the folder is the source's, somebody else's, or of other settings.
        """
        if self.folder.resolve() == self.task.folder.resolve():
            raise InputError(f"--out {self.folder}: is the task itself; its reference labels would be lost")
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"--out {self.folder}: is a file; name a folder")
        settings = self.work / "settings.json"
        if self.folder.is_dir() and any(self.folder.iterdir()):
            self._require_own(settings)
        try:
            for name in ("imagesTr", "labelsTr", "imagesTs", f"{WORK}/cases"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self._writing, ignore_errors=True)  # what a killed process left
            self._writing.mkdir()
            write_text_atomically(settings, json.dumps(self.provenance, indent=1))
        except OSError as error:
            raise InputError(
                f"--out {self.folder}: cannot be written ({error.strerror}); name another folder"
            ) from None

    def _require_own(self, settings: Path) -> None:
        try:
            earlier = json.loads(settings.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            if not self.work.is_dir():
                raise InputError(
                    f"--out {self.folder}: not empty and no labels of sambench; name a new folder"
                ) from None
            return  # killed before the first settings were written
        differing = sorted(
            key for key in {*earlier, *self.provenance} if earlier.get(key) != _plain(self.provenance).get(key)
        )
        if differing:
            told = "; ".join(f"{key} {earlier.get(key)} there, {self.provenance.get(key)} now" for key in differing[:3])
            raise InputError(f"--out {self.folder}: holds labels made otherwise ({told}); name a new folder")

    @property
    def _writing(self) -> Path:
        return self.work / "writing"

    def finished(self, files: CaseFiles) -> LabelledCase | None:
        """The record of a case whose label is there as it was written; None if it has to be labelled."""
        record = load_case(self._record_path(files.case))
        if record is None or record.key != self._key(files):
            return None
        label = self.folder / "labelsTr" / record.label
        images = [self.folder / "imagesTr" / name for name in record.images]
        if not label.is_file() or not all(image.is_file() for image in images):
            return None
        return record if sha256_file(label) == record.label_sha256 else None

    def save(
        self, files: CaseFiles, labels: NDArray[np.uint8], geometry: Geometry, slices: int, effort: Effort,
        dice: Mapping[str, float | None],
    ) -> LabelledCase:  # fmt: skip
        """Writes a case: its images, its label, and last the record that says it is finished.

        Args:
            files: of the source.
            labels: [X, Y, Z] in LPS.
            geometry: of the image.
            slices: that held an object.
            effort: clicks and boxes.
            dice: against the reference.
        """
        images = source_images(self.task, files)
        name = files.label.name if files.case == _stem(files.label) else f"{files.case}.nii.gz"
        for image in images:
            self._place(image)
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
        )
        temporary.replace(self.folder / "labelsTr" / name)
        save_case(record, self._record_path(files.case))
        return record

    def finish(self, records: Sequence[LabelledCase]) -> None:
        """Writes dataset.json and dice.csv, once every case is there."""
        rows = [
            (record.case, label, f"{dice:.6f}", "") if dice is not None else (record.case, label, "", EMPTY_REFERENCE)
            for record in records
            for label, dice in record.dice.items()
        ]
        temporary = self._writing / "dice.csv"
        with temporary.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("case", "label", "dice", "reason"), *rows])
        temporary.replace(self.folder / "dice.csv")
        write_text_atomically(self.folder / "dataset.json", json.dumps(self._dataset(records), indent=1))
        shutil.rmtree(self._writing, ignore_errors=True)

    def _dataset(self, records: Sequence[LabelledCase]) -> dict[str, Any]:
        """The source's dataset.json with the labelled cases alone."""
        data: dict[str, Any] = json.loads((self.task.folder / "dataset.json").read_text(encoding="utf-8-sig"))
        data.setdefault("name", self.task.name)
        data["numTraining"] = len(records)
        if "training" in data:
            data["training"] = [
                {"image": f"./imagesTr/{record.images[0]}", "label": f"./labelsTr/{record.label}"} for record in records
            ]
            data["test"], data["numTest"] = [], 0
        data[PROVENANCE] = {**self.provenance, "source": self.task.name, "labelled": list(self.task.labels.values())}
        return data

    def _place(self, image: Path) -> None:
        """Links an image into the folder, or copies it where that cannot be."""
        place = self.folder / "imagesTr" / image.name
        if place.is_file() and place.stat().st_size == image.stat().st_size:
            return
        temporary = self._writing / image.name
        temporary.unlink(missing_ok=True)
        try:
            os.link(image.resolve(), temporary)
        except OSError:  # another disk, or a system without hard links
            shutil.copyfile(image, temporary)
        temporary.replace(place)

    def _key(self, files: CaseFiles) -> str:
        what = [_plain(self.provenance), fingerprint(self.task, (files,))]
        return sha256_text(json.dumps(what, sort_keys=True, default=str))

    def _record_path(self, case: str) -> Path:
        return self.work / "cases" / f"{case}.json"


def source_images(task: Task, files: CaseFiles) -> list[Path]:
    """The image files of a case: one, or in nnU-Net's layout one a channel."""
    ending = "".join(files.image.suffixes[-2:]) if files.image.name.endswith(".nii.gz") else files.image.suffix
    stem = files.image.name.removesuffix(ending)
    if stem == files.case:
        return [files.image]
    return sorted(files.image.parent.glob(f"{files.case}_[0-9][0-9][0-9][0-9]{ending}"))


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back: tuples are lists."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain
