"""The embedded default: real weights on a phantom, so that everything runs without a download."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from benchmark.data.phantom import PhantomSpec, write_phantom
from benchmark.spec import Spec, parse_spec

if TYPE_CHECKING:
    from benchmark.run import Progress

PHANTOM = PhantomSpec(cases=6, slices=13, spacing_mm=(3.0, 3.0, 11.0))
"""Small enough for two cores: three cases train, one validates, two test. 78 slices, since a p90 needs 64."""


def demo_spec(out: Path, progress: Progress) -> Spec:
    """Writes the phantom beside the run, where it is not there yet, and returns the run's specification.

    Raises:
        InputError: the folder cannot be used.
    """
    content = yaml.safe_load(files("benchmark").joinpath("specs/demo.yaml").read_text(encoding="utf-8"))
    folder = out.with_name(f"{out.name}-data")
    content["data"]["root"] = str(folder.resolve())
    advance = progress.start("make the phantom", PHANTOM.cases)
    write_phantom(folder, PHANTOM, lambda done, total: advance(1, ""))
    return parse_spec(content, "benchmark/specs/demo.yaml", Path())
