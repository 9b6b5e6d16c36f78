"""Published files: where checkpoints are, what a file must hash to, and how it comes into the cache.

pooch downloads to a temporary name in the cache, checks the hash and renames, so the final name never holds a half.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pooch
import requests

from exporters.manifest import ExportError

CACHE_VARIABLE = "SAMBENCH_CACHE"

CHUNK_BYTES = 1 << 20
"""pooch's own 1 kB flushes the file and redraws the bar two million times for ViT-H."""

TIMEOUT_SECONDS = 30.0
"""For the connection and for each wait for more bytes, not for the whole download."""

LEFTOVER_SECONDS = 3600.0
"""A temporary file nobody wrote to for so long is of a killed process: a living one gives up after the timeout."""

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes done and the bytes in all, None where the server does not say."""


FOR_EXPORT = "give it to `sambench export sam` with --checkpoint FILE"


@dataclass(frozen=True)
class Published:
    """A file as its authors publish it: a checkpoint, unless it says otherwise.

    Attributes:
        url: where it is.
        file: its name in the cache.
        hash: as pooch writes it, `sha256:…` or `md5:…`.
        bytes: its size where it is known, to find out before the download that the disk is too full.
        folder: where in the cache it is kept.
        by_hand: what to do with a copy from elsewhere, for the complaints.
    """

    url: str
    file: str
    hash: str
    bytes: int | None = None
    folder: str = "checkpoints"
    by_hand: str = FOR_EXPORT


_META = "https://dl.fbaipublicfiles.com/segment_anything"

PUBLISHED: Mapping[str, Published] = {
    "vit_b": Published(
        f"{_META}/sam_vit_b_01ec64.pth",
        "sam_vit_b_01ec64.pth",
        "sha256:ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        375_042_383,
    ),
    "vit_l": Published(
        f"{_META}/sam_vit_l_0b3195.pth",
        "sam_vit_l_0b3195.pth",
        "sha256:3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        1_249_524_607,
    ),
    "vit_h": Published(
        f"{_META}/sam_vit_h_4b8939.pth",
        "sam_vit_h_4b8939.pth",
        "sha256:a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        2_564_550_879,
    ),
    "mobilesam": Published(
        "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/master/weights/mobile_sam.pt",
        "mobile_sam.pt",
        "sha256:6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        40_728_226,
    ),
    "medsam": Published(
        "https://zenodo.org/records/10689643/files/medsam_vit_b.pth",
        "medsam_vit_b.pth",
        # Zenodo publishes no SHA-256. MD5 tells damage, not forgery, but forged weights are still only tensors:
        # `exporters.checkpoint` runs no code out of them.
        "md5:3bb6db55bd0c9ca30b61248bca72f8d6",
        375_049_145,
    ),
}
"""The one table of checkpoints, by model. A model that is not here has its weights in a package."""


def cache_dir() -> Path:
    """`$SAMBENCH_CACHE` if it is set, else the user's cache of this system."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen).expanduser() if chosen else Path(pooch.os_cache("sambench"))


def cached(published: Published) -> Path | None:
    """The file in the cache, if it is there.

    It is not hashed here, since that takes seconds for 2.5 GB and this is asked in passing: the hash is checked when
    the file is downloaded and when the checkpoint is loaded.
    """
    path = place(published)
    return path if path.is_file() else None


def fetch(published: Published, on_progress: OnProgress = lambda done, total: None) -> Path:
    """Brings a published file into the cache.

    A file that is there with the right hash is not downloaded again; one with a wrong hash is replaced, and stays as
    it is if the download fails.

    Args:
        published: what to download.
        on_progress: called about once a megabyte. What it raises ends the download and leaves nothing either.

    Returns:
        The file in the cache.

    Raises:
        ExportError: why it could not be had, and what to do. Nothing half-written is left.
    """
    path = place(published)
    progress = _Progress(on_progress, published.bytes)
    pooch.get_logger().setLevel("WARNING")  # its "Downloading data from …" would break the progress bar
    try:
        _remove_leftovers(path.parent)
        pooch.retrieve(
            published.url,
            published.hash,
            fname=path.name,
            path=path.parent,
            downloader=_downloader(published, progress),
        )
    except requests.RequestException as error:  # first, because it is an OSError, and some are ValueErrors
        raise ExportError(_not_received(error, published, path, answered=progress.total is not None)) from None
    except ValueError as error:
        raise ExportError(_not_as_published(error, published, path)) from None
    except OSError as error:
        raise ExportError(_not_written(error, published, path)) from None
    return path


def place(published: Published) -> Path:
    """Where it is in the cache, or will be."""
    return cache_dir() / published.folder / published.file


class _Progress:
    """What pooch wants of a progress bar, passed on as bytes done and bytes in all."""

    def __init__(self, on_progress: OnProgress, expected: int | None) -> None:
        self.total: int | None = None  # pooch sets it when the server answers, to 0 if that names no length
        self._on_progress = on_progress
        self._expected = expected
        self._done = 0

    def update(self, amount: int) -> None:
        """Counts a chunk. pooch reports the last one as if it were full, and the total once more at the end."""
        total = self.total or self._expected
        self._done = min(self._done + amount, total) if total else self._done + amount
        self._on_progress(self._done, total)

    def reset(self) -> None:
        """Nothing: pooch would start from 0 to fill the bar, which is full."""

    def close(self) -> None:
        """Nothing: the bar belongs to the caller."""


def _downloader(published: Published, progress: _Progress) -> Callable[[str, str, object], None]:
    http = pooch.HTTPDownloader(
        progressbar=progress,
        chunk_size=CHUNK_BYTES,
        timeout=TIMEOUT_SECONDS,
        # Compressed on the way, the announced length would not be the file's.
        headers={"Accept-Encoding": "identity"},
    )

    def download(url: str, output_file: str, caller: object) -> None:
        temporary = Path(output_file)
        if published.bytes and shutil.disk_usage(temporary.parent).free < published.bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        http(url, output_file, caller)
        temporary.chmod(0o644)  # temporary files are their owner's alone, but a cache may be a whole group's

    return download


def _remove_leftovers(folder: Path) -> None:
    """Removes what killed downloads left: pooch clears up after exceptions and Ctrl-C, but a kill leaves gigabytes."""
    for path in folder.glob("tmp*"):
        with contextlib.suppress(OSError):  # another download's, renamed meanwhile; or another user's
            if re.fullmatch(r"tmp[a-z0-9_]{8}", path.name) and time.time() - path.stat().st_mtime > LEFTOVER_SECONDS:
                path.unlink()


def _elsewhere(published: Published, path: Path) -> str:
    return f"download it elsewhere and {published.by_hand}, or put it at {path}"


def _not_received(error: requests.RequestException, published: Published, path: Path, answered: bool) -> str:
    if error.response is not None:
        what = f"the server answered {error.response.status_code} {error.response.reason} for {published.file};"
    elif answered:
        what = f"the connection broke while {published.file} was downloaded ({type(error).__name__}); try again, or"
    else:
        what = f"no connection to download {published.file} ({type(error).__name__});"
    return f"{published.url}: {what} {_elsewhere(published, path)}"


def _not_as_published(error: ValueError, published: Published, path: Path) -> str:
    """Takes both hashes from pooch's message, since the download itself is gone by then."""
    hashes = re.search(r"expected (\S+) but got (\w+)", str(error))
    elsewhere = _elsewhere(published, path)
    if hashes is None:  # a Content-Length that is no number
        return f"{published.url}: the server's answer for {published.file} makes no sense ({error}); {elsewhere}"
    return (
        f"{published.url}: {published.file} has the wrong checksum (expected {hashes[1]}, got {hashes[2]}) and was "
        f"discarded; try again without a proxy or login page in between, or {elsewhere}"
    )


def _not_written(error: OSError, published: Published, path: Path) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        size = f" ({published.bytes / 1e6:.0f} MB)" if published.bytes else ""
        return (
            f"{published.url}: the disk is too full for {published.file}{size} in {path.parent}; make room there, or "
            f"set {CACHE_VARIABLE} to a folder on another disk"
        )
    reason = error.strerror or "permission denied"  # pooch words permission errors anew and drops strerror
    return (
        f"{published.url}: {published.file} cannot be kept at {path} ({reason}); set {CACHE_VARIABLE} to a folder you "
        f"can write to, or download it elsewhere and {published.by_hand}"
    )


def is_published(path: Path, sha256: str, published: Published) -> bool:
    """Whether a file is the published checkpoint.

    Args:
        path: the file.
        sha256: its SHA-256, computed already.
        published: what it is held against; its hash may be of another kind.
    """
    import pooch

    kind, _, expected = published.hash.partition(":")
    return expected == (sha256 if kind == "sha256" else pooch.file_hash(str(path), alg=kind))
