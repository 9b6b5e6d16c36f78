"""The dummy stands in for a real backend in a whole pipeline."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.lanes import module_source
from benchmark.measure.scenarios import offline
from benchmark.stages.base import NotFiniteError, Outcome
from benchmark.stages.pseudolabel import Pseudolabelling, PseudolabelPipeline
from benchmark.stages.sam_input import SamInput
from runners.device import Device
from runners.registry import make_runner
from tests.benchmark.fake_sam import MODEL, FakeSam
from tests.benchmark.stages.test_pseudolabel import two_organs, unit_of

UNIT = unit_of(two_organs(), "box")


def pipeline(stack: ExitStack, backend: str, **options: Any) -> PseudolabelPipeline:
    sam = FakeSam()
    runners = [
        stack.enter_context(make_runner(backend, module_source(part, Path("none")), Device("cpu"), 1, options))
        for part in (sam.encoder, sam.decoder)
    ]
    fitted = SamInput(MODEL.image_size, MODEL.grid, MODEL.normalisation, half_turn=False, fit="pad")
    return Pseudolabelling(fitted)(runners)


def passed(backend: str, **options: Any) -> Outcome:
    with ExitStack() as stack:
        return pipeline(stack, backend, **options).process(UNIT)


def test_where_it_computes_its_masks_are_those_of_pytorch() -> None:
    told = passed("dummy", computes=True, delay_ms=0.0)
    expected = passed("pytorch")
    assert set(np.unique(expected.labels["box"])) == {0, 1, 4}
    np.testing.assert_array_equal(told.labels["box"], expected.labels["box"])


def test_where_it_does_not_it_labels_nothing_and_takes_its_time() -> None:
    told = passed("dummy", delay_ms=20.0)
    assert not told.labels["box"].any()
    # The encoder once, the decoder at least once.
    assert told.device_ms("box") >= 40.0 - 1e-6, "the difference of two times is rounded"


def test_its_nan_ends_a_unit_as_that_of_a_real_backend_does() -> None:
    with pytest.raises(NotFiniteError):
        passed("dummy", computes=True, fails="nan")


def test_an_offline_pass_prepares_slices_ahead() -> None:
    with ExitStack() as stack:
        made = pipeline(stack, "dummy", delay_ms=0.5)
        assert offline(made.finish, [UNIT] * 5, 1e9, made.prepare).units == 5
