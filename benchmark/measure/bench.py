"""A group's workers: who is alive, what has been measured so far, and which verdicts are still open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmark.lanes import LaneSettings, Sources
from benchmark.measure.lane_server import LaneRecipe, Loaded, Look, TurnReply, UnitKey, Warmed
from benchmark.measure.schedule import Schedule
from benchmark.measure.watch import Watch
from benchmark.measure.workers import Worker, WorkerSettings, stopping
from benchmark.results import LaneKey
from benchmark.sections import MeasureSpec
from benchmark.stages.base import Unit
from runners.registry import WANTS_MODULE

LOADING_S = 300.0
"""Added to the limit while a worker starts: its libraries are imported, and a large model is read from disk."""

WARM_UPS = 30
"""Passes of a warm-up at most; a time that is not steady by then drifts for other reasons."""


class LaneWorker:
    """One lane in its process.

    Args:
        name: the string form of its key.
        worker: the process.
        limit_s: a call that takes longer fails.
    """

    def __init__(self, name: str, worker: Worker, limit_s: float) -> None:
        self.name = name
        self.worker = worker
        self.loaded: Loaded | None = None
        self.warmed: Warmed | None = None
        self.unit_ms: float | None = None
        self.looked: Look | None = None
        self._limit_s = limit_s
        self._holds: UnitKey | None = None

    def load(self) -> None:
        """Loads the runners, if they are not."""
        if self.loaded is None:
            self.loaded = self.ask("load", extra_s=LOADING_S)

    def warm_up(self, key: UnitKey, unit: Unit, limit_s: float) -> float:
        """Runs a unit until its times are steady.

        Returns:
            Seconds in which the worker computed.
        """
        self.warmed = self.ask("warm_up", key, unit, WARM_UPS, limit_s)
        self._holds = key
        self.unit_ms = self.warmed.samples_ms[-1]
        return self.warmed.seconds

    def turn(self, key: UnitKey, unit: Unit, untimed: int, calls: int, with_labels: bool) -> TurnReply:
        """See `LaneServer.turn`; the unit is sent if the worker does not hold it."""
        sent = None if self._holds == key else unit
        reply: TurnReply = self.ask("turn", key, sent, untimed, calls, with_labels)
        self._holds = key
        self.unit_ms = 1e3 * reply.timed_s / calls
        return reply

    def look(self) -> None:
        """Asks what the process has come to so far."""
        self.looked = self.ask("look")

    def ask(self, method: str, *arguments: Any, extra_s: float = 0.0) -> Any:
        """Calls a method of the lane's server.

        Args:
            method: its name.
            arguments: its arguments.
            extra_s: added to the limit, for a call that is meant to take long.

        Raises:
            WorkerError: it failed, died, or took too long.
        """
        return self.worker.call(method, *arguments, limit_s=self._limit_s + extra_s)


@dataclass
class Bench:
    """The lanes of a group, over all of its cases.

    Attributes:
        lanes: by name, the failed ones included.
        reference: the lane that the others are paired with; None where it does not run.
        measure: the specification's section.
        margin: half-width of what counts as equivalent.
        cases: of the group.
        seed: of what is drawn.
        watches: lane → variant → its pairs so far, those of recorded cases included.
        samples: lane → timed passes so far.
        spent_s: on measuring so far.
        starting_s: what starting the workers and loading took.
        failed: lane → why it takes no further turn.
        served: lanes whose server scenario was run.
        offline_spent_s: lane → what its offline scenario took so far.
    """

    lanes: Mapping[str, LaneWorker]
    schedule: Schedule
    reference: str | None
    measure: MeasureSpec
    margin: float
    cases: int
    seed: int = 0
    watches: dict[str, dict[str, Watch]] = field(default_factory=dict)
    samples: dict[str, int] = field(default_factory=dict)
    spent_s: float = 0.0
    starting_s: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)
    served: set[str] = field(default_factory=set)
    offline_spent_s: dict[str, float] = field(default_factory=dict)

    def alive(self, among: Sequence[str]) -> list[str]:
        """Those that have not failed."""
        return [name for name in among if name not in self.failed]

    def budget_s(self, case: int) -> float:
        """Seconds left for case number so and so: an even share, and what the cases before have not used."""
        return self.measure.budget_s * (case + 1) / self.cases - self.spent_s

    def note_pairs(self, lane: str, pairs: Mapping[str, Sequence[tuple[float, float]]]) -> None:
        """Adds pairs, variant by variant."""
        mine = self.watches.setdefault(lane, {})
        for variant, some in pairs.items():
            mine.setdefault(variant, Watch(self.margin)).add(some)

    def open(self, among: Sequence[str], case: int) -> list[str]:
        """The lanes that need more turns: with too few samples, or an interval that is still wide.

        Args:
            among: lanes that take turns.
            case: its number; samples are asked for in even shares.
        """
        needed = self.measure.samples * (case + 1) / self.cases
        alive = self.alive(among)
        return [name for name in alive if self.samples.get(name, 0) < needed or self._wide(name)]

    def _wide(self, lane: str) -> bool:
        if self.reference is None or lane == self.reference or self.reference in self.failed:
            return False
        return any(watch.wide() for watch in self.watches.get(lane, {}).values())


@contextmanager
def open_bench(
    names: Sequence[LaneKey], settings: LaneSettings, sources: Sources, pipeline: Any, measure: MeasureSpec,
    logs: Path,
) -> Iterator[dict[str, LaneWorker]]:  # fmt: skip
    """Starts a worker a lane; leaving ends them.

    Args:
        names: the lanes.
        settings: what they have in common.
        sources: precision → the modules of the stage.
        pipeline: makes the stage's pipeline of the loaded runners; picklable.
        measure: the specification's section.
        logs: the folder of the workers' output.
    """
    with ExitStack() as stack:
        lanes = {}
        for key in names:
            recipe = LaneRecipe(replace(settings, lanes=(key,)), _parts(key, sources[key.precision]), pipeline)
            process = WorkerSettings(measure.variables.get(key.backend, {}), measure.affinity)
            worker = Worker(str(key), recipe, process, logs / f"{key.file_name}.log")
            stack.enter_context(stopping([worker]))
            lanes[str(key)] = LaneWorker(str(key), worker, measure.limit_s)
        yield lanes


def _parts(key: LaneKey, sources: Sequence[Any]) -> list[Any]:
    """What the backend loads: the PyTorch module goes to a worker only where it runs."""
    if key.backend in WANTS_MODULE:
        return list(sources)
    return [replace(source, torch_module=None) for source in sources]
