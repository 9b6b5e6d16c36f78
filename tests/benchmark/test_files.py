from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.files import atomic_path, sha256_text, write_text_atomically


def test_a_failure_while_writing_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")

    def interrupted() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_until_the_end_a_reader_sees_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_parents_are_made(tmp_path: Path) -> None:
    write_text_atomically(tmp_path / "a" / "b" / "c.txt", "µ–×")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == "µ–×".encode()


def test_the_temporary_file_is_on_the_same_disk_and_keeps_its_endings(tmp_path: Path) -> None:
    """NumPy, nibabel and PIL look at the ending; a rename is atomic only within a file system."""
    with atomic_path(tmp_path / "case_1.nii.gz") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(".nii.gz")
        assert temporary.name.startswith(".")
        temporary.touch()


def test_the_digest_tells_where_one_part_ends() -> None:
    assert sha256_text("ab", "c") != sha256_text("a", "bc")
    # From `printf abc | sha256sum`.
    assert sha256_text("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
