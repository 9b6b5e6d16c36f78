"""The folder of one training: what it holds, whose it is, and whether an interrupted one may go on in it.

unet.pt         the network of the best epoch, for `sambench export unet`
training.json   settings, losses, validations, label source with hashes, test scores; written last
split.json      which case trained, validated, tested
test.csv        case, label, Dice, NSD, HD95
.sambench/      settings, the cases as arrays while it trains, the training's record

While it trains, unet.pt.partial holds the state to go on from.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.errors import InputError
from benchmark.files import write_text_atomically
from benchmark.out_folder import require_same, writable
from benchmark.training.evaluate import CaseScore

WORK = ".sambench"
SETTINGS = "train.json"


@dataclass(frozen=True)
class TrainingFolder:
    """The output folder of `sambench train`.

    Args:
        folder: where.
        settings: flat, as JSON holds them; a training with others may not go on in the same folder.
    """

    folder: Path
    settings: Mapping[str, Any]

    @property
    def work(self) -> Path:
        """Files that only serve to go on."""
        return self.folder / WORK

    @property
    def scratch(self) -> Path:
        """The cases as arrays."""
        return self.work / "cases"

    @property
    def record(self) -> Path:
        """The record of the finished training."""
        return self.work / "record.json"

    @property
    def checkpoint(self) -> Path:
        """The trained network."""
        return self.folder / "unet.pt"

    def claim(self) -> None:
        """Takes an empty folder, or one of an interrupted training with the same settings.

        Raises:
            InputError: the folder is a file, somebody else's, or of other settings, or cannot be written.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"--out {self.folder}: is a file; name a folder")
        own = self.work / SETTINGS
        with writable(self.folder):
            if own.is_file():
                self._require_same(own)
            elif any(path.is_file() and not path.name.endswith(SETTINGS) for path in self.folder.rglob("*")):
                raise InputError(f"--out {self.folder}: not empty and no training of sambench; name a new folder")
            write_text_atomically(own, json.dumps(self.settings, indent=1))

    def _require_same(self, own: Path) -> None:
        try:
            earlier = json.loads(own.read_text(encoding="utf-8"))
        except ValueError:
            raise InputError(f"{own}: is damaged; name a new folder with --out") from None
        require_same(self.folder, "a training with other settings", earlier, self.settings)

    def begin(self, split: Mapping[str, Any]) -> None:
        """Removes what a killed process left half-written, and writes split.json. Only its sole user may call it.

        Raises:
            InputError: the folder cannot be written.
        """
        with writable(self.folder):
            for left in self.folder.glob(".[0-9]*.*"):  # the names of `atomic_path`
                left.unlink(missing_ok=True)
            write_text_atomically(self.folder / "split.json", json.dumps(split, indent=1) + "\n")

    def finish(self, training: Mapping[str, Any], scores: Sequence[CaseScore]) -> None:
        """Writes test.csv and, last, training.json.

        Raises:
            InputError: the folder cannot be written.
        """
        table = io.StringIO(newline="")
        rows = [
            (s.case, s.label, _six(s.dice), _six(s.nsd), _six(s.hd95_mm), s.reason or "") for s in scores
        ]  # fmt: skip
        csv.writer(table).writerows([("case", "label", "dice", "nsd", "hd95_mm", "reason"), *rows])
        with writable(self.folder):
            write_text_atomically(self.folder / "test.csv", table.getvalue())
            write_text_atomically(self.folder / "training.json", json.dumps(training, indent=1) + "\n")


def _six(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
