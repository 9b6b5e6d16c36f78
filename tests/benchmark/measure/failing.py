"""A stage whose dummy backend stops failing when the environment says so, which is no part of a run's key."""

from __future__ import annotations

import os
from collections.abc import Sequence

from benchmark.stages.pseudolabel import Pseudolabelling, PseudolabelPipeline
from runners.base import Runner
from runners.dummy import DummyRunner

MENDED = "SAMBENCH_TEST_MENDED"


class Mendable(Pseudolabelling):
    """In the place of `Pseudolabelling`; it is made into a pipeline in the worker."""

    def __call__(self, runners: Sequence[Runner]) -> PseudolabelPipeline:
        for runner in runners:
            if isinstance(runner, DummyRunner) and os.environ.get(MENDED):
                runner.program = runner.program.model_copy(update={"fails": None})
        return super().__call__(runners)
