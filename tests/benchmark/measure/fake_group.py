"""A group of three tiny cases whose lanes are fakes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark.data.slices import Slice
from benchmark.data.volume import Volume
from benchmark.measure.group import Measuring, Work
from benchmark.plan import Group, plan_lanes, plan_tasks
from benchmark.plan import make_group as planned_group
from benchmark.records import CaseRecord
from benchmark.spec import Spec
from benchmark.stages.base import Outcome, Unit
from tests.benchmark.measure.fake_lanes import FakeLanes

CASES = ("case_1", "case_2", "case_3")


class Perfect:
    """A pipeline that answers with the reference label, and notes its cases; those in `broken` fail."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.broken: set[str] = set()
        self.ms = 2.0

    def process(self, unit: Unit) -> Outcome:
        (piece,) = unit.slices
        if piece.case not in self.seen:
            self.seen.append(piece.case)
        if piece.case in self.broken:
            raise RuntimeError("no memory")
        return Outcome({"box": piece.label[None]}, {"encode": self.ms}, {"box": {"decode": 1.0}})


def by_slice(volume: Volume, chosen: Sequence[Slice]) -> Iterator[Unit]:
    assert all(piece.case == volume.case for piece in chosen), "prompts are derived from the case's own volume"
    return (Unit((piece,), {}) for piece in chosen if piece.label.any())


class FakeGroup:
    """Measures it, as often as asked.

    Attributes:
        pipelines: lane → its pipeline.
    """

    def __init__(self, run_dir: Path, group: Group, spec: Spec, lanes: FakeLanes) -> None:
        self.run_dir, self.group, self.spec, self.lanes = run_dir, group, spec, lanes
        self.pipelines = {str(key): Perfect() for key in group.lanes}
        lanes.pipelines.update(self.pipelines)
        self.progress = 0.0
        sources = {key.precision: () for key in group.lanes}
        self.work = Work(sources, lambda runners: Perfect(), by_slice, group.planned.task.labels)

    def measure(self, **changes: Any) -> list[CaseRecord]:
        for pipeline in self.pipelines.values():
            pipeline.seen.clear()
        self.lanes.loaded.clear()
        self.progress = 0.0
        work = replace(self.work, **changes)
        return Measuring(self.run_dir, self.group, work, self.spec, 0.02, self._advance).records()

    def change(self, **measure: Any) -> None:
        self.spec = self.spec.model_copy(update={"measure": self.spec.measure.model_copy(update=measure)})

    def _advance(self, cases: float) -> None:
        self.progress += cases

    @property
    def seen(self) -> dict[str, list[str]]:
        """Lane → the cases that it was called on in the last measuring."""
        return {name: pipeline.seen for name, pipeline in self.pipelines.items()}

    @property
    def folder(self) -> Path:
        return self.run_dir / "records" / self.group.folder

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("*"))


def make_group(folder: Path, run_dir: Path, lanes: FakeLanes, **fields: Any) -> FakeGroup:
    least = {"warmup": 0, "pause_ms": 0, "threads": 1, "samples": 1, "block_ms": 0, "budget_s": 0}
    content = {"name": "run", "data": {"root": folder.parent, "tasks": [folder.name]}, "measure": least, **fields}
    spec = Spec.model_validate(content)
    (planned,) = plan_tasks(spec)
    made = planned_group(spec, "pseudolabel", planned, "m", ("box",), "cpu", plan_lanes(spec), planned.cases, {})
    return FakeGroup(run_dir, made, spec, lanes)
