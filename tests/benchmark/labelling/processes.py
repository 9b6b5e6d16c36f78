"""The real command line in a process of its own, with a SAM of a few operators, so that it can be killed.

The processes are forked from one that has imported everything, which takes ten seconds once and not every time.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import monai.metrics  # noqa: F401 - what a labelling imports late
import onnx.parser  # noqa: F401
import onnxruntime  # noqa: F401

from benchmark import cli
from benchmark.labelling import job
from benchmark.stages.base import Outcome
from benchmark.stages.pseudolabel import Prepared, PseudolabelPipeline
from tests.benchmark.fake_sam import FakeSam

CHANGES = {"os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.utime", "os.truncate"}
WRITES = os.O_WRONLY | os.O_RDWR

BEGUN, GO = "begun", "go"
"""Files in the cache: the process is at its first slice, and the one that holds may go on."""


def start(
    words: Sequence[object], cache: Path, slice_s: float = 0.0, dies_at: int | None = None, holds_at: int | None = None
) -> Any:
    """Begins `sambench label …`.

    Args:
        words: what follows `label`.
        cache: of exported models; what is printed goes to a file in it.
        slice_s: how long each slice takes at least.
        dies_at: the process kills itself just before the change of that number to the file system.
        holds_at: the slice of that number, counted from 0, waits for `let_go`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    arguments = ([str(word) for word in words], str(cache), slice_s, dies_at, holds_at)
    process = context.Process(target=_label, args=arguments, daemon=True)
    process.start()
    return process


def let_go(cache: Path) -> None:
    """Lets a process go on that holds at a slice."""
    (cache / GO).touch()


def printed(cache: Path) -> str:
    """What the last process printed."""
    return (cache / "printed.txt").read_text(encoding="utf-8")


def _label(words: list[str], cache: str, slice_s: float, dies_at: int | None, holds_at: int | None) -> None:
    Path(cache).mkdir(exist_ok=True)
    descriptor = os.open(Path(cache) / "printed.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ["SAMBENCH_CACHE"] = cache
    job.load_sam = lambda name, checkpoint, masks: FakeSam()  # type: ignore[assignment]
    finish, slices = PseudolabelPipeline.finish, itertools.count()

    def slowly(self: PseudolabelPipeline, prepared: Prepared) -> Outcome:
        (Path(cache) / BEGUN).touch()
        time.sleep(slice_s)
        if next(slices) == holds_at:
            while not (Path(cache) / GO).exists():
                time.sleep(0.01)
        return finish(self, prepared)

    PseudolabelPipeline.finish = slowly  # type: ignore[method-assign]
    if dies_at is not None:
        _die_at(dies_at, words[words.index("--out") + 1])
    sys.argv = ["sambench", "label", *words]
    cli.main()


def _die_at(number: int, folder: str) -> None:
    """Counts what changes the folder, and kills the process before the change of this number."""
    changes = 0

    def watch(event: str, args: tuple[Any, ...]) -> None:
        nonlocal changes
        changing = event in CHANGES or (event == "open" and isinstance(args[2], int) and bool(args[2] & WRITES))
        # Names relative to an open folder are of `shutil.rmtree`.
        if changing and any(str(arg).startswith(folder) or not str(arg).startswith("/") for arg in args[:1]):
            if changes == number:
                os.kill(os.getpid(), signal.SIGKILL)
            changes += 1

    sys.addaudithook(watch)
