"""Several devices label one task: a process each, and a case goes to whoever has time for it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

from benchmark.data.msd import CaseFiles
from benchmark.errors import InputError
from benchmark.labelling.news import Advanced, Ended, Hand, Told, Wants
from benchmark.labelling.records import LabelledCase
from benchmark.measure.worker import Call
from benchmark.measure.workers import Worker, WorkerError, WorkerSettings, stopping
from runners.base import RunnerError


class Makes(Protocol):
    """What a process is made of, as `benchmark.labelling.shard.Recipe`."""

    def on(self, device: str) -> Callable[[], Any]:
        """What makes, in the process of this device, the object that answers `go_on`."""
        ...


class ShardWorker(Worker):
    """A worker process whose answer can be waited for beside those of others."""

    @property
    def connection(self) -> Connection:
        """Readable when the answer is there."""
        return self._connection

    def ask(self, hand: Hand | None) -> None:
        """Asks for news, and does not wait.

        Raises:
            WorkerError: the process died.
        """
        try:
            self._connection.send(Call("go_on", (hand,)))
        except (ConnectionError, OSError):
            raise WorkerError(self._obituary()) from None

    def answer(self) -> list[Told]:
        """The news.

        Raises:
            WorkerError: the process died.
        """
        try:
            answer: Any = self._connection.recv()
        except (EOFError, ConnectionError, OSError):
            raise WorkerError(self._obituary()) from None
        if answer.error is not None:
            raise WorkerError(answer.error)
        told: list[Told] = answer.value
        return told


@dataclass
class Shards:
    """The processes as their parent sees them.

    Args:
        recipe: of the labelling.
        devices: one process each; of equal names as many as asked for.
        cases: to be labelled, handed out in this order.
        advance: told the share of a case that is done, and how fast it goes.
        logs: folder of what the processes print.
    """

    recipe: Makes
    devices: Sequence[str]
    cases: Sequence[CaseFiles]
    advance: Callable[[float, str], None]
    logs: Path
    _slices: dict[ShardWorker, int] = field(default_factory=dict)
    _started: float | None = None

    @property
    def rate(self) -> float | None:
        """Slices a second of all devices after the first slice; None until there was a second one."""
        done = sum(self._slices.values()) - 1
        return done / (time.perf_counter() - self._started) if self._started is not None and done > 0 else None

    def label(self) -> Iterator[LabelledCase]:
        """The records of the cases, each when its case is written. Leaving early ends all processes at once.

        Raises:
            InputError: a case cannot be read, or the folder cannot be written any more.
            RunnerError: a device or process failed; the message names it.
        """
        waiting = deque(self.cases)
        workers: list[ShardWorker] = []
        with stopping(workers):
            for number, device in enumerate(self.devices[: len(waiting)]):
                log = self.logs / f"{number}-{device.replace(':', '')}.log"
                workers.append(ShardWorker(device, self.recipe.on(device), WorkerSettings(), log))
            busy = {worker.connection: worker for worker in workers}
            for worker in workers:
                self._ask(worker, None)
            while busy:
                for connection in wait(list(busy)):
                    worker = busy[connection]  # type: ignore[index]
                    told = self._answer(worker)
                    yield from (one for one in told if isinstance(one, LabelledCase))
                    if self._take(worker, told):
                        del busy[connection]  # type: ignore[arg-type]
                        continue
                    wants = any(isinstance(one, Wants) for one in told)
                    self._ask(worker, Hand(waiting.popleft() if waiting else None) if wants else None)

    def _take(self, worker: ShardWorker, told: Sequence[Told]) -> bool:
        """Tells the progress on; whether the process is done."""
        for one in told:
            if isinstance(one, Advanced):
                self._started = self._started or time.perf_counter()
                self._slices[worker] = one.slices
                self.advance(one.share, f"{self.rate or 0.0:.1f} slices/s")
            if isinstance(one, Ended):
                if one.error is None:
                    return True
                if one.of_input:
                    raise InputError(one.error)
                raise RunnerError(f"device {worker.name}: {one.error}")
        return False

    def _ask(self, worker: ShardWorker, hand: Hand | None) -> None:
        try:
            worker.ask(hand)
        except WorkerError as error:
            raise RunnerError(f"device {worker.name}: {error}") from None

    def _answer(self, worker: ShardWorker) -> list[Told]:
        try:
            return worker.answer()
        except WorkerError as error:
            raise RunnerError(f"device {worker.name}: {error}") from None
