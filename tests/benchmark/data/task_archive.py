"""A tiny official task as a tar, with the companions that macOS put into the real ones, and whatever a test adds."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence

NAME = "Task09_Spleen"
CASES = ("spleen_2", "spleen_3")
VOLUME = b"not read before a run" * 100

Entry = tuple[tarfile.TarInfo, bytes]


def entry(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = "") -> Entry:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, 0o777
    info.size = len(content)
    return info, content


def dataset(cases: Sequence[str] = CASES) -> bytes:
    """The official file: it lies at the end of the real archives, and spells `release` so."""
    listed = [{"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"} for case in cases]
    return json.dumps(
        {
            "name": "Spleen",
            "licence": "CC-BY-SA 4.0",
            "relase": "1.0 06/08/2018",
            "tensorImageSize": "3D",
            "modality": {"0": "CT"},
            "labels": {"0": "background", "1": "spleen"},
            "training": listed,
            "test": [],
        }
    ).encode()


def task_tar(name: str = NAME, extra: Sequence[Entry] = (), cases: Sequence[str] = CASES, mode: str = "w:") -> bytes:
    """The archive's bytes; `extra` comes before the rest, so that nothing is right by then."""
    entries = [*extra, entry(f"._{name}", b"macOS"), entry(name, kind=tarfile.DIRTYPE)]
    for folder in ("imagesTr", "labelsTr"):
        entries.append(entry(f"{name}/{folder}", kind=tarfile.DIRTYPE))
        for case in CASES:
            entries.append(entry(f"{name}/{folder}/._{case}.nii.gz", b"macOS"))
            entries.append(entry(f"{name}/{folder}/{case}.nii.gz", VOLUME))
    entries.append(entry(f"{name}/dataset.json", dataset(cases)))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()
