"""Lanes whose pipelines are fakes, on a clock that moves only while one of them works or somebody sleeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.slices import Slice
from benchmark.lanes import Lane, LaneSettings
from benchmark.measure.bench import Bench, LaneWorker
from benchmark.measure.case import CaseWork, measure_case
from benchmark.measure.lane_server import LaneRecipe
from benchmark.measure.schedule import Schedule
from benchmark.measure.tally import Predictions
from benchmark.measure.workers import WorkerSettings
from benchmark.measured import Attested
from benchmark.records import CaseRecord
from benchmark.results import LaneKey
from benchmark.sections import MeasureSpec
from benchmark.stages.base import Outcome, Unit
from tests.benchmark.measure.local import LocalWorker
from tests.clock import Clock

LABELS = {1: "organ", 2: "tumour"}
ATTESTED = Attested(
    backend="b", version="1", device="cpu", precision="fp32", providers=["p"], nodes_per_provider=None, threads=1
)


class Fake:
    """A pipeline that answers with a function of the reference label and says that it took known times.

    Args:
        answer: label map → label map.
        ms: of the phase `encode`, on the device 1 ms less; a function gets the number of the call, from 0.
        fails_at: the call that raises.
        variants: each further one decodes for 2 ms more.
    """

    def __init__(
        self,
        answer: Callable[[np.ndarray], np.ndarray] = lambda label: label,
        ms: float | Callable[[int], float] = 10.0,
        fails_at: int | None = None,
        variants: Sequence[str] = ("box",),
    ) -> None:
        self.answer, self.ms, self.fails_at, self.variants = answer, ms, fails_at, variants
        self.calls = 0

    def process(self, unit: Unit) -> Outcome:
        self.calls += 1
        if self.calls - 1 == self.fails_at:
            raise RuntimeError("no memory")
        labels = np.stack([self.answer(piece.label) for piece in unit.slices])
        ms = self.ms(self.calls - 1) if callable(self.ms) else self.ms
        return Outcome(
            dict.fromkeys(self.variants, labels),
            {"preprocess": 1.0, "encode": ms},
            {variant: {"decode": 2.0 * number} for number, variant in enumerate(self.variants, start=1)},
            shared_device_ms=ms - 1,
            own_device_ms={variant: 1.5 * number for number, variant in enumerate(self.variants, start=1)},
        )


class Timed:
    """Lets the clock run while a pipeline works."""

    def __init__(self, name: str, lanes: FakeLanes) -> None:
        self._name, self._lanes = name, lanes

    def process(self, unit: Unit) -> Outcome:
        self._lanes.begun.append(self._name)
        outcome: Outcome = self._lanes.pipelines[self._name].process(unit)
        spent = [outcome.shared_ms, *outcome.own_ms.values()]
        self._lanes.clock.now += sum(ms for phases in spent for ms in phases.values()) / 1e3
        return outcome


class FakeLanes:
    """What `open_lanes` is replaced by.

    Attributes:
        pipelines: lane → the pipeline that loading gives; an error in its place is what loading ends with.
        loaded: lanes in the order of their loading.
        begun: the lane of every pass, the untimed ones included.
    """

    def __init__(self) -> None:
        self.pipelines: dict[str, Any] = {}
        self.loaded: list[str] = []
        self.begun: list[str] = []
        self.clock = Clock()

    @contextmanager
    def open(self, settings: LaneSettings, sources: Any, pipeline: Any) -> Iterator[Mapping[str, Lane]]:
        (key,) = settings.lanes
        name = str(key)
        self.loaded.append(name)
        if isinstance(self.pipelines[name], Exception):
            raise self.pipelines[name]
        yield {name: Lane(Timed(name, self), {"encoder": ATTESTED}, load_ms=7.0)}

    def bench(self, spec: MeasureSpec, cases: int = 1, margin: float = 0.02, **pipelines: Any) -> Bench:
        """Workers for these pipelines, loaded; the first lane named `pytorch` is the reference."""
        self.pipelines.update(pipelines)
        lanes = {name: self._worker(name, spec) for name in pipelines}
        for lane in lanes.values():
            lane.load()
        reference = "pytorch" if "pytorch" in lanes else None
        return Bench(lanes, Schedule(list(lanes), seed=0), reference, spec, margin, cases)

    def _worker(self, name: str, spec: MeasureSpec) -> LaneWorker:
        recipe = LaneRecipe(LaneSettings((LaneKey.parse(name),), "cpu", 1), [], lambda runners: None)  # type: ignore[arg-type,return-value]
        return LaneWorker(name, LocalWorker(name, recipe, WorkerSettings(), Path("log")), spec.limit_s)  # type: ignore[arg-type]


def spec(**changes: Any) -> MeasureSpec:
    """One pass over each case, without anything around it."""
    least: dict[str, Any] = {
        "samples": 1,
        "budget_s": 0,
        "warmup": 0,
        "pause_ms": 0,
        "block_ms": 0,
        "scenarios": ("single-stream",),
    }
    return MeasureSpec(**{**least, **changes})


def make_slices(depth: int = 5, empty: Sequence[int] = (), first: int = 20) -> list[Slice]:
    """Slices numbered from `first`, whose labels all differ."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(depth):
        label = rng.integers(0, 3, (4, 3)).astype(np.uint8)
        label[0] = [1, 2, 0]
        if number in empty:
            label[:] = 0
        made.append(Slice("c1", first + number, np.zeros((4, 3), np.float32), label, (1.0, 1.0)))
    return made


def by_slice(chosen: Sequence[Slice]) -> Iterator[Unit]:
    """As the pseudo-label stage does: no unit for a slice without any label."""
    for piece in chosen:
        if piece.label.any():
            yield Unit((piece,), {})


def by_batch(chosen: Sequence[Slice], size: int = 2) -> Iterator[Unit]:
    for start in range(0, len(chosen), size):
        yield Unit(tuple(chosen[start : start + size]), {})


Units = Callable[[Sequence[Slice]], Iterator[Unit]]


def case_work(chosen: Sequence[Slice], units: Units = by_slice, number: int = 0, **changes: Any) -> CaseWork:
    given: dict[str, Any] = {"case": f"c{number + 1}", "variants": ("box",), "labels": LABELS, **changes}
    return CaseWork(number=number, chosen=chosen, units=lambda: units(chosen), **given)


def measure_on(
    bench: Bench, chosen: Sequence[Slice], units: Units = by_slice, number: int = 0, **changes: Any
) -> tuple[CaseRecord, Predictions]:
    """A further case, of all lanes."""
    return measure_case(bench, list(bench.lanes), case_work(chosen, units, number, **changes))
