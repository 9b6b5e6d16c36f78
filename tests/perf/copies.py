"""A task with many copies of one case, as hard links, and `sambench label` on it in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from benchmark.data.msd import open_task


def copies(data: Path, folder: Path, count: int) -> Path:
    """Writes a task whose cases are all the first one of another task."""
    task = open_task(data)
    files, training = task.cases[0], []
    for number in range(count):
        entry = {}
        for kind, name, path in (("image", "imagesTr", files.image), ("label", "labelsTr", files.label)):
            ending = path.name[len(path.name.removesuffix(".gz").removesuffix(".nii")) :]
            place = folder / name / f"{files.case}_{number:03d}{ending}"
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path.resolve(), place)
            except OSError:  # another disk
                shutil.copyfile(path, place)
            entry[kind] = f"./{name}/{place.name}"
        training.append(entry)
    fields = json.loads((data / "dataset.json").read_text(encoding="utf-8-sig"))
    fields |= {"training": training, "numTraining": count, "test": [], "numTest": 0}
    (folder / "dataset.json").write_text(json.dumps(fields), encoding="utf-8")
    return folder


def command(data: Path, out: Path, options: list[str]) -> list[str]:
    """The command line that labels."""
    words = ["label", "--data", str(data), "--out", str(out)]
    return [sys.executable, "-m", "sambench", *words, *options]
