"""The ten official tasks of the Medical Segmentation Decathlon, downloaded and extracted.

Where they are and what they must hash to is MONAI's knowledge (`monai.apps.DecathlonDataset`), so that an archive that
moves is found again by updating MONAI.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from benchmark.data.msd import Task, open_task
from benchmark.data.tasks import OFFICIAL_TASKS
from benchmark.data.unpack import OnProgress, unpack_task
from benchmark.errors import InputError
from exporters.fetch import CACHE_VARIABLE, Published, fetch, place

LICENCE = "CC-BY-SA 4.0"
"""Of all ten, by their dataset.json."""

Bar = Callable[[str, str], AbstractContextManager[OnProgress]]
"""Shows a file and what is done to it, while bytes are counted."""


def official_archive(name: str) -> Published:
    """The archive of an official task."""
    from monai.apps import DecathlonDataset

    return Published(
        url=DecathlonDataset.resource[name],
        file=f"{name}.tar",
        # MD5 tells damage, not forgery: that is why the archive is extracted with distrust.
        hash=f"md5:{DecathlonDataset.md5[name]}",
        folder="msd",
        by_hand="extract it yourself in the folder of task folders",
    )


def present_task(name: str, root: Path) -> Task | None:
    """The task if its folder is there already.

    Raises:
        InputError: no such task, where the message lists the ten; or the folder is there but is no task that opens.
    """
    if name not in OFFICIAL_TASKS:
        raise InputError(f"fetch msd: {name!r} is not an official task; choose from {', '.join(OFFICIAL_TASKS)}")
    folder = root / name
    if not os.path.lexists(folder):
        return None
    try:
        return open_task(folder)
    except InputError as error:
        raise InputError(
            f"{folder}: is there but does not open ({error}) Delete it or move it away, then fetch the task again."
        ) from error


def fetch_task(name: str, root: Path, bar: Bar, keep_archive: bool = False) -> Task:
    """Downloads an official task into the cache and extracts it into `root / name`, where `present_task` found nothing.

    The archive is deleted once the task is extracted: it is as large again, up to 27 GB, and holds nothing more. One
    that is in the cache already, because it was kept or put there by hand, is not downloaded.

    Args:
        name: such as Task09_Spleen.
        root: the folder of task folders.
        bar: shows the two steps.
        keep_archive: leave the archive in the cache.

    Raises:
        InputError: too little disk, a folder that cannot be written to, or an archive that does not extract as a task.
        ExportError: the download failed.
    """
    published = official_archive(name)
    _refuse_unusable(root)
    with bar(published.file, "downloading") as on_progress:
        archive = fetch(published, _checking_room(published, root, on_progress))
    with bar(name, "extracting") as on_progress:
        _check_room(archive.stat().st_size, 0, archive, root)
        task = unpack_task(archive, name, root, on_progress)
    if not keep_archive:
        archive.unlink(missing_ok=True)
    return task


def _checking_room(published: Published, root: Path, on_progress: OnProgress) -> OnProgress:
    """Looks at the disk once, when the server has said how large the archive is: nobody else knows."""
    checked = False

    def check_once(done: int, total: int | None) -> None:
        nonlocal checked
        if total and not checked:
            _check_room(total, total - done, place(published), root)
        checked = True
        on_progress(done, total)

    return check_once


def _check_room(size: int, to_download: int, archive: Path, root: Path) -> None:
    """Refuses to begin what the disk cannot hold.

    Args:
        size: of the archive in bytes. The volumes in it are compressed, so the extracted task is as large.
        to_download: how many bytes of the archive are still to come.
        archive: its place in the cache.
        root: the folder of task folders.
    """
    cache, target = _existing(archive.parent), _existing(root)
    same_disk = cache.stat().st_dev == target.stat().st_dev
    needed = {target: size + to_download} if same_disk else {cache: to_download, target: size}
    for folder, room in needed.items():
        free = shutil.disk_usage(folder).free
        if free < room:
            raise InputError(
                f"{folder}: {archive.name} has {size / 1e9:.1f} GB, extracted as much again, and still needs "
                f"{room / 1e9:.1f} GB on this disk, which has {free / 1e9:.1f} GB free; make room, choose another disk "
                f"with --out, or set {CACHE_VARIABLE} to a folder on another disk"
            )


def _refuse_unusable(root: Path) -> None:
    """Before gigabytes are downloaded for a folder that cannot be written to."""
    existing = _existing(root)
    if not existing.is_dir():
        raise InputError(f"{existing}: is a file, not a folder; choose another --out")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"{existing}: you may not write there; choose another --out")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above that is there."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder
