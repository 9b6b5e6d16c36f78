"""One of several devices that label a task, in a process of its own."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import Empty, Queue
from threading import Event, Thread

from benchmark.data.msd import CaseFiles, Task
from benchmark.errors import InputError
from benchmark.labelling.backend import opened_pipeline
from benchmark.labelling.cases import CaseLabeller, prompter_of
from benchmark.labelling.news import Advanced, Ended, Hand, Told, Wants
from benchmark.labelling.output import Output
from benchmark.labelling.settings import LabelSettings
from benchmark.measure.worker import sentence
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
