"""What runs in a worker: it holds a unit, counts its passes, and sends back no more than was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmark.lanes import Lane, LaneSettings
from benchmark.measure import lane_server
from benchmark.measure.lane_server import LaneRecipe, LaneServer
from benchmark.results import LaneKey
from benchmark.stages.base import Outcome, Unit
from runners.base import Attestation, Shapes
from tests.benchmark.measure.fake_lanes import ATTESTED, Fake, make_slices

KEY = ("c1", 0)


class FakeRunner:
    on_call: Any = None
    set_ups = 0
    source = SimpleNamespace(precision="fp32")

    def attest(self) -> Attestation:
        """Tells more after the calls, as compiled code does."""
        return Attestation("onnxruntime", "1", "cpu", "fp32", (), notes=(f"{self.set_ups} compiled",))


class Calling(Fake):
    """Calls its module once a pass, as a pipeline does."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(**changes)
        self.runner = FakeRunner()

    def process(self, unit: Unit) -> Outcome:
        shapes: Shapes = {"image": unit.shape}
        self.runner.on_call(shapes, 4.0 + self.calls)
        return super().process(unit)


Made = tuple[LaneServer, Calling]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    pipeline = Calling()

    @contextmanager
    def opened(settings: LaneSettings, *_: Any) -> Iterator[dict[str, Lane]]:
        runners: Any = {"encoder": pipeline.runner}
        yield {"onnxruntime": Lane(pipeline, {"encoder": ATTESTED}, load_ms=7.0, runners=runners)}

    monkeypatch.setattr(lane_server, "open_lanes", opened)
    monkeypatch.setattr(lane_server, "import_backend", lambda name: None)
    recipe = LaneRecipe(LaneSettings((LaneKey("onnxruntime"),), "cpu", 1), [], lambda runners: pipeline)
    return recipe(), pipeline


def unit(count: int = 1) -> Unit:
    return Unit(tuple(make_slices(count)), {})


def test_it_runs_nothing_before_it_is_loaded(made: Made) -> None:
    server, pipeline = made
    with pytest.raises(ValueError, match="load the lane"):
        server.turn(KEY, unit())
    assert server.load().load_ms == 7.0
    assert pipeline.calls == 0, "loading runs nothing: the first call is told apart"


def test_a_unit_is_sent_once_and_another_key_needs_another_unit(made: Made) -> None:
    server, pipeline = made
    server.load()
    server.turn(KEY, unit())
    server.turn(KEY, None)
    assert pipeline.calls == 1 + 2
    with pytest.raises(ValueError, match="was not sent"):
        server.turn(("c1", 1), None)
    server.warm_up(("c2", 0), unit(), 1, 1e9)
    server.turn(("c2", 0), None)
    with pytest.raises(ValueError, match="was not sent"):
        server.turn(KEY, None)


def test_a_new_shape_gets_a_pass_of_its_own_that_is_in_no_sample(made: Made) -> None:
    server, pipeline = made
    server.load()
    reply = server.turn(KEY, unit(), calls=2)
    assert (pipeline.calls, len(reply.outcomes)) == (3, 2)
    assert list(reply.first_shape_ms) == ["1×4×3"] and reply.first_call_ms is not None
    reply = server.turn(("c1", 1), unit(2), untimed=2)
    assert pipeline.calls == 3 + 2 + 1, "two untimed ones are enough for the shape"
    assert list(reply.first_shape_ms) == ["1×4×3", "2×4×3"]
    server.turn(KEY, unit())
    assert pipeline.calls == 7
    assert 0 <= reply.timed_s <= reply.seconds


def test_modules_are_told_of_timed_passes_alone(made: Made) -> None:
    server, _ = made
    server.load()
    server.warm_up(KEY, unit(), 1, 1e9)
    reply = server.turn(KEY, None, untimed=2, calls=2)
    told = [(call.module, call.shapes, call.milliseconds) for call in reply.calls]
    assert told == [("encoder", {"image": (1, 4, 3)}, 7.0), ("encoder", {"image": (1, 4, 3)}, 8.0)]
    server.offline([unit(), unit()], 1e9)
    assert [call.milliseconds for call in server.turn(KEY, None).calls] == [11.0]


def test_label_maps_are_sent_once_and_only_if_they_are_wanted(made: Made) -> None:
    server, _ = made
    server.load()
    mine = unit(2)
    first, second = server.turn(KEY, mine, calls=2).outcomes
    assert np.array_equal(first.labels["box"], np.stack([piece.label for piece in mine.slices]))
    assert second.labels["box"].size == 0 and second.phases("box") == first.phases("box")
    (bare,) = server.turn(KEY, None, with_labels=False).outcomes
    assert list(bare.labels) == ["box"] and bare.labels["box"].size == 0


def test_a_warm_up_ends_at_its_passes_or_its_time_and_has_one_pass_at_least(made: Made) -> None:
    server, pipeline = made
    server.load()
    assert len(server.warm_up(KEY, unit(), 3, 1e9).samples_ms) == 3
    found = server.warm_up(KEY, unit(), 30, 0)
    assert (len(found.samples_ms), found.steady) == (1, False)
    assert pipeline.calls == 4


def test_an_error_of_the_pipeline_is_the_callers(made: Made) -> None:
    server, pipeline = made
    server.load()
    pipeline.fails_at = 0
    with pytest.raises(RuntimeError, match="no memory"):
        server.turn(KEY, unit())


def test_offline_counts_slices_and_a_volume_only_if_all_units_were_done(made: Made) -> None:
    server, _ = made
    server.load()
    whole = server.offline([unit(2), unit(1)], 1e9)
    assert (whole.slices, whole.volumes) == (3, 1) and whole.seconds > 0
    part = server.offline([unit(2), unit(1)], 0)
    assert (part.slices, part.volumes) == (2, 0), "the unit during which the time passed is the last"


def test_offline_makes_units_ready_where_the_stage_can(made: Made) -> None:
    """As `sambench label` does: the throughput of a labelling job."""
    server, pipeline = made
    server.load()
    steps: list[tuple[str, Any]] = []
    pipeline.prepare = lambda one: steps.append(("prepare", one)) or one  # type: ignore[attr-defined]
    pipeline.finish = lambda one: steps.append(("finish", one))  # type: ignore[attr-defined]
    units = [unit(), unit(2)]
    assert server.offline(units, 1e9).slices == 3
    assert [one for step, one in steps if step == "prepare"] == units
    assert [one for step, one in steps if step == "finish"] == units
    assert pipeline.calls == 0


def test_it_looks_at_its_own_process(made: Made) -> None:
    server, _ = made
    server.load()
    server.turn(KEY, unit())
    look = server.look()
    assert look.memory.before_mib is not None and look.memory.peak_mib is not None
    assert 0 < look.memory.before_mib <= look.memory.peak_mib
    assert look.facts.variables is not None
    assert (look.energy.joules_per_unit is None) != (look.energy.source is not None and look.energy.reason is None)


def test_passes_in_which_the_backend_compiled_are_repeated_because_they_are_no_warm_times(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another number of prompts in a slice of a known shape makes torch.compile compile again, for half a minute."""
    server, pipeline = made
    server.load()
    server.turn(KEY, unit(), calls=1)
    compiling_in = {pipeline.calls + 1, pipeline.calls + 4}  # passes from here on; two a turn

    def process(unit: Unit) -> Outcome:
        outcome = Calling.process(pipeline, unit)
        pipeline.runner.set_ups += pipeline.calls in compiling_in
        return outcome

    monkeypatch.setattr(pipeline, "process", process)
    before = pipeline.calls
    reply = server.turn(("c1", 1), unit(), calls=2)
    assert pipeline.calls - before == 6  # twice with a set-up within, then without
    assert len(reply.outcomes) == 2
    assert [call.milliseconds for call in reply.calls] == [4.0 + before + 4, 4.0 + before + 5]
    assert server.look().attestation["encoder"].notes == ["2 compiled"]


def test_a_backend_that_compiles_in_every_pass_is_not_repeated_for_ever(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, pipeline = made
    server.load()
    server.turn(KEY, unit(), calls=1)

    def process(unit: Unit) -> Outcome:
        pipeline.runner.set_ups += 1
        return Calling.process(pipeline, unit)

    monkeypatch.setattr(pipeline, "process", process)
    before = pipeline.calls
    assert len(server.turn(KEY, unit(), calls=1).outcomes) == 1
    assert pipeline.calls - before == lane_server.MOST_SET_UPS + 1
