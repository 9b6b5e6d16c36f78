"""Weak against full supervision on a phantom of 12 cases: 8 to train, 2 to validate, 2 to test, on the CPU.

    python -m tests.perf.weak_vs_full [--out DIR]

Runs the whole chain (LiteMedSAM's pseudo labels from boxes, two trainings of a 2-D UNet, export, both backends) and
prints its report, its wall time and the liver's test Dice of both UNets. With --out an interrupted one is resumed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from rich.console import Console

from benchmark.data.phantom import PHANTOM_TASK, PhantomSpec, write_phantom
from benchmark.progress import progress_bars
from benchmark.results import Results
from benchmark.run import Run
from benchmark.spec import parse_spec
from reports.terminal import print_report

PHANTOM = PhantomSpec(cases=12, slices=8, spacing_mm=(3.0, 3.0, 17.0))
SPEC = {
    "name": "weak-vs-full",
    "data": {"root": "data", "tasks": [PHANTOM_TASK]},
    "sam": {"prompts": ["box"]},
    "measure": {"warmup": 1},
    "unet": {"weak_vs_full": True, "epochs": 20, "test_share": 0.17, "validation_share": 0.2},
}


def execute(out: Path) -> Results:
    """Writes the phantom into `out` and runs the chain beside it."""
    with progress_bars() as progress:
        advance = progress.start("make the phantom", PHANTOM.cases)
        write_phantom(out / "data", PHANTOM, lambda done, total: advance(1, ""))
        return Run(parse_spec(SPEC, "SPEC", out), out / "run", progress, "python -m tests.perf.weak_vs_full").execute()


def liver(results: Results, labels: str) -> list[float]:
    """Test Dice of the liver with PyTorch, one value a case."""
    (cell,) = [c for c in results.cells if (c.stage, c.prompt, c.backend) == ("segment", labels, "pytorch")]
    return [entry.dice for entry in cell.dice_per_case if entry.label == "liver" and entry.dice is not None]


def main() -> None:
    """Parses, runs and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    console = Console(width=110)
    with tempfile.TemporaryDirectory() as scratch:
        results = execute(given.out or Path(scratch))
    print_report(results, console)
    console.print(f"whole run: {results.seconds / 60:.1f} minutes")
    for labels in ("reference", "box"):
        values = liver(results, labels)
        console.print(f"liver, trained on {labels}: test Dice {', '.join(f'{value:.3f}' for value in values)}")


if __name__ == "__main__":
    main()
