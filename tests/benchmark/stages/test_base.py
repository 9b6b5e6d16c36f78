"""What both stages share: times by phase, and the refusal of answers that are no numbers."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.stages.base import NotFiniteError, Outcome, PhaseClock, Unit, require_finite
from benchmark.stages.pseudolabel import PseudolabelPipeline
from benchmark.stages.segment import SegmentPipeline
from benchmark.stages.windows import WindowedNetwork
from exporters.unet_config import SlidingWindow
from tests.benchmark.stages.fake_runners import UPRIGHT, FakeDecoder, FakeEncoder, paint
from tests.benchmark.stages.test_pseudolabel import two_organs, unit_of
from tests.benchmark.stages.test_segment import Thresholds
from tests.clock import Clock


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_number_among_many_is_refused(bad: float) -> None:
    logits = np.zeros((2, 1, 300, 300), dtype=np.float32)
    logits[1, 0, 299, 3] = bad
    with pytest.raises(NotFiniteError, match="NaN or infinity"):
        require_finite(logits)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_opposite_infinities_do_not_cancel() -> None:
    with pytest.raises(NotFiniteError):
        require_finite(np.array([np.inf, -np.inf], dtype=np.float32))


def test_large_finite_logits_are_no_infinity() -> None:
    for fine in (np.full(1000, np.finfo(np.float32).max, dtype=np.float32), np.zeros(0, dtype=np.float32)):
        assert require_finite(fine) is None, "nothing is raised"


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("benchmark.stages.base.time", clock)
    return clock


def test_a_phase_that_comes_twice_is_added_up(time: Clock) -> None:
    clock = PhaseClock()
    for _ in range(2):
        with clock("decode"):
            time.sleep(0.02)
        time.sleep(3.0)  # between phases
    with clock("encode"):
        pass
    assert clock.ms == {"decode": pytest.approx(40), "encode": 0}


def test_what_a_phase_began_on_the_device_is_waited_for_within_it(time: Clock) -> None:
    """Else the next phase, or nobody, would pay for it."""
    clock = PhaseClock(wait=lambda: time.sleep(0.02))
    with clock("postprocess"):
        pass
    assert clock.ms["postprocess"] == pytest.approx(20)


@pytest.mark.parametrize("corrections", [0, 2])
def test_every_phase_of_both_stages_waits_for_the_device(corrections: int) -> None:
    waits: list[str] = []
    unit = unit_of(two_organs(), f"iterative{corrections + 1}")
    sam = PseudolabelPipeline(FakeEncoder(), FakeDecoder(paint), UPRIGHT, wait=lambda: waits.append("sam"))  # type: ignore[arg-type]
    sam.process(unit)
    calls = len(sam.decoder.inputs)  # type: ignore[attr-defined]
    # encode; of each call what goes in, the decoder and what comes out; the overlay, and its way to the host
    assert len(waits) == 1 + 3 * calls + 2
    network = WindowedNetwork(Thresholds(), SlidingWindow(patch=(8, 8)), 4)  # type: ignore[arg-type]
    SegmentPipeline(network, "x", [1, 2], lambda: waits.append("unet")).process(Unit(unit.slices, {}))
    assert waits.count("unet") == 3


def test_a_variant_is_charged_with_what_was_spent_once_for_all_and_with_its_own() -> None:
    empty = np.zeros((1, 2, 2), np.uint8)
    outcome = Outcome(
        {"box": empty, "point": empty},
        shared_ms={"preprocess": 1.0, "encode": 5.0},
        own_ms={"box": {"postprocess": 4.0, "decode": 2.0, "preprocess": 1.5}},
    )
    assert list(outcome.phases("box").items()) == [
        ("preprocess", 1.5),
        ("encode", 5.0),
        ("decode", 2.0),
        ("postprocess", 4.0),
    ]
    assert outcome.phases("point") == {"preprocess": 1.0, "encode": 5.0}
