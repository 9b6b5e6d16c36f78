"""The source's images in the output folder: as links, so that a task of 500 GB is not there twice."""

from __future__ import annotations

import glob
import os
import shutil
from pathlib import Path

from benchmark.data.msd import CaseFiles, case_id

TIME_TOLERANCE_S = 2.0
"""FAT keeps times to two seconds."""


def source_images(files: CaseFiles) -> list[Path]:
    """The image files of a case: one, or in nnU-Net's layout one a channel."""
    if case_id(files.image.name) == files.case:
        return [files.image]
    return sorted(files.image.parent.glob(f"{glob.escape(files.case)}_[0-9][0-9][0-9][0-9]{ending(files.image)}"))


def ending(path: Path) -> str:
    """`.nii` or `.nii.gz`."""
    return path.name[len(case_id(path.name)) :]


def label_name(files: CaseFiles) -> str:
    """The pseudo label's file name. nnU-Net's converter finds a case's label by the name of its image."""
    own = files.label.name
    return own if case_id(own) == files.case else f"{files.case}{ending(files.image)}"


def is_placed(image: Path, place: Path) -> bool:
    """Whether a file in the output folder is this image: linked, or a copy that nobody changed since."""
    try:
        there, source = place.stat(), image.stat()
    except OSError:
        return False
    if os.path.samestat(there, source):
        return True
    # A link that was parted from its source, by an editor that writes anew, has another time or size too.
    return there.st_size == source.st_size and abs(there.st_mtime - source.st_mtime) <= TIME_TOLERANCE_S


def place_image(image: Path, place: Path, temporary: Path) -> None:
    """Links an image into the output folder, or copies it where that cannot be.

    Args:
        image: the source's; it is only read.
        place: where it shall be.
        temporary: a name on the same disk, of which nothing is left.
    """
    if is_placed(image, place):
        return
    temporary.unlink(missing_ok=True)
    try:
        os.link(image.resolve(), temporary)
    except OSError:  # another disk, or a system without hard links
        shutil.copyfile(image, temporary)
        stat = image.stat()
        os.utime(temporary, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    temporary.replace(place)
