"""How often the engine tells a change that is not there, and how often it finds one that is.

Many comparisons of a workload with itself (A/A) and with itself made slower by a known share, each in fresh processes
and within the default budget of a run:

    python -m tests.perf.false_verdicts dummy --runs 40     # a call of 20 ms with noise of 5 % and drift of 30 %
    python -m tests.perf.false_verdicts decoder --runs 40   # LiteMedSAM's decoder; with nothing else running

Prints one table; docs/method.md has what it said.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from benchmark.calibration.calls import CallRecipe
from benchmark.calibration.experiment import SAME, Plan, Trial, experiment
from benchmark.calibration.job import decoder_calls
from benchmark.calibration.store import summary
from benchmark.measure.environment import available_cores, business, environment
from benchmark.sections import MeasureSpec
from exporters.manifest import TensorSpec
from runners.base import ModuleSource, Signature

DELAY_MS, NOISE, DRIFT, DRIFT_S = 20.0, 0.05, 0.3, 20.0


class Silent:
    """No progress bars."""

    def start(self, title: str, total: float) -> Callable[[float, str], None]:
        return lambda amount, note: None

    def say(self, text: str) -> None: ...


def dummy_calls() -> CallRecipe:
    """A dummy whose calls scatter by 5 % and slow down by 30 % within twenty seconds, all workers alike."""
    value = TensorSpec(name="x", dims=(1,))
    source = ModuleSource("dummy", Signature.of([value], [TensorSpec(name="y", dims=(1,))]))
    options = {
        "delay_ms": DELAY_MS, "noise": NOISE, "drift": DRIFT, "drift_s": DRIFT_S, "epoch": time.monotonic(),
    }  # fmt: skip
    return CallRecipe("dummy", source, {"x": np.zeros(1, np.float32)}, options=options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", choices=["dummy", "decoder"])
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--planted", type=float, nargs="*", default=[0.05])
    parser.add_argument("--seed", type=int, default=0, help="of the order of turns")
    given = parser.parse_args()
    console = Console(width=118)
    here = environment(available_cores(), business())
    console.print(f"{here.cpu}, {here.cores} cores, {here.libraries}; other load: {here.busy or 'none'}")
    recipe = dummy_calls() if given.workload == "dummy" else decoder_calls(here, Silent())
    measure = MeasureSpec()
    plan = Plan(measure.budget_s, measure.margin, measure.block_ms, measure.pause_ms / 1e3, given.seed)
    with tempfile.TemporaryDirectory() as logs:
        trials = experiment(recipe, (SAME, *given.planted), given.runs, plan, Path(logs), tell(console))
    console.print(table(given.workload, trials, plan))


def tell(console: Console) -> Callable[[Sequence[Trial]], None]:
    """Prints each sitting, so that an interrupted experiment has said something."""

    def on_run(trials: Sequence[Trial]) -> None:
        words = [
            f"+{t.planted:.0%} {t.speedup.ratio:.4f} {tuple(round(x, 4) for x in t.speedup.ci95 or ())} "
            f"{t.speedup.verdict} {t.speedup.pairs} pairs {t.seconds:.0f} s"
            for t in trials
        ]
        console.print(" | ".join(words), highlight=False)

    return on_run


def table(workload: str, trials: Sequence[Trial], plan: Plan) -> Table:
    found = Table(
        "extra work", "runs", "verdicts", "told a change", "median speedup", "widest interval ±", "pairs", "seconds",
        title=f"{workload}, at most {plan.budget_s:g} s a comparison, margin {plan.margin:.0%}", box=box.SIMPLE,
    )  # fmt: skip
    for level in summary(trials):
        some = [t.speedup.pairs for t in trials if t.planted == level.planted]
        found.add_row(
            f"{level.planted:.0%}" if level.planted else "none (A/A)",
            str(level.runs),
            ", ".join(f"{count} {verdict}" for verdict, count in level.verdicts.items()),
            f"{round(level.found * level.runs)} of {level.runs}",
            f"{level.median_speedup:.4f}×",
            f"{level.widest_half_width:.2%}",
            f"{min(some)}–{max(some)}",
            f"{level.median_seconds:.0f}",
        )
    return found


if __name__ == "__main__":
    main()
