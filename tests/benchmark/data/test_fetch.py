"""An official task is downloaded, held against MONAI's checksum and extracted, or one sentence says why not."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmark.data import fetch as module
from benchmark.data.fetch import fetch_task, official_archive, present_task
from benchmark.data.tasks import OFFICIAL_TASKS
from benchmark.errors import InputError
from exporters.fetch import Published
from exporters.manifest import ExportError
from tests.benchmark.data.task_archive import NAME, entry, task_tar
from tests.web import Web, serving

BODY = task_tar()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Web]:
    """Serves the archive instead of the real place, and the cache is the test's own."""
    monkeypatch.setenv("SAMBENCH_CACHE", str(tmp_path / "cache"))
    with serving(BODY, monkeypatch) as server:
        publish(monkeypatch, server, BODY)
        yield server


def publish(monkeypatch: pytest.MonkeyPatch, web: Web, body: bytes) -> None:
    here = Published(
        web.url(f"{NAME}.tar"),
        f"{NAME}.tar",
        f"md5:{hashlib.md5(body).hexdigest()}",  # noqa: S324
        folder="msd",
        by_hand="unpack it",
    )
    monkeypatch.setattr(module, "official_archive", lambda name: here)
    web.body, web.announced = body, len(body)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Where the cache has it."""
    return tmp_path / "cache" / "msd" / f"{NAME}.tar"


class Bars:
    """What was shown: what was done to which file, and the bytes."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, str]] = []
        self.bytes: list[list[tuple[int, int | None]]] = []

    @contextmanager
    def __call__(self, file: str, doing: str) -> Iterator[Any]:
        self.shown.append((file, doing))
        seen: list[tuple[int, int | None]] = []
        self.bytes.append(seen)
        yield lambda done, total: seen.append((done, total))


def test_a_task_comes_out_and_its_archive_goes(web, root, archive):
    bars = Bars()
    task = fetch_task(NAME, root, bars)
    assert task.folder == root / NAME
    assert len(task.cases) == 2
    assert bars.shown == [(f"{NAME}.tar", "downloading"), (NAME, "extracting")]
    assert [seen[-1] for seen in bars.bytes] == [(len(BODY), len(BODY))] * 2
    assert not archive.exists()
    assert [path.name for path in root.iterdir()] == [NAME]


def test_an_archive_can_be_kept_and_is_then_not_downloaded_again(web, root, archive):
    fetch_task(NAME, root, Bars(), keep_archive=True)
    assert archive.read_bytes() == BODY
    shutil.rmtree(root)
    fetch_task(NAME, root, Bars())
    assert web.hits == 1


def test_a_task_that_is_there_is_opened_and_one_that_is_not_is_none(web, root):
    assert present_task(NAME, root) is None
    fetched = fetch_task(NAME, root, Bars())
    assert present_task(NAME, root) == fetched


def test_a_broken_folder_is_named_with_the_reason_and_the_mend(root):
    (root / NAME / "imagesTr").mkdir(parents=True)
    with pytest.raises(InputError) as caught:
        present_task(NAME, root)
    told = str(caught.value)
    assert told.startswith(f"{root / NAME}: is there but does not open (")
    assert "dataset.json is not" in told
    assert told.endswith("Delete it or move it away, then fetch the task again.")


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_whatever_else_has_the_tasks_name_is_in_the_way(root, kind):
    root.mkdir()
    (root / NAME).touch() if kind == "file" else (root / NAME).symlink_to("nowhere")
    with pytest.raises(InputError, match="is there but does not open"):
        present_task(NAME, root)


def test_a_wrong_checksum_is_told_and_nothing_is_extracted(web, root, archive):
    web.body = BODY[:-1] + b"!"
    with pytest.raises(ExportError, match=r"wrong checksum \(expected md5:.* unpack it"):
        fetch_task(NAME, root, Bars())
    assert not root.exists()
    assert not archive.exists()


def test_a_truncated_download_is_told(web, root, archive):
    web.announced = len(BODY) + 10
    with pytest.raises(ExportError, match="the connection broke"):
        fetch_task(NAME, root, Bars())
    assert not root.exists()
    assert not list(archive.parent.iterdir())


def test_no_server_says_how_to_do_without(web, root, archive):
    web.shutdown()
    web.server_close()
    with pytest.raises(ExportError) as caught:
        fetch_task(NAME, root, Bars())
    told = str(caught.value)
    assert "no connection" in told
    assert f"download it elsewhere and unpack it, or put it at {archive}" in told
    assert "checkpoint" not in told


def test_a_malicious_archive_with_the_right_checksum_writes_nothing(web, root, archive, monkeypatch):
    publish(monkeypatch, web, task_tar(extra=[entry("../../evil", b"x")]))
    with pytest.raises(InputError, match="delete the archive"):
        fetch_task(NAME, root, Bars())
    assert not list(root.iterdir())
    assert archive.exists(), "the sentence speaks of it"


def disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    usage = shutil.disk_usage(Path.cwd())._replace(free=free)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: usage)


def test_a_disk_too_full_for_archive_and_task_ends_the_download_at_its_start(web, root, archive, monkeypatch):
    disk(monkeypatch, len(BODY) - 1)
    bars = Bars()
    with pytest.raises(InputError) as caught:
        fetch_task(NAME, root, bars)
    told = str(caught.value)
    assert "still needs" in told
    assert "SAMBENCH_CACHE" in told
    assert bars.bytes == [[]]
    assert not list(archive.parent.iterdir())
    assert not root.exists()


def test_one_disk_for_both_must_hold_the_archive_twice(root, archive, monkeypatch):
    disk(monkeypatch, 19)
    with pytest.raises(InputError, match="still needs"):
        module._check_room(10, 10, archive, root)
    module._check_room(10, 9, archive, root)


def test_an_archive_that_is_there_needs_room_for_the_task_alone(web, root, archive, monkeypatch):
    archive.parent.mkdir(parents=True)
    archive.write_bytes(BODY)
    disk(monkeypatch, len(BODY) - 1)
    with pytest.raises(InputError, match="still needs"):
        fetch_task(NAME, root, Bars())
    disk(monkeypatch, len(BODY))
    assert fetch_task(NAME, root, Bars()).folder == root / NAME
    assert web.hits == 0


def test_a_server_that_names_no_size_is_believed(web, root):
    web.announced = None
    assert fetch_task(NAME, root, Bars()).folder == root / NAME


def test_a_folder_that_cannot_be_written_to_is_told_before_the_download(web, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: is a file, not a folder"):
        fetch_task(NAME, tmp_path / "file" / "data", Bars())
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(InputError, match="you may not write there"):
        fetch_task(NAME, tmp_path / "new" / "data", Bars())
    assert web.hits == 0


def test_monai_knows_a_place_and_a_checksum_of_each_official_task():
    archives = [official_archive(name) for name in OFFICIAL_TASKS]
    for name, published in zip(OFFICIAL_TASKS, archives, strict=True):
        assert published.file == f"{name}.tar"
        assert published.url.startswith("https://")
        assert published.url.endswith(f"/{name}.tar")
        assert re.fullmatch(r"md5:[0-9a-f]{32}", published.hash)
    assert len({published.hash for published in archives}) == 10
    assert replace(archives[0]).folder == "msd"
