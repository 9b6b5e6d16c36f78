"""How much faster a task is pseudo-labelled than with a plain loop, and whether the masks are the same.

    python -m tests.perf.labelling_speed ../shared/msd-real/Task101_AbdomenCT --lanes onnxruntime,openvino:bf16

Both read a case from its NIfTI file and write one NIfTI file a strategy. The plain loop is `tests/perf/plain_loop.py`:
the official predictor in PyTorch eager, one call a prompt. Ours is what `sambench label` and `sambench run` use: slices
made ready ahead, one embedding for all strategies, prompts in batches, in each of the lanes (a backend, and after a
colon its precision). They take turns in one process; loading and exporting the model is outside the clock. What a lane
may lose is a thousandth of the plain loop's mean Dice against the reference labels. docs/performance.md holds what it
printed.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from benchmark.data.msd import CaseFiles, Task, open_task
from benchmark.data.slices import slices
from benchmark.data.volume import load_volume, save_labels
from benchmark.labelling.stream import CaseEnd, CaseStart, stream
from benchmark.lanes import LaneSettings, module_source, open_lanes
from benchmark.measure.environment import available_cores, environment
from benchmark.measure.schedule import Schedule
from benchmark.metrics import dice_per_label
from benchmark.prompts import Prompter
from benchmark.results import LaneKey
from benchmark.stages.ahead import ahead
from benchmark.stages.base import Labels
from benchmark.stages.pseudolabel import Prepared, PseudolabelPipeline
from benchmark.stages.sam_input import SamInput
from exporters.base import ExportOptions, export_artifact
from exporters.precision import sam_reduction
from exporters.sam import LoadedSam, load_sam
from runners.base import ModuleSource
from runners.registry import FILE_PRECISION
from tests.perf.plain_loop import label_slice, official_predictor

STRATEGIES = ("box", "box-margin3", "box-jitter10", "point", "box+point")
PAUSE_S = 1.0
PLAIN = "plain loop"

LabelCase = Callable[[CaseFiles, Path], dict[str, Labels]]


def plain(task: Task, prompter: Prompter) -> LabelCase:
    """Labels a case with the plain loop and as many threads as PyTorch takes by itself."""
    predictor = official_predictor(load_sam("litemedsam"))
    threads = torch.get_num_threads()

    def label(files: CaseFiles, folder: Path) -> dict[str, Labels]:
        torch.set_num_threads(threads)
        volume = load_volume(task, files)
        found = {strategy: np.zeros_like(volume.label) for strategy in STRATEGIES}
        asked = prompter.case(volume.case, volume.label)
        for piece in slices(volume, only_labelled=True):
            for strategy, labels in label_slice(predictor, piece, asked.on(piece)).items():
                found[strategy][:, :, piece.index] = labels.T
        for strategy, labels in found.items():
            save_labels(labels, volume.geometry, folder / f"plain-{strategy}.nii.gz")
        return found

    return label


def ours(task: Task, prompter: Prompter, pipeline: PseudolabelPipeline) -> LabelCase:
    """Labels a case with sambench's pipeline."""

    def label(files: CaseFiles, folder: Path) -> dict[str, Labels]:
        torch.set_num_threads(1)
        found: dict[str, Labels] = {}
        with closing(ahead(stream(task, [files], prompter, pipeline), 2)) as parts:
            for part in parts:
                if isinstance(part, CaseStart):
                    found, geometry = {name: np.zeros_like(part.reference) for name in STRATEGIES}, part.geometry
                elif isinstance(part, Prepared):
                    outcome = pipeline.finish(part)
                    for strategy, labels in outcome.labels.items():
                        found[strategy][:, :, part.unit.slices[0].index] = labels[0].T
                elif isinstance(part, CaseEnd):
                    for strategy, labels in found.items():
                        save_labels(labels, geometry, folder / f"ours-{strategy}.nii.gz")
        return found

    return label


def exported(sam: LoadedSam, precisions: Collection[str], folder: Path) -> dict[str, list[ModuleSource]]:
    """Precision → encoder and decoder, from files of that precision where it has its own."""
    sources = {}
    parts = (sam.encoder, sam.decoder)
    for precision in precisions:
        own = FILE_PRECISION.get(precision, precision)
        if not (folder / own).exists():
            options = ExportOptions(reduction=sam_reduction(own, []))
            export_artifact(folder / own, "litemedsam", sam.weights, parts, sam.settings, options)
        sources[precision] = [module_source(part, folder / own, precision) for part in parts]
    return sources


def measure(task: Task, keys: Sequence[LaneKey], rounds: int) -> None:
    """Prints the times, their ratios, and the Dice between both sides' labels and against the reference."""
    prompter = Prompter.of(STRATEGIES, task.labels)
    sam = load_sam("litemedsam")
    # Made before the lanes are open: they leave PyTorch one thread, which is not what it takes by itself.
    looped = plain(task, prompter)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = exported(sam, {key.precision for key in keys}, folder)
        settings = LaneSettings(tuple(keys), "cpu", available_cores())
        sam_input = SamInput.of(sam.model)
        with open_lanes(settings, sources, lambda r: PseudolabelPipeline(r[0], r[1], sam_input)) as lanes:
            sides = {PLAIN: looped}
            for key in keys:
                pipeline = lanes[str(key)].pipeline
                assert isinstance(pipeline, PseudolabelPipeline)
                sides[str(key)] = ours(task, prompter, pipeline)
            seconds, found = in_turns(task.cases[0], sides, folder, rounds)
    report(task, seconds, found)


def in_turns(
    files: CaseFiles, sides: dict[str, LabelCase], folder: Path, rounds: int
) -> tuple[dict[str, list[float]], dict[str, dict[str, Labels]]]:
    """Seconds of each round, and the labels of the last."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    found = {}
    schedule = Schedule(list(sides), seed=0)
    for _ in range(rounds):
        for name in schedule.round(list(sides)):
            time.sleep(PAUSE_S)
            started = time.perf_counter()
            found[name] = sides[name](files, folder)
            seconds[name].append(time.perf_counter() - started)
    return seconds, found


def report(task: Task, seconds: dict[str, list[float]], found: dict[str, dict[str, Labels]]) -> None:
    """Prints both tables."""
    console = Console(width=110)
    times = Table(
        "side", "seconds of each round", "median", title=f"{task.name}, {len(STRATEGIES)} strategies", box=box.SIMPLE
    )
    for name, values in seconds.items():
        times.add_row(name, ", ".join(f"{value:.1f}" for value in values), f"{np.median(values):.1f}")
    console.print(times)
    console.print(f"PyTorch's threads in the plain loop: {torch.get_num_threads()}")
    for backend in list(seconds)[1:]:
        ratios = np.divide(seconds[PLAIN], seconds[backend])
        told = f"[{ratios.min():.2f}, {ratios.max():.2f}]" if len(ratios) > 1 else "(one round)"
        console.print(f"{backend} is {np.median(ratios):.2f}× as fast as the plain loop {told}")
    same = Table("strategy", *list(seconds)[1:], title="Lowest Dice against the plain loop, by label", box=box.SIMPLE)
    for strategy in STRATEGIES:
        same.add_row(
            strategy, *(_lowest(found[name][strategy], found[PLAIN][strategy], task) for name in list(seconds)[1:])
        )
    console.print(same)
    reference = load_volume(task, task.cases[0]).label
    right = Table("strategy", *seconds, title="Mean Dice against the reference labels", box=box.SIMPLE)
    for strategy in STRATEGIES:
        means = {name: _mean(found[name][strategy], reference, task) for name in seconds}
        changes = [f"{means[name]:.4f} ({means[name] - means[PLAIN]:+.4f})" for name in list(seconds)[1:]]
        right.add_row(strategy, f"{means[PLAIN]:.4f}", *changes)
    console.print(right)


def _mean(labels: Labels, reference: Labels, task: Task) -> float:
    return float(
        np.mean([value for value in dice_per_label(labels, reference, task.labels).values() if value is not None])
    )


def _lowest(labels: Labels, reference: Labels, task: Task) -> str:
    dice = dice_per_label(labels, reference, task.labels)
    known = {name: value for name, value in dice.items() if value is not None}
    worst = min(known, key=lambda name: known[name])
    return f"{known[worst]:.5f} ({worst})"


def main() -> None:
    """Parses and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", type=Path)
    parser.add_argument("--lanes", default="onnxruntime")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    machine = environment(available_cores())
    allocator = {name: value for name, value in os.environ.items() if name.startswith("MALLOC_")}
    Console(width=110).print(
        f"{machine.cpu}, {available_cores()} cores, {machine.libraries}, allocator {allocator or 'default'}"
    )
    measure(open_task(given.task), [LaneKey(*lane.split(":")) for lane in given.lanes.split(",")], given.rounds)


if __name__ == "__main__":
    main()
