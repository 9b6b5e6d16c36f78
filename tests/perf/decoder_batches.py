"""How many prompts a call of LiteMedSAM's decoder should take: milliseconds a prompt by batch size and backend.

    python -m tests.perf.decoder_batches --rounds 5

`benchmark.stages.batches.PROMPTS_PER_CALL` holds the fastest sizes; docs/method.md has what this printed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from benchmark.lanes import module_source
from benchmark.measure.environment import available_cores
from exporters.base import export_artifact
from exporters.sam import load_sam
from runners.base import Runner
from runners.device import Device
from runners.registry import REAL_BACKENDS, make_runner
from tests.perf.performance import present
from tests.perf.workloads import decoder_feed

SIZES = (1, 2, 4, 8, 16, 32)
PAUSE_S = 0.05


def measure(runners: Mapping[str, Runner], rounds: int) -> dict[tuple[str, int], float]:
    """Backend and size → median milliseconds a prompt, all in turns."""
    found: dict[tuple[str, int], list[float]] = {(name, size): [] for name in runners for size in SIZES}
    feeds = {size: decoder_feed(size) for size in SIZES}
    for round_ in range(rounds + 1):  # the first warms up
        for size in SIZES:
            for name, runner in runners.items():
                time.sleep(PAUSE_S)
                started = time.perf_counter()
                runner.run(feeds[size])
                if round_:
                    found[name, size].append(1e3 * (time.perf_counter() - started) / size)
    return {key: float(np.median(values)) for key, values in found.items()}


def main() -> None:
    """Parses, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds: int = parser.parse_args().rounds
    sam = load_sam("litemedsam")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        export_artifact(Path(folder) / "artifact", "litemedsam", sam.weights, (sam.decoder,), sam.settings)
        source = module_source(sam.decoder, Path(folder) / "artifact")
        runners = {
            name: stack.enter_context(make_runner(name, source, Device("cpu"), available_cores()))
            for name in present(REAL_BACKENDS)
        }
        found = measure(runners, rounds)
    table = Table("prompts a call", *(f"{name}, ms a prompt" for name in runners), box=box.SIMPLE)
    for size in SIZES:
        table.add_row(str(size), *(f"{found[name, size]:.1f}" for name in runners))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
