"""Worker processes as their parent sees them: started, called, limited in time, and outlived."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any

import sambench
from benchmark.measure.worker import Answer, Call, serve

STOP_S = 5.0
"""How long a worker may take to stop when asked; then it is killed."""


class WorkerError(Exception):
    """A call failed, or the worker did; the message says how."""


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker process gets besides its work.

    Attributes:
        variables: environment variables on top of the parent's, set before its libraries are loaded.
        affinity: processors to stay on, where the system allows to say so; None for all.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    affinity: tuple[int, ...] | None = None


class Later:
    """A callable that is unpickled in the worker when it is called, not while its process starts."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._bytes = pickle.dumps(make)

    def __call__(self) -> Any:
        """What the callable makes."""
        return pickle.loads(self._bytes)()  # noqa: S301 - the parent's own bytes


class Worker:
    """A process that holds one object, and answers one call at a time.

    Args:
        name: for messages.
        make: makes the object, in the worker; must be picklable.
        settings: of the process.
        log: where its standard output and error go.
    """

    def __init__(self, name: str, make: Callable[[], Any], settings: WorkerSettings, log: Path) -> None:
        self.name = name
        self._log = log
        context = multiprocessing.get_context("spawn")  # a fork would inherit the parent's threads and memory
        self._connection: Connection
        self._connection, theirs = context.Pipe()
        affinity = settings.affinity if hasattr(os, "sched_setaffinity") else None
        self._process: BaseProcess = context.Process(
            target=serve, args=(theirs, Later(make), affinity, log), name=f"sambench {name}", daemon=True
        )
        with _environment(settings.variables), _born_deaf_to_interrupts(), _the_launcher_as_main_module():
            self._process.start()
        theirs.close()  # or the end of the worker would not end the connection
        self.waited_cpu_s = 0.0

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process.is_alive()

    @property
    def pid(self) -> int | None:
        """Of the process."""
        return self._process.pid

    def call(self, method: str, *arguments: Any, limit_s: float | None = None) -> Any:
        """Calls a method of the worker's object and waits for its answer, without spinning.

        Args:
            method: its name.
            arguments: its arguments; must be picklable.
            limit_s: a worker that has not answered after so long is killed.

        Raises:
            WorkerError: the method raised, the process died, or the limit passed.
        """
        cpu = time.process_time()
        try:
            answer = self._answer(Call(method, arguments), limit_s)
        finally:
            self.waited_cpu_s += time.process_time() - cpu
        if answer.error is not None:
            raise WorkerError(answer.error)
        return answer.value

    def _answer(self, call: Call, limit_s: float | None) -> Answer:
        try:
            self._connection.send(call)
            if not wait([self._connection], timeout=limit_s):
                self.kill()
                raise WorkerError(f"no answer within {limit_s:g} s; the worker was killed")
            answer: Answer = self._connection.recv()
        except (EOFError, ConnectionError, BrokenPipeError):
            raise WorkerError(self._obituary()) from None
        return answer

    def _obituary(self) -> str:
        self._process.join(STOP_S)
        code = self._process.exitcode
        said = self._last_line()
        return f"the worker {death(code)}" + (f"; its last words: {said}" if said else "")

    def _last_line(self) -> str:
        with suppress(OSError):
            lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return lines[-1][:300] if lines else ""
        return ""

    def stop(self) -> None:
        """Lets the process end, and ends it if it does not."""
        with suppress(OSError, ValueError):
            self._connection.send(None)
            self._connection.close()
        self._process.join(STOP_S)
        self.kill()

    def kill(self) -> None:
        """Ends the process at once."""
        if self._process.is_alive():
            self._process.kill()
        self._process.join(STOP_S)


def death(code: int | None) -> str:
    """How a process ended, in words.

    Args:
        code: its exit code; below 0 the signal that ended it.
    """
    if code is None:
        return "closed its connection and hangs"
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    if name == "SIGKILL":
        return "was killed (SIGKILL), as the system does when memory runs out"
    return f"crashed ({name})"


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """The variables for a process that is started within; this process gets its own back."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _born_deaf_to_interrupts() -> Iterator[None]:
    """Ctrl-C reaches the whole group of processes; what it means to a worker is for the parent to decide."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _the_launcher_as_main_module() -> Iterator[None]:
    """A spawned process begins with its parent's main script, by its file; here it begins with the launcher instead.

    So it finds sambench's packages whatever its path and its folder hold, and runs nothing of the parent's script. What
    is sent to a worker must not be defined in the main script.
    """
    before = sys.modules["__main__"]
    launcher = ModuleType("__main__")
    launcher.__file__ = sambench.__file__
    sys.modules["__main__"] = launcher
    try:
        yield
    finally:
        sys.modules["__main__"] = before


@contextmanager
def stopping(workers: Sequence[Worker]) -> Iterator[None]:
    """Ends the workers on the way out: in peace, or at once after an error or an interrupt."""
    try:
        yield
    except BaseException:
        for worker in workers:
            worker.kill()
        raise
    for worker in workers:
        worker.stop()
