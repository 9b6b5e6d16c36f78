"""`sambench label` killed: whatever the moment, the same command ends in the same bytes."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.errors import InputError
from tests.benchmark.conftest import MakeTask
from tests.benchmark.labelling.conftest import Label, boxes, content, greys
from tests.benchmark.labelling.processes import BEGUN, let_go, printed, start

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked from one that has it all loaded")

TIMEOUT_S = 300
"""Only what hangs takes so long."""
KILLS = 10


def finish(process: Any) -> int:
    process.join(TIMEOUT_S)
    assert process.exitcode is not None, "it hangs"
    return int(process.exitcode)


def wait_for(path: Path) -> None:
    started = time.monotonic()
    while not path.exists():
        assert time.monotonic() - started < TIMEOUT_S
        time.sleep(0.01)


def command(task: Path, out: Path) -> list[object]:
    return ["--data", task, "--out", out, "--threads", 1]


def require_no_broken_file(out: Path, whole: dict[str, bytes]) -> None:
    """What lies outside the work folder is whole, and nothing else lies there."""
    for name, data in (content(out) if out.is_dir() else {}).items():
        assert name in whole, f"{name} is a temporary file outside .sambench"
        assert data == whole[name], name


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.mark.slow
def test_killed_before_any_change_to_the_folder_it_goes_on(
    make_task: MakeTask, label: Label, tmp_path: Path, cache: Path
) -> None:
    """Every write, link, rename and removal in turn: also the moments too short for chance to hit."""
    task = make_task(image=greys(), label=boxes(), cases=("case_1", "case_2"))
    label(task, tmp_path / "whole")
    whole, out = content(tmp_path / "whole"), tmp_path / "out"
    for moment in range(500):
        code = finish(start(command(task, out), cache, dies_at=moment))
        require_no_broken_file(out, whole)
        if code == 0:
            break
        assert code == -signal.SIGKILL, f"change {moment}: {printed(cache)}"
    assert moment > 20 and content(out) == whole


def test_killed_at_random_moments_it_gives_the_bytes_of_an_undisturbed_run(
    make_task: MakeTask, label: Label, tmp_path: Path, cache: Path
) -> None:
    task = make_task(image=greys(), label=boxes(), cases=tuple(f"case_{number}" for number in range(12)))
    label(task, tmp_path / "whole")
    whole, out = content(tmp_path / "whole"), tmp_path / "out"
    moments = np.random.default_rng(0)
    kills = finished = 0
    while kills < KILLS or not finished:
        (cache / BEGUN).unlink(missing_ok=True)
        process = start(command(task, out), cache, slice_s=0.01)
        if kills < KILLS:
            # Half of the moments count from its first slice: on a busy machine it may not come to one in time.
            while kills % 2 and process.is_alive() and not (cache / BEGUN).exists():
                time.sleep(0.001)
            time.sleep(moments.uniform(0, 0.8))
            process.kill()
        code = finish(process)
        require_no_broken_file(out, whole)
        assert code in (0, -signal.SIGKILL), printed(cache)
        kills += code != 0
        if code == 0:
            assert content(out) == whole
            finished += 1
            shutil.rmtree(out)
    assert kills == KILLS


def test_a_second_process_is_refused_and_the_first_one_finishes_undisturbed(
    task: Path, label: Label, tmp_path: Path, cache: Path
) -> None:
    label(task, tmp_path / "whole")
    out = tmp_path / "out"
    first = start(command(task, out), cache, holds_at=2)
    wait_for(out / ".sambench/writing")
    half_written = out / ".sambench/writing/half_written"
    half_written.touch()
    for _ in range(3):
        with pytest.raises(InputError, match=f"process {first.pid} is running in it"):
            label(task, out)
    assert half_written.exists(), "it is the first one's"
    let_go(cache)
    assert finish(first) == 0, printed(cache)
    assert content(out) == content(tmp_path / "whole")


def test_ctrl_c_ends_with_a_sentence_and_keeps_what_is_finished(
    task: Path, label: Label, tmp_path: Path, cache: Path
) -> None:
    out = tmp_path / "out"
    process = start(command(task, out), cache, holds_at=4)  # the second case's first slice
    wait_for(out / ".sambench/cases/case_1.json")
    os.kill(process.pid, signal.SIGINT)
    assert finish(process) == 130
    assert "run the same command again to go on" in printed(cache) and "Traceback" not in printed(cache)
    assert label(task, out).labelled == 2
