"""Several devices label one task: a process each, and a case goes to whoever has time for it."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any

from benchmark.data.msd import CaseFiles, Task
from benchmark.errors import InputError
from benchmark.labelling.backend import opened_pipeline
from benchmark.labelling.cases import CaseLabeller, prompter_of
from benchmark.labelling.output import Output
from benchmark.labelling.records import LabelledCase
from benchmark.labelling.settings import LabelSettings
from benchmark.measure.worker import Call, sentence
from benchmark.measure.workers import Worker, WorkerError, WorkerSettings, stopping
from benchmark.stages.sam_input import SamInput
from runners.base import ModuleSource, RunnerError

_POLL_S = 0.2


@dataclass(frozen=True)
class Recipe:
    """All that a process needs to label cases of a task; it can be sent to one.

    Attributes:
        settings: with the device of this one process.
        sources: encoder and decoder, exported where the backend wants files.
    """

    task: Task
    settings: LabelSettings
    sources: Sequence[ModuleSource]
    sam: SamInput
    output: Output

    def on(self, device: str) -> Recipe:
        """The same for another device."""
        return replace(self, settings=self.settings.model_copy(update={"device": device}))

    def __call__(self) -> Shard:
        """The labelling, begun."""
        return Shard(self)


@dataclass(frozen=True)
class Hand:
    """An answer to `Wants`.

    Attributes:
        case: the next one; None if there is none left.
    """

    case: CaseFiles | None


@dataclass(frozen=True)
class Wants:
    """A process has time for a case: it reads it while the last slices of the one before are labelled."""


@dataclass(frozen=True)
class Advanced:
    """Some of a case is done.

    Attributes:
        share: of the case.
        slices: that the process has done so far.
    """

    share: float
    slices: int


@dataclass(frozen=True)
class Ended:
    """A process is done with all that it was handed, or failed.

    Attributes:
        error: why it failed; None if it did not.
        of_input: whether the user's files are at fault.
    """

    error: str | None = None
    of_input: bool = False


Told = Wants | Advanced | LabelledCase | Ended


class Shard:
    """In a worker process: labels in a thread, so that it can tell and be handed things meanwhile."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._told: Queue[Told] = Queue()
        self._handed: Queue[Hand] = Queue()
        self._over = Event()
        Thread(target=self._run, name="sambench-label", daemon=True).start()

    def go_on(self, hand: Hand | None) -> list[Told]:
        """Waits for news.

        Args:
            hand: the answer to the `Wants` among the last news; None if there was none.

        Returns:
            At least one.
        """
        if hand is not None:
            self._handed.put(hand)
        told = [self._first()]
        with suppress(Empty):
            while True:
                told.append(self._told.get_nowait())
        return told

    def _first(self) -> Told:
        parent = multiprocessing.parent_process()
        while True:
            with suppress(Empty):
                return self._told.get(timeout=_POLL_S)
            if parent is not None and not parent.is_alive():
                raise SystemExit  # nobody will read this folder's progress; who comes next labels the case anew

    def _run(self) -> None:
        try:
            self._label()
            self._told.put(Ended())
        except InputError as error:
            self._told.put(Ended(str(error), of_input=True))
        except RunnerError as error:
            self._told.put(Ended(str(error)))
        # A backend may raise anything, and the parent is to be told of all of it.
        except BaseException as error:
            traceback.print_exc()
            self._told.put(Ended(sentence(error)))

    def _label(self) -> None:
        recipe = self._recipe
        task, settings = recipe.task, recipe.settings
        with opened_pipeline(recipe.sources, recipe.sam, settings) as pipeline:
            labeller = CaseLabeller(task, pipeline, recipe.output, settings.prompt, lambda share, note: None)
            labeller.advance = lambda share, note: self._told.put(Advanced(share, labeller.slices))
            try:
                for record in labeller.label(self._cases(), prompter_of(task, settings)):
                    self._told.put(record)
            finally:
                self._over.set()

    def _cases(self) -> Iterator[CaseFiles]:
        while not self._over.is_set():
            self._told.put(Wants())
            hand = self._answer()
            if hand is None or hand.case is None:
                return
            yield hand.case

    def _answer(self) -> Hand | None:
        while not self._over.is_set():  # a labelling that failed waits for this thread, which waits for a case
            with suppress(Empty):
                return self._handed.get(timeout=_POLL_S)
        return None


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

    recipe: Recipe
    devices: Sequence[str]
    cases: Sequence[CaseFiles]
    advance: Callable[[float, str], None]
    logs: Path
    _slices: dict[ShardWorker, int] = field(default_factory=dict)
    _started: float | None = None

    @property
    def rate(self) -> float | None:
        """Slices a second of all devices since the first slice was done."""
        return None if self._started is None else sum(self._slices.values()) / (time.perf_counter() - self._started)

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
