"""A worker that is no process: what it holds is called right here. For tests of everything above the processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark.measure.worker import sentence
from benchmark.measure.workers import Later, WorkerError, WorkerSettings


class LocalWorker:
    """In the place of `Worker`."""

    waited_cpu_s = 0.0

    def __init__(self, name: str, make: Callable[[], Any], settings: WorkerSettings, log: Path) -> None:
        self.name = name
        self._served = make()

    def call(self, method: str, *arguments: Any, limit_s: float | None = None) -> Any:
        try:
            return getattr(self._served, method)(*arguments)
        except Exception as error:
            raise WorkerError(sentence(error)) from error

    def stop(self) -> None:
        self.kill()

    def kill(self) -> None:
        if hasattr(self._served, "close"):
            self._served.close()


class SentWorker(LocalWorker):
    """Makes what it holds of its pickled bytes, as a process does: what could not be sent to one fails here, too."""

    def __init__(self, name: str, make: Callable[[], Any], settings: WorkerSettings, log: Path) -> None:
        super().__init__(name, Later(make), settings, log)
