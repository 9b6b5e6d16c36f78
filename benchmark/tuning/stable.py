"""Candidates in processes of their own: opened, kept while they may be wanted again, and never too many at once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from types import TracebackType

import psutil

from benchmark.files import sha256_text
from benchmark.lanes import LaneSettings
from benchmark.measure.bench import LaneWorker
from benchmark.measure.lane_server import LaneRecipe
from benchmark.measure.memory import MIB
from benchmark.measure.workers import Worker, WorkerSettings, stopping
from benchmark.run import Progress
from benchmark.sections import MeasureSpec
from benchmark.stages.base import Outcome
from benchmark.tuning.candidates import Candidate
from benchmark.tuning.workload import Workload, WorkUnit

MEMORY_SHARE = 0.8
"""Of the memory that is free before anything is loaded; the rest is for peaks, and for the system."""

MOST_KEPT = 8
"""Processes at once: every backend's defaults, and a few more."""


IMPORTS_S = 60.0
"""Added to the limit while a process starts: its libraries are imported."""


def free_mib() -> float:
    """Memory that processes can get without swapping."""
    return float(psutil.virtual_memory().available) / MIB


def fitting(names: Sequence[str], peaks: Mapping[str, float | None], room_mib: float, most: int) -> list[str]:
    """The first of them, as many as have room together; one that is too large for what is left is passed over.

    Args:
        names: those wanted most first.
        peaks: MiB by name; None where unknown, which counts as nothing.
        room_mib: for all.
        most: processes at once.
    """
    taken: list[str] = []
    for name in names:
        peak = peaks.get(name) or 0.0
        if len(taken) < most and peak <= room_mib:
            taken.append(name)
            room_mib -= peak
    return taken


def too_large(names: Sequence[str], peaks: Mapping[str, float | None], room_mib: float) -> str | None:
    """Why processes have no room together: `need about 9,000 MiB and 8,000 are free`; None where they have.

    Args:
        names: of candidates; one whose peak is not known counts as nothing.
        peaks: MiB by name.
        room_mib: for all.
    """
    needed = sum(peaks.get(name) or 0.0 for name in names)
    return None if needed <= room_mib else f"need about {needed:,.0f} MiB and {room_mib:,.0f} are free"


def unit_ms(outcome: Outcome) -> float:
    """What a unit took: the mean over its variants of what each alone would have taken, milliseconds."""
    return fmean(sum(outcome.phases(variant).values()) for variant in outcome.labels)


@dataclass
class Stable:
    """The processes.

    Attributes:
        workload: what they run.
        device: where.
        threads: of a candidate that says nothing of threads.
        measure: how; its limit is that of a call where no shorter one is given.
        logs: the folder of their output.
        room_mib: for all of them together.
    """

    workload: Workload
    device: str
    threads: int
    measure: MeasureSpec
    logs: Path
    room_mib: float = field(default_factory=lambda: MEMORY_SHARE * free_mib())
    lanes: dict[str, LaneWorker] = field(default_factory=dict)
    peaks: dict[str, float | None] = field(default_factory=dict)
    _stacks: dict[str, ExitStack] = field(default_factory=dict)

    def __enter__(self) -> Stable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._stacks):
            self._stacks.pop(name).__exit__(kind, error, trace)
            self.lanes.pop(name, None)

    def open(self, candidate: Candidate, progress: Progress, limit_s: float) -> LaneWorker:
        """The candidate's process, loaded; started if it is not there.

        Raises:
            WorkerError: it cannot be loaded.
            ExportError: its file cannot be made.
        """
        if candidate.name in self.lanes:
            return self.lanes[candidate.name]
        sources = self.workload.sources(candidate.lane, progress, limit_s)
        key = candidate.lane
        own = {str(key): candidate.own(self.workload.batch_kind)}
        settings = LaneSettings((key,), self.device, self.threads, own=own)
        process = WorkerSettings(self.measure.variables.get(key.backend, {}), self.measure.affinity)
        log = self.logs / f"{key.file_name}-{sha256_text(candidate.name)[:8]}.log"
        worker = Worker(candidate.name, LaneRecipe(settings, sources, self.workload.pipeline), process, log)
        stack = self._stacks[candidate.name] = ExitStack()
        stack.enter_context(stopping([worker]))
        lane = LaneWorker(candidate.name, worker, limit_s)
        self.lanes[candidate.name] = lane
        lane.loaded = lane.ask("load", extra_s=IMPORTS_S)
        return lane

    def close(self, name: str) -> None:
        """Ends a process, if it is there."""
        self.lanes.pop(name, None)
        stack = self._stacks.pop(name, None)
        if stack is not None:
            stack.close()

    def keep(self, wanted: Sequence[str], most: int = MOST_KEPT) -> None:
        """Ends all but those wanted most, as many as have room.

        Args:
            wanted: those wanted most first; whoever is not named is ended.
            most: how many at once.
        """
        kept = fitting([name for name in wanted if name in self.lanes], self.peaks, self.room_mib, most)
        for name in [name for name in self.lanes if name not in kept]:
            self.close(name)

    def turn(self, name: str, work: WorkUnit, calls: int, untimed: int = 0) -> float:
        """One turn.

        Returns:
            Milliseconds of a unit, the mean over its calls.

        Raises:
            WorkerError: the process failed.
        """
        time.sleep(self.measure.pause_ms / 1e3)
        reply = self.lanes[name].turn((work.case, work.number), work.unit, untimed, calls, False)
        return fmean(unit_ms(outcome) for outcome in reply.outcomes)
