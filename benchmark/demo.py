"""The embedded default: real weights on a phantom, so that everything runs without a download."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from benchmark.data.phantom import PhantomSpec, write_phantom
from benchmark.measure.environment import idle_cores
from benchmark.preflight import SPEC_FILE, require_run_of
from benchmark.spec import Spec, parse_spec

if TYPE_CHECKING:
    from benchmark.run import Progress

FULL_PHANTOM = PhantomSpec(cases=6, slices=13, spacing_mm=(3.0, 3.0, 11.0))
"""78 slices, since a p90 needs 64."""

REPORTS = "write the reports"


@dataclass(frozen=True)
class Demo:
    """One of the demos. Three of its six cases train, one validates, two test.

    Attributes:
        file: of its specification, in benchmark/specs.
        phantom: what it runs on.
        steps: how each step's title begins, in order, and about how many seconds it takes on two cores; the time left
            comes from these.
    """

    file: str
    phantom: PhantomSpec
    steps: Sequence[tuple[str, float]]

    @property
    def name(self) -> str:
        """Of the run, and of its default folder."""
        return str(self._content["name"])

    @property
    def _content(self) -> dict[str, Any]:
        content: dict[str, Any] = yaml.safe_load(
            files("benchmark").joinpath(f"specs/{self.file}").read_text(encoding="utf-8")
        )
        return content

    def prepare(self, out: Path, progress: Progress) -> Spec:
        """Writes the phantom beside the run, where it is not there yet, and returns the run's specification.

        Raises:
            InputError: the folder cannot be used, or holds another run.
        """
        content = self._content
        require_run_of(out, self.name)  # before another demo's phantom would be replaced
        folder = out.with_name(f"{out.name}-data")
        content["data"]["root"] = str(folder.resolve())
        advance = progress.start("make the phantom", self.phantom.cases)
        write_phantom(folder, self.phantom, lambda done, total: advance(1, ""))
        content.setdefault("measure", {})["threads"] = threads_of_run(out) or idle_cores()
        return parse_spec(content, f"benchmark/specs/{self.file}", Path())


def threads_of_run(out: Path) -> int | None:
    """What an earlier, interrupted demo in this folder was measured with; None where there is none.

    A lane with more threads than cores are free waits for the one that has none, ten times as long as it computes.
    """
    try:
        content = yaml.safe_load((out / SPEC_FILE).read_text(encoding="utf-8"))
        threads = content["measure"]["threads"]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        return None
    return threads if isinstance(threads, int) and threads >= 1 else None


SHORT = Demo(
    file="demo.yaml",
    phantom=PhantomSpec(cases=6, size=96, slices=4, spacing_mm=(4.0, 4.0, 36.0)),
    steps=(
        ("make the phantom", 10),
        ("export litemedsam", 50),  # with the training on reference labels beside it
        ("pseudolabel", 60),
        ("train", 25), ("export", 6), ("segment", 20),
        ("train", 5), ("export", 6), ("segment", 20),
        (REPORTS, 8),
    ),
)  # fmt: skip
"""A report in a few minutes on two cores."""

FULL = Demo(
    file="demo-full.yaml",
    phantom=FULL_PHANTOM,
    steps=(
        ("make the phantom", 20),
        ("export litemedsam", 35),
        ("pseudolabel", 90),
        ("train", 60), ("export", 6), ("segment", 80),
        ("train", 60), ("export", 6), ("segment", 80),
        (REPORTS, 8),
    ),
)  # fmt: skip
"""Enough slices for a p90, and trainings that come close to their end."""

SMALLEST_SPEC = "{name: mine, data: {root: FOLDER, tasks: [TASK]}}"

WHAT_NEXT = (
    f"Your own data: write  {SMALLEST_SPEC}  into mine.yaml, where FOLDER/TASK has imagesTr, labelsTr and dataset.json "
    "as the tasks of the Medical Segmentation Decathlon.",
    "Then  sambench doctor mine.yaml  says what runs here, and  sambench run mine.yaml  measures it.",
)
"""Two lines, printed at the end."""
