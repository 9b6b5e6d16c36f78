"""`sambench fetch msd`: what it prints, where, and how it ends."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.data.tasks import OFFICIAL_TASKS
from exporters.fetch import Published
from tests.benchmark.data.task_archive import NAME, task_tar
from tests.web import Web, serving

BODY = task_tar()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Web]:
    """Serves Task09's archive; the cache and the current folder are the test's own."""
    monkeypatch.setenv("SAMBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    with serving(BODY, monkeypatch) as server:
        digest = hashlib.md5(BODY).hexdigest()  # noqa: S324
        here = Published(server.url(f"{NAME}.tar"), f"{NAME}.tar", f"md5:{digest}", folder="msd")
        monkeypatch.setattr("benchmark.data.fetch.official_archive", lambda name: here)
        yield server


def test_stdout_is_the_folder_alone_and_stderr_says_what_is_in_it(sambench, web, tmp_path):
    code, out, err = sambench("fetch", "msd", NAME)
    assert (code, out) == (0, f"data/{NAME}\n")
    assert (tmp_path / "data" / NAME / "dataset.json").is_file()
    lines = err.splitlines()
    assert [line.split(" (")[0] for line in lines[:2]] == [f"downloading {NAME}.tar", f"extracting {NAME}"]
    assert lines[2:] == [
        f"{NAME}: extracted; licence of the data: CC-BY-SA 4.0",
        f"{NAME}: CT, shown by CT window level 40, width 400 HU; labels 1 spleen; 2 cases",
    ]
    assert not list((tmp_path / "cache" / "msd").iterdir())


def test_the_folder_of_folders_can_be_chosen_and_the_archive_kept(sambench, web, tmp_path):
    code, out, _ = sambench("fetch", "msd", NAME, "--out", tmp_path / "msd", "--keep-archive")
    assert (code, out) == (0, f"{tmp_path / 'msd' / NAME}\n")
    assert (tmp_path / "cache" / "msd" / f"{NAME}.tar").read_bytes() == BODY


def test_the_second_time_nothing_is_downloaded_nor_extracted(sambench, web, tmp_path):
    before = sambench("fetch", "msd", NAME)
    kept = (tmp_path / "data" / NAME).stat().st_mtime_ns
    code, out, err = sambench("fetch", "msd", NAME)
    assert (code, out) == before[:2]
    assert err.startswith(f"{NAME}: is there already, nothing is downloaded\n")
    assert "licence" not in err, "it may be another task under an official name"
    assert web.hits == 1
    assert (tmp_path / "data" / NAME).stat().st_mtime_ns == kept


def test_a_broken_task_is_named_and_left_alone(sambench, web, tmp_path):
    sambench("fetch", "msd", NAME)
    shutil.rmtree(tmp_path / "data" / NAME / "labelsTr")
    code, out, err = sambench("fetch", "msd", NAME)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: data/{NAME}: is there but does not open ({NAME}/labelsTr/spleen_2.nii.gz: ")
    assert len(err.splitlines()) == 1
    assert (tmp_path / "data" / NAME / "dataset.json").exists()


@pytest.mark.parametrize("name", ["Task11_Teeth", "Task09", "spleen", "../Task09_Spleen", ""])
def test_an_unknown_task_is_refused_with_the_ten(sambench, web, name):
    code, out, err = sambench("fetch", "msd", name)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: fetch msd: {name!r} is not an official task; choose from ")
    for official in OFFICIAL_TASKS:
        assert official in err
    assert len(err.splitlines()) == 1
    assert web.hits == 0


def test_a_failed_download_is_one_sentence_and_exit_code_2(sambench, web):
    web.status = 404
    code, out, err = sambench("fetch", "msd", NAME)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {web.url(f'{NAME}.tar')}: the server answered 404")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("where", ["exporters.fetch._Progress.update", "tarfile.TarFile.extract"])
def test_an_interruption_is_told_and_leaves_no_half(sambench, web, monkeypatch, tmp_path, where):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupted)
    code, out, err = sambench("fetch", "msd", NAME)
    assert (code, out) == (130, "")
    assert err.endswith("error: interrupted; nothing half-written is kept, run the same command again\n")
    assert not list(tmp_path.glob("data/*"))
    assert not list(tmp_path.glob("data/.*"))
