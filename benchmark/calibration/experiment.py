"""Many comparisons of a runner with itself, and with itself made slower by a known share: what the verdicts were."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from benchmark.calibration.calls import CallRecipe
from benchmark.measure.schedule import Schedule, calls_per_turn
from benchmark.measure.statistics import Speedup
from benchmark.measure.watch import Watch
from benchmark.measure.workers import Worker, WorkerSettings, stopping
from runners.slowed import EXTRA

BASELINE = "baseline"
SAME = 0.0
"""The planted share of an A/A comparison: nothing."""


@dataclass(frozen=True)
class Trial:
    """One comparison of the baseline with a copy of it.

    Attributes:
        planted: share of extra work in the copy; 0 in an A/A comparison.
        speedup: what the comparison found.
        seconds: that the turns of both sides took.
    """

    planted: float
    speedup: Speedup
    seconds: float

    @property
    def found(self) -> bool:
        """Whether the slowdown was told."""
        return self.planted > 0 and self.speedup.verdict == "slower"

    @property
    def false(self) -> bool:
        """Whether a change was told that was not there, or in the wrong direction."""
        return self.speedup.verdict in (("faster", "slower") if self.planted == SAME else ("faster", "equivalent"))


@dataclass(frozen=True)
class Plan:
    """How each trial is measured: as a run measures a comparison.

    Attributes:
        budget_s: no further turn of a comparison begins after so long.
        margin: half-width of what counts as equivalent.
        block_ms: a turn repeats a short call until it lasts about so long.
        pause_s: rest between turns.
        seed: of the order of turns.
    """

    budget_s: float
    margin: float = 0.02
    block_ms: float = 50.0
    pause_s: float = 0.005
    seed: int = 0


def sitting(recipe: CallRecipe, planted: Sequence[float], plan: Plan, logs: Path) -> list[Trial]:
    """One trial of each planted share, in fresh processes: what differs between two processes is noise, too.

    All take turns beside one baseline. A comparison that is narrow enough, or has used its budget, takes no further
    turn; its budget counts its own turns and the baseline's beside them.

    Args:
        recipe: what is called.
        planted: shares of extra work, 0 for A/A.
        plan: how.
        logs: the folder of the workers' output.
    """
    watches = {name(share): Watch(plan.margin) for share in planted}
    spent = dict.fromkeys(watches, 0.0)
    with ExitStack() as stack:
        workers = _start(recipe, planted, logs, stack)
        for worker in workers.values():
            worker.call("load")
        calls = calls_per_turn(fmean(workers[BASELINE].call("turn", 4)), plan.block_ms)
        schedule = Schedule(list(workers), seed=plan.seed)
        while still := [lane for lane, watch in watches.items() if spent[lane] < plan.budget_s and watch.wide()]:
            means, seconds = _round(workers, schedule.round([BASELINE, *still]), calls, plan.pause_s)
            for lane in still:
                watches[lane].add([(means[BASELINE], means[lane])])
                spent[lane] += seconds[BASELINE] + seconds[lane]
    return [Trial(share, watches[name(share)].speedup(), spent[name(share)]) for share in planted]


def name(share: float) -> str:
    """A lane's name."""
    return "same" if share == SAME else f"+{share:.4g}"


def _start(recipe: CallRecipe, planted: Sequence[float], logs: Path, stack: ExitStack) -> dict[str, Worker]:
    recipes = {BASELINE: recipe}
    for share in planted:
        options = recipe.options if share == SAME else {**recipe.options, EXTRA: share}
        recipes[name(share)] = replace(recipe, options=options)
    workers = {}
    for lane, made in recipes.items():
        workers[lane] = Worker(lane, made, WorkerSettings(), logs / f"{lane}.log")
        stack.enter_context(stopping([workers[lane]]))
    return workers


def _round(
    workers: Mapping[str, Worker], order: Sequence[str], calls: int, pause_s: float
) -> tuple[dict[str, float], dict[str, float]]:
    """A turn of each lane.

    Returns:
        Mean milliseconds of a call, and seconds that the turn took with its pause; by lane.
    """
    means, seconds = {}, {}
    for lane in order:
        started = time.perf_counter()
        time.sleep(pause_s)
        means[lane] = fmean(workers[lane].call("turn", calls))
        seconds[lane] = time.perf_counter() - started
    return means, seconds


def experiment(
    recipe: CallRecipe, planted: Sequence[float], runs: int, plan: Plan, logs: Path,
    on_run: Callable[[Sequence[Trial]], None] = lambda trials: None,
) -> list[Trial]:  # fmt: skip
    """So many sittings.

    Args:
        recipe: what is called.
        planted: shares of extra work, 0 for A/A.
        runs: sittings, each with another order of turns.
        plan: how.
        logs: the folder of the workers' output.
        on_run: told each sitting's trials.
    """
    trials: list[Trial] = []
    for run in range(runs):
        some = sitting(recipe, planted, replace(plan, seed=plan.seed + run), logs)
        on_run(some)
        trials += some
    return trials
