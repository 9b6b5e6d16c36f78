"""What runs in a worker process: it answers calls on one object until it is told to stop.

Light on purpose: what the object needs is imported when it is made, after the process has its processors and variables.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from runners.words import words_of


@dataclass(frozen=True)
class Call:
    """A method to call on the worker's object."""

    method: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Answer:
    """What it returned.

    Attributes:
        value: the method's.
        error: how it failed, in a sentence; then there is no value.
    """

    value: Any = None
    error: str | None = None


def serve(connection: Connection, make: Callable[[], Any], affinity: Sequence[int] | None, log: Path) -> None:
    """The main function of a worker process.

    Args:
        connection: to the parent. A parent that is gone ends the worker.
        make: makes the object; it may be slow to unpickle, so it comes wrapped in a `Later`.
        affinity: processors to stay on; None for all.
        log: where the standard output and error of the process go.
    """
    _redirect(log)
    _track_resources_here()
    if affinity is not None:
        os.sched_setaffinity(0, affinity)
    _offer_to_the_kernel()
    with suppress(EOFError, ConnectionError), connection:
        served = make()
        while True:
            call: Call | None = connection.recv()
            if call is None:
                return
            connection.send(_answer(served, call))


def _answer(served: Any, call: Call) -> Answer:
    try:
        return Answer(getattr(served, call.method)(*call.arguments))
    # A backend may raise anything, and the parent is to be told of all of it.
    except Exception as error:
        traceback.print_exc()
        return Answer(error=sentence(error))


def sentence(error: BaseException) -> str:
    """An error in one line."""
    text = words_of(error)
    if isinstance(error, MemoryError) and not text:
        text = "the worker ran out of memory"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _redirect(log: Path) -> None:
    """What libraries print would tear the parent's progress bars apart, and is wanted where one dies."""
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
    os.close(descriptor)


def _track_resources_here() -> None:
    """Gives this process a resource tracker of its own, started when something is registered.

    A spawned process shares its parent's, and if it is killed, what its libraries had registered is told at the
    parent's end: "leaked semaphore objects", which no user can do anything about. One of its own clears up all the
    same, and tells it to the log.
    """
    tracker = getattr(resource_tracker, "_resource_tracker", None)  # Python offers no other way
    shared = getattr(tracker, "_fd", None)
    if tracker is not None and shared is not None:
        tracker._fd = None
        with suppress(OSError):
            os.close(shared)


def _offer_to_the_kernel() -> None:
    """Where memory runs out, Linux should end the worker rather than the parent, which can tell the tale."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
