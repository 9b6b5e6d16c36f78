"""Workers that are killed, hang, run out of memory or answer with NaN, through a whole run.

Those that die or may die are in processes of their own; beside the one that is killed so is the other.

The dummy answers as PyTorch does until its fourth call of a module. A run of the same specification, in which it no
longer fails, redoes what failed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark import run as running
from benchmark.data.phantom import PHANTOM_TASK, PhantomSpec, write_phantom
from benchmark.measure.workers import Worker
from benchmark.measured import Peak
from benchmark.records import CaseRecord, RecordStore
from benchmark.results import Cell, Results, load_results
from benchmark.run import Run
from benchmark.spec import parse_spec
from reports.html import write_html
from tests.benchmark.fake_sam import FakeSam
from tests.benchmark.measure.failing import MENDED, Mendable
from tests.benchmark.measure.local import SentWorker
from tests.benchmark.test_run_lanes import Silent

pytestmark = pytest.mark.slow

Execute = Callable[..., Results]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(folder, PhantomSpec(cases=2, size=32, slices=3, spacing_mm=(12.0, 12.0, 48.0)))
    return folder


@pytest.fixture
def execute(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Execute:
    """Runs pytorch beside a dummy with these options, always in the same folder."""
    monkeypatch.setattr(running, "load_sam", lambda *_: FakeSam())
    monkeypatch.setattr(running.pseudolabel, "Pseudolabelling", Mendable)
    monkeypatch.setattr(running, "business", lambda: None)
    monkeypatch.setattr("benchmark.measure.peak.measure_peak", lambda *_: Peak(fp32_gflops=100.0))

    def run(options: dict[str, Any], **measure: Any) -> Results:
        least = {
            "samples": 2,
            "budget_s": 0.5,
            "warmup": 1,
            "warmup_limit_s": 1,
            "threads": 1,
            "block_ms": 0,
            "offline_s": 3600,
        }
        content = {
            "name": "failures",
            "data": {"root": str(root), "tasks": [PHANTOM_TASK]},
            "backends": ["pytorch", "dummy"],
            "options": {"dummy": {"computes": True, "delay_ms": 0, **options}},
            "measure": {**least, **measure},
        }
        return Run(parse_spec(content, "test", root), tmp_path / "run", Silent(), "sambench run test").execute()

    return run


def in_process_but_the_dummy(name: str, *rest: Any) -> Worker | SentWorker:
    """A process for the backend that stays well would import PyTorch for no other answer."""
    return Worker(name, *rest) if name == "dummy" else SentWorker(name, *rest)


def cells(results: Results) -> tuple[Cell, Cell]:
    ours, dummy = results.cells
    assert (ours.backend, dummy.backend) == ("pytorch", "dummy")
    return ours, dummy


def records(run_dir: Path) -> list[CaseRecord]:
    (folder,) = (run_dir / "records").iterdir()
    found = [RecordStore(folder).load(path.stem) for path in sorted(folder.glob("*.json"))]
    return [record for record in found if record is not None]


@pytest.mark.parametrize(
    ("how", "limit_s", "reason"),
    [
        ("kill", 120, "was killed (SIGKILL), as the system does when memory runs out"),
        ("hang", 4, "no answer within 4 s; the worker was killed"),
        ("memory", 120, "MemoryError: "),
        ("nan", 120, "NotFiniteError: its output holds NaN or infinity"),
    ],
)
def test_a_worker_that_fails_makes_its_cell_failed_and_a_run_again_redoes_it_alone(
    how: str, limit_s: float, reason: str, execute: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"fails": how, "fails_after": 3}
    # NaN, a worker survives. Of a death beside it, a worker of the other backend must not hear.
    if how != "kill":
        monkeypatch.setattr("benchmark.measure.bench.Worker", SentWorker if how == "nan" else in_process_but_the_dummy)
    first = execute(options, limit_s=limit_s)
    ours, dummy = cells(first)
    assert ours.status == "ok" and ours.latency_ms is not None and ours.throughput is not None, ours.reason
    assert dummy.status == "failed" and dummy.reason is not None
    assert dummy.reason.startswith("case phantom_001: ") and reason in dummy.reason
    assert (dummy.latency_ms, dummy.throughput, dummy.dice) == (None, None, None)
    (comparison,) = first.comparisons
    assert (comparison.gate, comparison.verdict, comparison.speedup) == ("fail", "inconclusive", None)
    assert reason in (comparison.reason or "")
    assert load_results(tmp_path / "run") == first
    assert reason.split("(", maxsplit=1)[0] in write_html(first, tmp_path / "run").read_text(encoding="utf-8")
    before = records(tmp_path / "run")
    assert len(before) == 2 and before[1].lanes["dummy"].failed is not None
    assert before[1].lanes["dummy"].failed.startswith("not measured after it failed in case phantom_001: ")

    monkeypatch.setenv(MENDED, "1")
    monkeypatch.setattr("benchmark.measure.bench.Worker", SentWorker)  # nobody dies any more
    second = execute(options, limit_s=limit_s)
    ours_again, dummy = cells(second)
    assert dummy.status == "ok" and dummy.latency_ms is not None, dummy.reason
    assert dummy.parity is not None and dummy.parity.mask_dice == pytest.approx(1.0)
    assert ours_again == ours, "what was whole stays as it was"
    assert second.comparisons[0].gate == "pass" and second.comparisons[0].pairs >= 2
    for earlier, now in zip(before, records(tmp_path / "run"), strict=True):
        assert now.lanes["pytorch"] == earlier.lanes["pytorch"]
        assert now.failed == {} and now.lanes["dummy"].pairs["box"]


def test_a_worker_dies_with_its_last_words_in_its_log(
    execute: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is where a person looks who wants the traceback behind the sentence."""
    monkeypatch.setattr("benchmark.measure.bench.Worker", in_process_but_the_dummy)
    execute({"fails": "raise", "fails_after": 3})
    (log,) = (tmp_path / "run" / "logs").rglob("dummy.log")
    text = log.read_text(encoding="utf-8")
    assert "Traceback" in text and "the dummy fails at call 4" in text
