"""A download ends with the published file or with one sentence, and never with half a file."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pooch
import pytest

from exporters import fetch as module
from exporters.fetch import PUBLISHED, Published, cache_dir, cached, fetch
from exporters.manifest import ExportError
from tests.web import Web, serving

BODY = bytes(range(256)) * 10_000  # two chunks and a half
HASH = hashlib.sha256(BODY).hexdigest()
FILE = "weights.pth"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    with serving(BODY, monkeypatch) as server:
        yield server


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where checkpoints are kept; not made yet."""
    monkeypatch.setenv("SAMBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "checkpoints"


@pytest.fixture
def published(web: Web, folder: Path) -> Published:
    return Published(web.url(FILE), FILE, f"sha256:{HASH}")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refusal(published: Published) -> str:
    """The sentence, which always names the URL, the file and what to do."""
    with pytest.raises(ExportError) as caught:
        fetch(published)
    told = str(caught.value)
    assert told.startswith(f"{published.url}: ")
    assert published.file in told.removeprefix(published.url)
    assert "--checkpoint FILE" in told or "SAMBENCH_CACHE" in told
    assert "\n" not in told
    return told


def test_a_download_is_the_published_file_under_its_own_name(published, folder):
    assert cached(published) is None
    path = fetch(published)
    assert path == folder / FILE
    assert path.read_bytes() == BODY
    assert names(folder) == [FILE]
    assert cached(published) == path
    assert path.stat().st_mode & 0o777 == 0o644, "a cache shared by a group is of use to all of it"


def test_a_file_with_the_right_hash_is_not_downloaded_again(published, web):
    before = fetch(published).stat().st_mtime_ns
    assert fetch(published).stat().st_mtime_ns == before
    assert web.hits == 1


def test_a_file_put_there_by_hand_is_taken(published, web, folder):
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(BODY)
    assert fetch(published) == folder / FILE
    assert web.hits == 0


def test_a_damaged_file_is_replaced(published, web, folder):
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(BODY[:-1])
    assert fetch(published).read_bytes() == BODY
    assert web.hits == 1
    assert names(folder) == [FILE]


def test_an_md5_is_checked_too(published):
    right = replace(published, hash=f"md5:{hashlib.md5(BODY).hexdigest()}")  # noqa: S324
    assert fetch(right).read_bytes() == BODY
    assert "md5:0000" in refusal(replace(right, file="other.pth", hash="md5:" + "0" * 32))


@pytest.mark.parametrize("announced", [len(BODY), None], ids=["length", "no length"])
def test_progress_grows_to_exactly_the_size(published, web, announced):
    web.announced = announced
    seen: list[tuple[int, int | None]] = []
    fetch(replace(published, bytes=len(BODY)), lambda done, total: seen.append((done, total)))
    dones = [done for done, _ in seen]
    assert len(set(dones)) == 3
    assert dones == sorted(dones)
    assert {total for _, total in seen} == {len(BODY)}
    assert dones[-1] == len(BODY)


def test_progress_without_any_size_claims_no_total(published, web):
    web.announced = None
    seen: list[tuple[int, int | None]] = []
    fetch(published, lambda done, total: seen.append((done, total)))
    assert [total for _, total in seen] == [None] * len(seen)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_wrong_checksum_says_both_and_leaves_nothing(published, web, folder):
    web.body = BODY[::-1]
    told = refusal(published)
    assert f"expected sha256:{HASH}, got {hashlib.sha256(web.body).hexdigest()}" in told
    assert "discarded" in told
    assert names(folder) == []


def test_a_failed_replacement_keeps_what_was_there(published, web, folder):
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(b"older weights")
    web.status = 503
    refusal(published)
    assert (folder / FILE).read_bytes() == b"older weights"
    assert names(folder) == [FILE]


@pytest.mark.parametrize(("status", "words"), [(404, "404 Not Found"), (503, "503 Service Unavailable")])
def test_an_error_of_the_server_is_told(published, web, folder, status, words):
    web.status = status
    told = refusal(published)
    assert words in told
    assert f"put it at {folder / FILE}" in told
    assert names(folder) == []


def test_no_connection_says_how_to_do_without(published, web, folder):
    web.shutdown()
    web.server_close()  # its port now refuses
    told = refusal(published)
    assert "no connection" in told
    assert f"give it to `sambench export sam` with --checkpoint FILE, or put it at {folder / FILE}" in told
    assert names(folder) == []


def test_a_truncated_body_is_no_file(published, web, folder):
    web.announced = len(BODY) + 10
    assert "the connection broke" in refusal(published)
    assert names(folder) == []


def test_a_server_that_falls_silent_is_given_up(published, web, folder, monkeypatch):
    ended = threading.Event()
    web.announced, web.after_body = len(BODY) + 10, lambda: ended.wait(300)
    try:
        for patience in (0.3, 3.0, 30.0):  # a busy machine may take longer than the first to send the body at all
            monkeypatch.setattr(module, "TIMEOUT_SECONDS", patience)
            told = refusal(published)
            if web.hits and "the connection broke" in told:
                break
        assert "the connection broke" in told
    finally:
        ended.set()
    assert names(folder) == []


def test_a_senseless_length_is_told(published, web, folder):
    web.announced = "many"
    refusal(published)
    assert names(folder) == []


@pytest.mark.parametrize("place", ["cache", "checkpoints"])
def test_a_file_in_the_folders_place_is_told(published, web, folder, place):
    blocked = folder if place == "checkpoints" else folder.parent
    blocked.parent.mkdir(exist_ok=True)
    blocked.touch()
    told = refusal(published)
    assert f"cannot be kept at {folder / FILE}" in told
    assert web.hits == 0


def test_a_folder_in_the_files_place_is_told(published, folder):
    (folder / FILE).mkdir(parents=True)
    assert cached(published) is None
    assert "cannot be kept" in refusal(published)


def test_a_cache_without_permission_names_the_variable(published, folder, monkeypatch):
    """The refusal is made up where the tests run as root, which may write anywhere."""

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    folder.mkdir(parents=True)
    if os.geteuid() == 0:
        monkeypatch.setattr("tempfile.NamedTemporaryFile", denied)
    folder.chmod(0o500)
    told = refusal(published)
    folder.chmod(0o700)
    assert "permission denied" in told
    assert "set SAMBENCH_CACHE" in told


def test_a_disk_too_full_is_told_before_the_download(published, web, folder):
    told = refusal(replace(published, bytes=1 << 60))
    assert "too full" in told
    assert f"MB) in {folder}" in told
    assert web.hits == 0
    assert names(folder) == []


def test_a_disk_that_fills_up_on_the_way_is_told(published, folder, monkeypatch):
    def full(self: object, url: str, output_file: str, caller: object) -> None:
        Path(output_file).write_bytes(BODY[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", full)
    assert "too full" in refusal(published)
    assert names(folder) == []


def test_ctrl_c_in_mid_download_leaves_nothing(published, web, folder):
    """A real signal, sent while the rest of the body is waited for."""
    ended = threading.Event()

    def interrupt() -> None:
        deadline = time.monotonic() + 300
        while not any(path.stat().st_size for path in folder.glob("tmp*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        ended.wait(300)

    web.announced, web.after_body = len(BODY) + 10, interrupt
    try:
        with pytest.raises(KeyboardInterrupt):
            fetch(published)
    finally:
        ended.set()
    assert names(folder) == []
    web.announced, web.after_body = len(BODY), lambda: None
    assert fetch(published).read_bytes() == BODY


def test_what_a_killed_download_left_is_removed_and_nothing_else(published, folder):
    folder.mkdir(parents=True)
    old = time.time() - 2 * module.LEFTOVER_SECONDS
    for name, modified in (("tmpab12_xyz", old), ("tmp0000living", old), ("tmpliving_0", None), ("tmp_mine.pth", old)):
        (folder / name).write_bytes(b"half")
        if modified:
            os.utime(folder / name, (modified, modified))
    fetch(published)
    assert names(folder) == ["tmp0000living", "tmp_mine.pth", "tmpliving_0", FILE]


def test_two_downloads_at_once_both_get_the_file(published, folder):
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(fetch(published))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [folder / FILE] * 4
    assert (folder / FILE).read_bytes() == BODY
    assert names(folder) == [FILE]


def test_pooch_says_nothing_itself(published, capfd):
    fetch(published)
    assert capfd.readouterr() == ("", "")


def test_the_cache_is_the_variables_or_the_systems(monkeypatch, tmp_path):
    monkeypatch.setenv("SAMBENCH_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.setenv("SAMBENCH_CACHE", "~/weights")
    assert cache_dir() == Path.home() / "weights"
    for name in ("", None):
        monkeypatch.setenv("SAMBENCH_CACHE", "") if name == "" else monkeypatch.delenv("SAMBENCH_CACHE")
        assert cache_dir() == pooch.os_cache("sambench")


def test_the_table_is_well_formed():
    """A digit lost here would show only after gigabytes of download."""
    lengths = {"sha256": 64, "md5": 32}
    for published in PUBLISHED.values():
        algorithm, _, digest = published.hash.partition(":")
        assert re.fullmatch(rf"[0-9a-f]{{{lengths[algorithm]}}}", digest)
        assert published.url.startswith("https://")
        assert published.url.endswith(f"/{published.file}")
    for values in zip(*[(p.file, p.hash, p.url) for p in PUBLISHED.values()], strict=True):
        assert len(set(values)) == len(PUBLISHED)
