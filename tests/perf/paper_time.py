"""How long docs/examples/paper.yaml and paper-mri.yaml take, computed: the tables of docs/paper.md.

    python -m tests.perf.paper_time
    python -m tests.perf.paper_time --set data.cases=20 --set data.slices=10 --set unet.epochs=30

Slices come from a catalogue, shares with a label from sizes of organs: both are estimates. Rates are those that
docs/performance.md and docs/train.md measured on two cores, and of a GPU one that others published.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from benchmark.spec import Spec, load_spec
from exporters.fetch import PUBLISHED

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@dataclass(frozen=True)
class Size:
    """A task as published.

    Attributes:
        gb: of the archive, in 10^9 bytes, rounded up; the task extracted is as large.
        cases: with labels, by its dataset.json.
        slices: of those cases, by openmedlab/Awesome-Medical-Dataset; for Lung and Spleen cases times the median.
        labelled: slices of a case that hold a label: the label's height over the median distance of slices.
        labels: how many.
        side: rows and columns of a slice.
    """

    gb: float
    cases: int
    slices: int
    labelled: float
    labels: int
    side: int = 512


SIZES: Mapping[str, Size] = {
    "Task01_BrainTumour": Size(7.7, 484, 75_020, 65, 3, 240),
    "Task02_Heart": Size(0.5, 20, 2_271, 65, 1, 320),
    "Task03_Liver": Size(28.9, 131, 58_638, 170, 2),
    "Task04_Hippocampus": Size(0.1, 260, 9_279, 30, 2, 50),
    "Task05_Prostate": Size(0.3, 32, 602, 15, 2, 320),
    "Task06_Lung": Size(9.2, 63, 63 * 252, 20, 1),
    "Task07_Pancreas": Size(12.3, 281, 26_719, 40, 2),
    "Task08_HepaticVessel": Size(9.4, 303, 21_120, 32, 2),
    "Task09_Spleen": Size(1.7, 41, 41 * 90, 22, 1),
    "Task10_Colon": Size(6.3, 126, 13_486, 9, 1),
}


@dataclass(frozen=True)
class Machine:
    """Seconds, by backend where they depend on it.

    Attributes:
        encode: ViT-B on a slice.
        decode: a prompt.
        train: a window of 128² of the default UNet, forth and back, on its way from the disk.
        window: a window of 256² through the UNet, forth alone.
    """

    name: str
    encode: Sequence[float]
    decode: Sequence[float]
    train: float
    window: Sequence[float]


CPU = Machine(
    "2 cores of an AMD EPYC with AVX-512", (14.094, 3.545), (0.0501, 0.0138), 7.6 / 192, (0.0948 / 8, 0.0440 / 8)
)
"""docs/performance.md, but `train`: docs/train.md."""

DEEPER = 1.25
"""What a fifth level adds to the UNet: a level has half the rows and columns and twice the channels."""

A100_ENCODE = 0.0904
"""ViT-B in PyTorch, fp32: pytorch-labs/segment-anything-fast, `experiments/p4d_results/results_bs1.csv`. Not ours."""


@dataclass(frozen=True)
class Hours:
    """Of one task; `encode`, `decode` and `segment` are of both backends together."""

    encode: float
    decode: float
    train: float
    segment: float

    @property
    def all(self) -> float:
        """Together."""
        return self.encode + self.decode + self.train + self.segment


def used(spec: Spec, size: Size) -> tuple[float, float]:
    """Slices that are prompted, and slices that UNets see: with `data.slices` the labelled ones alone."""
    cases = min(size.cases, spec.data.cases or size.cases)
    labelled = min(size.labelled, spec.data.slices or size.labelled)
    return cases * labelled, cases * (labelled if spec.data.slices else size.slices / size.cases)


def estimate(spec: Spec, size: Size, machine: Machine) -> Hours:
    """The hours of one task."""
    if spec.sam is None or spec.unet is None:
        raise ValueError("the paper has both stages")
    unet, prompts = spec.unet, len(spec.sam.prompts)
    labelled, slices = used(spec, size)
    training = slices * (1 - unet.test_share) * (1 - unet.validation_share)
    patch = unet.patch[0] * unet.patch[1]
    trainings = len(spec.training_labels)
    step = machine.train * patch / 128**2 * DEEPER
    # Windows of the patch's size that overlap by a quarter.
    windows = max(1, round(((size.side / unet.patch[0] - 1) / 0.75 + 1) ** 2)) * slices * unet.test_share
    return Hours(
        encode=labelled * sum(machine.encode) / 3600,
        decode=labelled * size.labels * prompts * sum(machine.decode) / 3600,
        train=training * unet.epochs * trainings * step / 3600,
        segment=windows * trainings * sum(machine.window) * patch / 256**2 * DEEPER / 3600,
    )


LABEL_BYTES = 1 / 18
"""Of a voxel's byte what is left on disk: eight organs of a real CT of 122 × 101 × 30. Larger slices need less."""


def pseudo_labels_gb(spec: Spec, size: Size) -> float:
    """GB of pseudo labels: a whole label map for each strategy and case."""
    cases = min(size.cases, spec.data.cases or size.cases)
    voxels = size.slices / size.cases * cases * size.side**2
    return voxels * len(spec.sam.prompts if spec.sam else ()) * LABEL_BYTES / 1e9


def scratch_gb(spec: Spec, size: Size) -> float:
    """GB of a task while its UNet trains: float32 images and labels of a byte; removed at its end."""
    test = spec.unet.test_share if spec.unet else 0
    return used(spec, size)[1] * (1 - test) * size.side**2 * 5 / 1e9


HEAD = ("task", "GB", "cases", "slices", "with a label", "encoder", "decoder", "trainings", "UNets", "all, hours")


def row(spec: Spec, task: str) -> str:
    """Of the table, in Markdown."""
    size = SIZES[task]
    hours = estimate(spec, size, CPU)
    labelled, slices = used(spec, size)
    cases = min(size.cases, spec.data.cases or size.cases)
    parts = (hours.encode, hours.decode, hours.train, hours.segment, hours.all)
    counts = (f"`{task}`", f"{size.gb:g}", f"{cases}", f"{slices:,.0f}", f"{labelled:,.0f}")
    return "| " + " | ".join([*counts, *(f"{part:,.1f}" for part in parts)]) + " |"


def told(name: str, overrides: Sequence[str]) -> str:
    """A file's table and its totals, in Markdown."""
    spec = load_spec(EXAMPLES / name, overrides)
    tasks = spec.data.tasks
    sizes = [SIZES[task] for task in tasks]
    hours = [estimate(spec, size, CPU) for size in sizes]
    labelled = sum(used(spec, size)[0] for size in sizes)
    weights = PUBLISHED["vit_b"].bytes or 0
    return "\n".join(
        [
            f"{' '.join([name, *overrides])}, hours on {CPU.name}, both backends together",
            "",
            "| " + " | ".join(HEAD) + " |",
            "|---" * len(HEAD) + "|",
            *(row(spec, task) for task in tasks),
            "",
            f"all: {sum(part.all for part in hours):,.0f} hours, {sum(part.all for part in hours) / 24:.1f} days",
            f"the encoder in PyTorch on an A100, as others measured it: {labelled * A100_ENCODE / 3600:.1f} hours",
            f"disk: tasks {sum(size.gb for size in sizes):.0f} GB, the largest archive beside its task "
            f"{max(size.gb for size in sizes):.0f} GB, weights {weights / 1e9:.1f} GB, pseudo labels at most "
            f"{sum(pseudo_labels_gb(spec, size) for size in sizes):.1f} GB, a training's scratch up to "
            f"{max(scratch_gb(spec, size) for size in sizes):.1f} GB",
        ]
    )


def main() -> None:
    """Prints both files' tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as of sambench run")
    given = parser.parse_args()
    typer.echo("\n\n".join(told(name, given.set) for name in ("paper.yaml", "paper-mri.yaml")))


if __name__ == "__main__":
    main()
