"""An archive becomes a whole task or nothing, and never writes anywhere else."""

from __future__ import annotations

import errno
import os
import platform
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from benchmark.data import unpack as module
from benchmark.data.msd import open_task
from benchmark.data.unpack import unpack_task
from benchmark.errors import InputError
from tests.benchmark.data.task_archive import CASES, NAME, VOLUME, Entry, entry, task_tar


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of task folders; not made yet."""
    return tmp_path / "a" / "data"


def archive(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / f"{NAME}.tar"
    path.write_bytes(content)
    return path


def refusal(path: Path, root: Path) -> str:
    """The sentence, after which there is nothing but the archive."""
    with pytest.raises(InputError) as caught:
        unpack_task(path, NAME, root)
    assert not root.exists() or not list(root.iterdir())
    assert {found.name for found in path.parent.iterdir()} <= {path.name, "a"}
    told = str(caught.value)
    assert "\n" not in told
    return told


@pytest.mark.parametrize("mode", ["w:", "w:gz"], ids=["plain", "compressed"])
def test_a_task_is_extracted_opened_and_has_no_macos_companions(tmp_path, root, mode):
    task = unpack_task(archive(tmp_path, task_tar(mode=mode)), NAME, root)
    assert task.folder == root / NAME
    assert [files.case for files in task.cases] == list(CASES)
    assert dict(task.labels) == {1: "spleen"}
    assert task.cases[0].image.read_bytes() == VOLUME
    assert [path.name for path in root.iterdir()] == [NAME]
    assert not list(root.rglob("._*"))


def test_progress_grows_to_the_archives_size(tmp_path, root):
    path = archive(tmp_path, task_tar())
    seen: list[tuple[int, int | None]] = []
    unpack_task(path, NAME, root, lambda done, total: seen.append((done, total)))
    size = path.stat().st_size
    assert len(seen) > len(CASES)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {total for _, total in seen} == {size}
    assert seen[-1][0] == size


def test_the_tars_own_permissions_do_not_come_along(tmp_path, root):
    """They are 0o777 in these archives."""
    task = unpack_task(archive(tmp_path, task_tar()), NAME, root)
    assert task.cases[0].image.stat().st_mode & 0o022 == 0


def test_a_dot_before_the_names_and_one_for_the_root_are_no_escape(tmp_path, root):
    extra = [entry("./", kind=tarfile.DIRTYPE), entry(f"./{NAME}/licence.txt", b"CC")]
    unpack_task(archive(tmp_path, task_tar(extra=extra)), NAME, root)
    assert (root / NAME / "licence.txt").read_bytes() == b"CC"


@pytest.mark.parametrize(
    ("evil", "why"),
    [
        (entry("../evil.txt", b"x"), f"does not lie in {NAME}/"),
        (entry(f"{NAME}/../../evil.txt", b"x"), f"does not lie in {NAME}/"),
        (entry(f"{NAME}/a/../../evil.txt", b"x"), f"does not lie in {NAME}/"),
        (entry(f"{NAME}\\..\\evil.txt", b"x"), f"does not lie in {NAME}/"),
        (entry("/tmp/sambench-evil.txt", b"x"), f"does not lie in {NAME}/"),  # noqa: S108
        (entry("C:/evil.txt", b"x"), f"does not lie in {NAME}/"),
        (entry("other/evil.txt", b"x"), f"does not lie in {NAME}/"),
        (entry("evil.txt", b"x"), f"does not lie in {NAME}/"),
        (entry(NAME, kind=tarfile.SYMTYPE, target="/tmp"), "is a symbolic link"),  # noqa: S108
        (entry(f"{NAME}/out", kind=tarfile.SYMTYPE, target="../.."), "is a symbolic link"),
        (entry(f"{NAME}/in", kind=tarfile.SYMTYPE, target="dataset.json"), "is a symbolic link"),
        (entry(f"{NAME}/hard", kind=tarfile.LNKTYPE, target="/etc/passwd"), "is a hard link"),
        (entry(f"{NAME}/null", kind=tarfile.CHRTYPE), "is a device"),
        (entry(f"{NAME}/disk", kind=tarfile.BLKTYPE), "is a device"),
        (entry(f"{NAME}/pipe", kind=tarfile.FIFOTYPE), "is a pipe"),
    ],
    ids=lambda value: value[0].name if isinstance(value, tuple) else "",
)
def test_an_entry_that_could_write_elsewhere_ends_it_all(tmp_path: Path, root: Path, evil: Entry, why: str):
    told = refusal(archive(tmp_path, task_tar(extra=[evil])), root)
    assert f"its entry {evil[0].name!r} {why}" in told
    assert "nothing was extracted" in told
    assert not Path("/tmp/sambench-evil.txt").exists()  # noqa: S108


def test_a_link_under_a_companions_name_is_not_made_either(tmp_path, root):
    extra = [entry("._x", kind=tarfile.SYMTYPE, target="/"), entry("._x/evil", b"x"), entry("../._evil", b"x")]
    unpack_task(archive(tmp_path, task_tar(extra=extra)), NAME, root)
    assert [path.name for path in root.iterdir()] == [NAME]
    assert not list(tmp_path.rglob("*evil"))


@pytest.mark.parametrize("mode", ["w:", "w:gz"], ids=["plain", "compressed"])
@pytest.mark.parametrize("left", [0.0, 0.3, 0.6])
def test_a_truncated_archive_is_to_be_fetched_again(tmp_path, root, mode, left):
    content = task_tar(mode=mode)
    told = refusal(archive(tmp_path, content[: int(len(content) * left)]), root)
    assert "fetch the task again" in told


def test_an_archive_of_something_else_is_no_tar(tmp_path, root):
    assert "not a whole tar archive" in refusal(archive(tmp_path, b"<html>log in</html>" * 100), root)


def test_a_task_that_lacks_files_does_not_appear(tmp_path, root):
    told = refusal(archive(tmp_path, task_tar(cases=(*CASES, "spleen_4"))), root)
    assert "spleen_4.nii.gz: the file is missing" in told


def test_another_tasks_archive_is_refused(tmp_path, root):
    assert f"does not lie in {NAME}/" in refusal(archive(tmp_path, task_tar("Task03_Liver")), root)


def test_a_disk_that_fills_up_leaves_nothing_and_says_that_the_archive_is_kept(tmp_path, root, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = archive(tmp_path, task_tar())
    monkeypatch.setattr(tarfile, "copyfileobj", full)
    told = refusal(path, root)
    assert "the disk is too full" in told
    assert f"The archive is kept: {path}" in told
    assert path.is_file()


def test_a_root_that_is_a_file_is_told(tmp_path):
    (tmp_path / "data").touch()
    with pytest.raises(InputError, match="cannot be extracted"):
        unpack_task(archive(tmp_path, task_tar()), NAME, tmp_path / "data")


def test_a_task_that_appeared_meanwhile_is_left_alone(tmp_path, root):
    path = archive(tmp_path, task_tar())
    first = unpack_task(path, NAME, root)
    (first.folder / "mine.txt").touch()
    with pytest.raises(InputError, match="is there already"):
        unpack_task(path, NAME, root)
    assert (first.folder / "mine.txt").exists()
    assert [found.name for found in root.iterdir()] == [NAME]


def test_an_interruption_leaves_nothing(tmp_path, root):
    def interrupt(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack_task(archive(tmp_path, task_tar()), NAME, root, interrupt)
    assert not list(root.iterdir())


def test_what_a_killed_extraction_leaves_is_no_task_and_the_next_one_removes_it(tmp_path, root):
    path = archive(tmp_path, task_tar())
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom benchmark.data.unpack import unpack_task\n"
        "unpack_task(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]),"
        " lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done > total / 2 else None)"
    )
    killed = subprocess.run([sys.executable, "-c", code, path, NAME, root], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = root.iterdir()
    assert left.name.startswith(f".{NAME}.")
    with pytest.raises(InputError):
        open_task(root / NAME)
    unpack_task(path, NAME, root)
    assert [found.name for found in root.iterdir()] == [NAME]


def test_a_living_extraction_and_a_strangers_folder_are_not_removed(tmp_path, root):
    here = platform.node()
    long_ago = time.time() - 2 * module.ABANDONED_SECONDS
    names = {
        f".{NAME}.{here}.{os.getppid()}.part": None,
        f".{NAME}.elsewhere.7.part": None,
        f".{NAME}.gone-host.7.part": long_ago,
        ".Task03_Liver.elsewhere.7.part": long_ago,
        f"{NAME}.part": long_ago,
    }
    for name, modified in names.items():
        (root / name).mkdir(parents=True)
        if modified:
            os.utime(root / name, (modified, modified))
    unpack_task(archive(tmp_path, task_tar()), NAME, root)
    assert {path.name for path in root.iterdir()} == set(names) - {f".{NAME}.gone-host.7.part"} | {NAME}
