"""`sambench fetch sam`: what it prints, where, and how it ends."""

from __future__ import annotations

import hashlib
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.console import download_bar
from exporters.fetch import Published
from exporters.sam import SAM_MODELS
from tests.web import Web, serving

BODY = b"weights" * 300_000


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Web]:
    """Serves vit_b's checkpoint, and the cache is the test's own."""
    monkeypatch.setenv("SAMBENCH_CACHE", str(tmp_path))
    with serving(BODY, monkeypatch) as server:
        here = Published(server.url("vit_b.pth"), "vit_b.pth", f"sha256:{hashlib.sha256(BODY).hexdigest()}")
        monkeypatch.setitem(SAM_MODELS, "vit_b", replace(SAM_MODELS["vit_b"], published=here))
        yield server


def test_stdout_is_the_path_alone_so_that_it_can_be_given_to_checkpoint(sambench, web, tmp_path):
    code, out, err = sambench("fetch", "sam", "vit_b")
    assert code == 0
    assert out == f"{tmp_path / 'checkpoints' / 'vit_b.pth'}\n"
    assert Path(out.strip()).read_bytes() == BODY
    first, last = err.splitlines()
    assert first == "downloading vit_b.pth (2.1 MB)"
    assert last.startswith("vit_b: 2.1 MB, licence")


def test_the_second_time_nothing_is_downloaded(sambench, web):
    before = sambench("fetch", "sam", "vit_b")
    code, out, err = sambench("fetch", "sam", "vit_b")
    assert (code, out) == before[:2]
    assert "downloading" not in err
    assert web.hits == 1


def test_an_unknown_model_is_refused_with_the_known_ones(sambench, web):
    code, out, err = sambench("fetch", "sam", "vit_x")
    assert (code, out) == (2, "")
    assert err.startswith("error: fetch sam: 'vit_x' is not known; choose from ")
    for name in SAM_MODELS:
        assert name in err
    assert web.hits == 0


def test_weights_of_a_package_need_no_download(sambench, web):
    code, out, _ = sambench("fetch", "sam", "litemedsam")
    assert code == 0
    assert out.startswith("litemedsam: nothing needs to be downloaded")
    assert web.hits == 0


def test_a_failure_is_one_sentence_and_exit_code_2(sambench, web):
    web.status = 404
    code, out, err = sambench("fetch", "sam", "vit_b")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {web.url('vit_b.pth')}: the server answered 404")
    assert len(err.splitlines()) == 1


def test_an_interruption_is_told_and_leaves_nothing(sambench, web, monkeypatch, tmp_path):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("exporters.fetch._Progress.update", interrupted)
    code, out, err = sambench("fetch", "sam", "vit_b")
    assert (code, out) == (130, "")
    assert err == "error: interrupted; nothing half-written is kept, run the same command again\n"
    assert not any((tmp_path / "checkpoints").iterdir())


def test_a_log_gets_one_line(capsys):
    with download_bar("weights.pth") as on_progress:
        for done in range(5):
            on_progress(done, None)
    assert capsys.readouterr() == ("", "downloading weights.pth\n")


def test_a_terminal_gets_bytes_speed_and_time():
    code = (
        "import time\nfrom benchmark.console import download_bar\n"
        "with download_bar('weights.pth') as on_progress:\n"
        "    for done in range(1, 4):\n        on_progress(done * 10**6, 4 * 10**6)\n        time.sleep(0.2)\n"
    )
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True, env=environment)
    os.close(theirs)
    shown = os.read(ours, 1 << 20).decode()
    os.close(ours)
    assert "weights.pth" in shown
    assert "3.0/4.0 MB" in shown
    assert "MB/s" in shown
    assert "0:00:0" in shown
