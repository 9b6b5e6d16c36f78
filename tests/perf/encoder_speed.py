"""How much faster a SAM's encoder is as ONNX than in PyTorch eager, and what our formulation of the graph gives.

    python -m tests.perf.encoder_speed vit_b litemedsam --rounds 9

All graphs and PyTorch take turns on the same image in one process; each ratio comes from pairs of neighbouring turns.
Random weights where none are here: speed does not depend on them. docs/export.md holds what it printed.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from benchmark.lanes import module_source
from benchmark.measure.environment import available_cores, environment
from benchmark.measure.statistics import paired_speedup
from exporters.base import export_artifact
from exporters.exportable import Exportable
from exporters.manifest import ExportError
from exporters.sam import LoadedSam, load_sam
from runners.base import Runner
from runners.device import Device
from runners.registry import make_runner
from tests.perf.in_turns import times


def loaded(model: str) -> LoadedSam:
    """With its own weights, or with random ones where they are not here."""
    try:
        return load_sam(model)
    except ExportError:
        return load_sam(model, random_seed=0)


def measure(model: str, rounds: int) -> None:
    """Prints one table."""
    sam = loaded(model)
    plain = replace(sam.encoder, graph_module=None)
    image = {"image": np.random.default_rng(0).random((1, 3, *2 * (sam.model.image_size,)), dtype=np.float32)}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        lanes: dict[str, Runner] = {}

        def add(name: str, backend: str, part: Exportable, artifact: str) -> None:
            source = module_source(part, Path(folder) / artifact)
            lanes[name] = stack.enter_context(make_runner(backend, source, Device("cpu"), threads=available_cores()))

        for name, part in (("plain", plain), ("ours", sam.encoder)):
            export_artifact(Path(folder) / name, model, sam.weights, (part,), {})
        add("PyTorch eager", "pytorch", sam.encoder, "ours")
        add("ONNX Runtime, plain graph", "onnxruntime", plain, "plain")
        add("ONNX Runtime, our graph", "onnxruntime", sam.encoder, "ours")
        report(model, times(lanes, image, rounds))


def report(model: str, found: Mapping[str, list[float]]) -> None:
    """Prints medians and the ratios to the first lane."""
    baseline = next(iter(found))
    table = Table(
        "lane", "median ms", "fastest ms", f"against {baseline}", "95 %", "pairs", title=model, box=box.SIMPLE
    )
    for name, milliseconds in found.items():
        speedup = paired_speedup(found[baseline], milliseconds)
        interval = "–" if speedup.ci95 is None else f"[{speedup.ci95[0]:.2f}, {speedup.ci95[1]:.2f}]"
        ratio = f"{np.median(np.divide(found[baseline], milliseconds)):.2f}×"
        table.add_row(
            name, f"{np.median(milliseconds):.0f}", f"{min(milliseconds):.0f}", ratio, interval, str(len(milliseconds))
        )
    Console(width=110).print(table)


def main() -> None:
    """Parses and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    machine = environment(available_cores())
    allocator = {name: value for name, value in os.environ.items() if name.startswith("MALLOC_")}
    Console(width=110).print(
        f"{machine.cpu}, {available_cores()} cores, {machine.libraries}, allocator {allocator or 'default'}"
    )
    for model in given.models:
        measure(model, given.rounds)


if __name__ == "__main__":
    main()
