"""A task's tar archive into a task folder: nothing outside that folder, and all of it or nothing."""

from __future__ import annotations

import contextlib
import errno
import gzip
import lzma
import os
import platform
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

import psutil

from benchmark.data.msd import Task, open_task
from benchmark.errors import InputError

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes done and the bytes in all."""

ABANDONED_SECONDS = 3600.0
"""A temporary folder of another machine that nobody wrote to for so long: a living extraction touches it per file."""

_PART = ".part"
_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}


def unpack_task(archive: Path, name: str, root: Path, on_progress: OnProgress = lambda done, total: None) -> Task:
    """Extracts a task into `root / name`, which must not be there yet.

    It is extracted beside its place, opened, and only then renamed: a killed extraction leaves no half task, and what
    it does leave is removed by the next one.

    Args:
        archive: a tar, compressed or not; everything in it lies under `name/`.
        name: the task's.
        root: the folder of task folders; made if it is not there.
        on_progress: called after each file, with bytes of the archive.

    Raises:
        InputError: the archive is no such tar or tries to write elsewhere, what it holds does not open as a task, or
            the disk is full or cannot be written to.
    """
    folder = root / name
    try:
        root.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(root, name)
        with _part_folder(root, name) as part:
            _extract(archive, name, part, on_progress)
            _open_extracted(archive, part / name)
            if os.path.lexists(folder):  # another process was faster
                raise InputError(f"{folder}: is there already; move it away, then fetch the task again.")
            (part / name).rename(folder)
    # gzip's complaint is an OSError, so it comes before that.
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(":")
        raise InputError(
            f"{archive}: not a whole tar archive ({reason}); delete it and fetch the task again."
        ) from None
    except OSError as error:
        raise InputError(_not_written(error, archive, folder)) from None
    return open_task(folder)


def _extract(archive: Path, name: str, part: Path, on_progress: OnProgress) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise InputError("Python: this version extracts archives unsafely; update to 3.10.12, 3.11.4 or later.")
    total = archive.stat().st_size
    with archive.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:*") as tar:
        for member in tar:
            if _belongs(member, name, archive):
                # `data` refuses on its own what `_belongs` does, and takes owners and odd permissions away.
                tar.extract(member, part, filter="data")
                os.utime(part)
                on_progress(stream.tell(), total)
    on_progress(total, total)


def _belongs(member: tarfile.TarInfo, name: str, archive: Path) -> bool:
    """Whether to extract an entry; False for the companions that macOS puts beside every file of the official tasks."""
    parts = PurePosixPath(member.name).parts
    everywhere = PureWindowsPath(member.name)  # knows the separators, drives and roots of both systems
    if any(part.startswith("._") for part in parts) or (not parts and member.isdir()):
        return False
    if everywhere.anchor or ".." in everywhere.parts or parts[:1] != (name,):
        wrong = f"does not lie in {name}/"
    elif not (member.isfile() or member.isdir()):
        wrong = f"is {_KINDS.get(member.type, 'neither a file nor a folder')}"
    else:
        return True
    raise InputError(
        f"{archive}: its entry {member.name!r} {wrong}, so this is no official task; nothing was extracted, delete the "
        "archive."
    )


def _open_extracted(archive: Path, folder: Path) -> None:
    try:
        open_task(folder)
    except InputError as error:
        raise InputError(
            f"{archive}: what it holds is not a task that opens ({error}) Delete the archive and fetch the task again."
        ) from error


@contextmanager
def _part_folder(root: Path, name: str) -> Iterator[Path]:
    """A temporary folder on the same disk as its place, named after the process it belongs to."""
    part = root / f".{name}.{platform.node()}.{os.getpid()}{_PART}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _remove_abandoned(root: Path, name: str) -> None:
    """Removes what killed extractions left, which may be 27 GB."""
    for part in root.glob(f".{name}.*{_PART}"):
        host, _, pid = part.name.removeprefix(f".{name}.").removesuffix(_PART).rpartition(".")
        with contextlib.suppress(OSError):  # finished or removed by another process meanwhile
            # A container gets another host name each time, and a process number may be given again: so by age too.
            dead = host == platform.node() and pid.isdecimal() and not psutil.pid_exists(int(pid))
            if dead or time.time() - part.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(part, ignore_errors=True)


def _not_written(error: OSError, archive: Path, folder: Path) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        size = archive.stat().st_size / 1e9
        return (
            f"{folder}: the disk is too full, the task takes about {size:.1f} GB; make room there, or choose a folder "
            f"on another disk. The archive is kept: {archive}"
        )
    return (
        f"{folder}: cannot be extracted from {archive} ({error.strerror or error}); choose a folder you can write to."
    )
