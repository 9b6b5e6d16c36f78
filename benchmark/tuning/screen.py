"""Each candidate once through all units, alone: whether it works, whether it is right, and about how fast it is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmark.measure.attest import mismatch
from benchmark.measure.bench import LaneWorker
from benchmark.measure.lane_server import TurnReply
from benchmark.measure.workers import WorkerError
from benchmark.metrics import Labels
from benchmark.run import Progress
from benchmark.tuning.candidates import Candidate
from benchmark.tuning.gate import Maps, judge, stacked
from benchmark.tuning.records import Screening
from benchmark.tuning.stable import Stable, unit_ms
from benchmark.tuning.workload import Workload
from exporters.manifest import ExportError
from runners.base import RunnerError

WARM_UP_S = 3.0
"""Of the passes before the first that counts. The race, which decides, has longer ones behind it by then."""

PASSES = 3
PASSES_S = 3.0
"""No further pass begins after so long: of a slow model one pass tells enough to sort by."""


NO_ANSWER = "no answer within"
"""What `Worker.call` says of a call that took too long."""


@dataclass
class _Pass:
    maps: dict[str, dict[str, list[Labels]]] = field(default_factory=dict)
    best_ms: dict[int, float] = field(default_factory=dict)

    def add(self, index: int, case: str, reply: TurnReply, with_labels: bool) -> None:
        for outcome in reply.outcomes:
            taken = unit_ms(outcome)
            self.best_ms[index] = min(taken, self.best_ms.get(index, taken))
        if with_labels:
            for variant, labels in reply.outcomes[0].labels.items():
                self.maps.setdefault(variant, {}).setdefault(case, []).extend(labels)

    @property
    def answers(self) -> Maps:
        return {v: {case: stacked(some) for case, some in cases.items()} for v, cases in self.maps.items()}


def screen(
    candidate: Candidate, stable: Stable, theirs: Maps | None, progress: Progress, limit_s: float
) -> tuple[Screening, Maps]:
    """Screens one candidate; its process is there afterwards if it was not dropped.

    Args:
        candidate: whoever it is.
        stable: where it gets its process.
        theirs: the reference's masks; None for the reference itself.
        progress: told of exports.
        limit_s: a call that takes longer fails.

    Returns:
        What was found, and its masks.
    """
    started = time.perf_counter()
    answers: Maps = {}
    try:
        lane = stable.open(candidate, progress, limit_s)
        found, answers = _measured(candidate, lane, stable.workload, theirs, stable.device)
    except (WorkerError, ExportError, RunnerError) as error:
        limit = limit_s if NO_ANSWER in str(error) else None
        found = Screening(name=candidate.name, dropped="failed", reason=str(error), limit_s=limit)
    stable.peaks[candidate.name] = found.memory_mib
    if found.dropped is not None:
        stable.close(candidate.name)
    return found.model_copy(update={"seconds": time.perf_counter() - started}), answers


def _measured(
    candidate: Candidate, lane: LaneWorker, workload: Workload, theirs: Maps | None, device: str
) -> tuple[Screening, Maps]:
    started = time.perf_counter()
    first = workload.units[0]
    lane.warm_up((first.case, first.number), first.unit, WARM_UP_S)
    load_s = lane.loaded.load_ms / 1e3 if lane.loaded else 0.0
    start_s = load_s + (lane.warmed.samples_ms[0] / 1e3 if lane.warmed else 0.0)
    seen, began = _Pass(), time.perf_counter()
    for number in range(PASSES):
        for index, one in enumerate(workload.units):
            reply = lane.turn((one.case, one.number), one.unit, 0, 1, number == 0)
            seen.add(index, one.case, reply, number == 0)
        if time.perf_counter() - began > PASSES_S:
            break
    lane.look()
    assert lane.looked is not None  # noqa: S101 - just asked
    wrong = mismatch(device, candidate.precision, lane.looked.attestation)
    judged = judge(seen.answers, theirs or seen.answers, workload.truth, workload.labels, workload.no_dice)
    found = Screening(
        name=candidate.name,
        unit_ms=sum(seen.best_ms.values()) / len(seen.best_ms),
        dice=dict(judged.dice),
        mask_dice=dict(judged.mask_dice),
        memory_mib=lane.looked.memory.peak_mib,
        start_s=start_s,
        seconds=time.perf_counter() - started,
    )
    if wrong is not None:
        return found.model_copy(update={"dropped": "invalid", "reason": wrong}), seen.answers
    if judged.failure is not None:
        return found.model_copy(update={"dropped": "gate", "reason": judged.failure}), seen.answers
    return found, seen.answers


def times_of(screenings: Mapping[str, Screening]) -> dict[str, float | None]:
    """Name → milliseconds of a unit, None for who was dropped: what the order of trying goes by."""
    return {name: None if found.dropped else found.unit_ms for name, found in screenings.items()}
