"""Files are told apart by what they hold, and are not read twice for it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from benchmark.data import digests
from benchmark.data.digests import content_digests


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAMBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / digests.DIGESTS


def test_a_digest_is_of_the_content_alone(tmp_path: Path, cache: Path) -> None:
    one, copy, other = (tmp_path / name for name in ("one", "copy", "other"))
    one.write_bytes(b"scan")
    copy.write_bytes(b"scan")
    other.write_bytes(b"scam")
    os.utime(copy, (1, 1))
    found = content_digests([one, copy, other])
    assert found == [hashlib.sha256(content).hexdigest() for content in (b"scan", b"scan", b"scam")]


def test_a_file_is_read_once_a_version(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "scan"
    file.write_bytes(b"first")
    read: list[Path] = []
    really = digests.sha256_file
    monkeypatch.setattr(digests, "sha256_file", lambda path: read.append(path) or really(path))
    first = content_digests([file])
    assert content_digests([file]) == first and len(read) == 1
    file.write_bytes(b"longer than before")
    assert content_digests([file]) != first and len(read) == 2


@pytest.mark.parametrize("content", ["", "no json", "[]", '{"x": 1}', '{"x": [1, 2]}'])
def test_a_damaged_store_is_no_store(content: str, tmp_path: Path, cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text(content, encoding="utf-8")
    file = tmp_path / "scan"
    file.write_bytes(b"scan")
    assert content_digests([file]) == [hashlib.sha256(b"scan").hexdigest()]


def test_a_store_that_cannot_be_written_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"x")
    monkeypatch.setenv("SAMBENCH_CACHE", str(tmp_path / "file"))
    assert len(content_digests([tmp_path / "file"])) == 1
