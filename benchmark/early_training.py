"""While a SAM is exported, which takes one core, a UNet learns from the reference labels on another.

Those labels wait for no SAM. What was learned by the export's end stays: where the run comes to the training, it is
found finished, or goes on from its last epoch. Nothing is trained while anything is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmark.artifacts import Export
from benchmark.measure.environment import idle_cores
from benchmark.measure.workers import Worker, WorkerError, WorkerSettings
from benchmark.supervision import Supervision, train_on
from exporters.manifest import Manifest

LEAST_CORES = 2

PATIENT = WorkerSettings(variables={"OMP_WAIT_POLICY": "PASSIVE"})
"""Threads that wait sleep, and leave the export its core."""


class EarlyTraining:
    """Lives in the worker process.

    Args:
        sources: what to learn from, in this order.
    """

    def __init__(self, sources: Sequence[Supervision]) -> None:
        self._sources = sources

    def train(self) -> None:
        """Trains one after the other."""
        for source in self._sources:
            train_on(source, lambda epochs, words: None)


def while_training(export: Export, sources: Sequence[Supervision], log: Path) -> Export:
    """The same export, with trainings in a process of their own for as long as it takes.

    Args:
        export: writes an artifact to a folder.
        sources: of the trainings; none leaves the export as it is. So does a machine on which other processes leave no
            second core.
        log: where the process's standard output and error go.
    """
    if not sources:
        return export

    def export_meanwhile(folder: Path, precision: str) -> Manifest:
        if idle_cores() < LEAST_CORES:
            return export(folder, precision)
        with _training(sources, log):
            return export(folder, precision)

    return export_meanwhile


@contextmanager
def _training(sources: Sequence[Supervision], log: Path) -> Iterator[None]:
    worker = Worker("training", partial(EarlyTraining, tuple(sources)), PATIENT, log)
    with ThreadPoolExecutor(max_workers=1) as waiting:
        trained = waiting.submit(worker.call, "train")
        try:
            yield
        finally:
            # Killed at any moment, a training leaves its last epoch whole. What went wrong in it comes up again where
            # the run trains, with its own words.
            worker.kill()
            if not isinstance(trained.exception(), WorkerError | None):
                trained.result()
