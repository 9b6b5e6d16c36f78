"""The offline and the server scenario of a case, and where its wall time went."""

from __future__ import annotations

from typing import Any

import pytest

from benchmark.measure.case import OFFLINE_UNITS
from benchmark.measured import Server
from benchmark.sections import ServerSpec
from tests.benchmark.measure.fake_lanes import Fake, FakeLanes, by_batch, make_slices, measure_on, spec

OFFLINE = ("single-stream", "offline")
SERVER = {"scenarios": ("single-stream", "server"), "server": ServerSpec(bound_ms=40, percentile=90, budget_s=5)}


def test_the_offline_pass_is_timed_over_the_wall_and_not_derived_from_units(lanes: FakeLanes) -> None:
    """Half of a unit's wall time is in no phase that the pipeline tells."""

    class Slow(Fake):
        def process(self, unit: Any) -> Any:
            lanes.clock.now += 0.013
            return super().process(unit)

    bench = lanes.bench(spec(scenarios=OFFLINE), pytorch=Slow())
    record, _ = measure_on(bench, make_slices(5), by_batch)
    found = record.lanes["pytorch"]
    assert found.offline is not None
    assert (found.offline.slices, found.offline.volumes) == (5, 1)
    assert found.offline.seconds == pytest.approx(3 * 0.026)
    assert found.unit_ms["box"] == [13.0] * 3, "its passes are no samples"
    assert found.timed_slices == 5


def test_without_the_scenario_there_is_no_offline_pass(lanes: FakeLanes) -> None:
    record, _ = measure_on(lanes.bench(spec(), pytorch=Fake()), make_slices())
    assert record.lanes["pytorch"].offline is None


def test_an_offline_pass_that_ends_before_the_case_counts_slices_and_no_volume(lanes: FakeLanes) -> None:
    """Two cases share 0.06 s: of 13 ms each, three units of a case's ten are sent and done."""
    bench = lanes.bench(spec(scenarios=OFFLINE, offline_s=0.06), cases=2, pytorch=Fake())
    record, _ = measure_on(bench, make_slices(10))
    found = record.lanes["pytorch"].offline
    assert found is not None and (found.slices, found.volumes) == (3, 0)
    assert found.seconds == pytest.approx(0.039)


def test_units_that_outlast_their_share_leave_later_cases_without_an_offline_pass(lanes: FakeLanes) -> None:
    """A unit of 13 ms is all that 20 ms over four cases allow each; after two of them the time is over."""
    bench = lanes.bench(spec(scenarios=OFFLINE, offline_s=0.02), cases=4, pytorch=Fake())
    records = [measure_on(bench, make_slices(4))[0].lanes["pytorch"].offline for _ in range(4)]
    assert [found.slices if found else 0 for found in records] == [1, 1, 0, 0]


def test_no_more_units_are_sent_than_a_pipe_should_carry(lanes: FakeLanes) -> None:
    bench = lanes.bench(spec(scenarios=OFFLINE), pytorch=Fake())
    record, _ = measure_on(bench, make_slices(OFFLINE_UNITS + 5))
    found = record.lanes["pytorch"].offline
    assert found is not None and (found.slices, found.volumes) == (OFFLINE_UNITS, 0)


def serving(lanes: FakeLanes, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, float]]:
    """Servers answer at once and note lane, units and service time."""
    asked: list[tuple[str, int, float]] = []

    def serve(self: Any, units: Any, settings: ServerSpec, service_ms: float, seed: int) -> Server:
        asked.append((str(self._recipe.settings.lanes[0]), len(units), service_ms))
        return Server(bound_ms=settings.bound_ms, percentile=settings.percentile, rate=9.0)

    monkeypatch.setattr("benchmark.measure.lane_server.LaneServer.serve", serve)
    return asked


def test_the_server_scenario_is_run_once_a_lane_and_only_if_asked_for(
    lanes: FakeLanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = serving(lanes, monkeypatch)
    bench = lanes.bench(spec(**SERVER), cases=3, pytorch=Fake(), onnxruntime=Fake(ms=2.0))
    nothing, _ = measure_on(bench, make_slices(2, empty=(0, 1)))
    assert nothing.lanes["pytorch"].server is None and asked == [], "a case without work has nothing to serve"
    first, _ = measure_on(bench, make_slices(2), number=1)
    second, _ = measure_on(bench, make_slices(2), number=2)
    assert asked == [("pytorch", 2, pytest.approx(13.0)), ("onnxruntime", 2, pytest.approx(5.0))]
    for name in ("pytorch", "onnxruntime"):
        assert first.lanes[name].server == Server(bound_ms=40, percentile=90, rate=9.0)
        assert second.lanes[name].server is None
    measure_on(lanes.bench(spec(), pytorch=Fake()), make_slices(2))
    assert len(asked) == 2


def test_the_server_scenario_finds_a_rate_that_one_worker_can_serve(lanes: FakeLanes) -> None:
    """The search runs on the real clock, on which the fake takes no time: only the limits of its answer are known."""
    settings = ServerSpec(bound_ms=60_000, percentile=90, budget_s=5)
    bench = lanes.bench(spec(scenarios=("single-stream", "server"), server=settings), pytorch=Fake())
    record, _ = measure_on(bench, make_slices(2))
    found = record.lanes["pytorch"].server
    assert found is not None
    assert (found.bound_ms, found.percentile) == (60_000, 90)
    assert found.trials and all(trial.queries > 0 for trial in found.trials)
    assert found.rate is not None or found.reason


def test_where_the_wall_time_went_adds_up(lanes: FakeLanes) -> None:
    """Per lane: a pass untimed, two passes over three units, an offline pass over them, all of 13 ms; 12 pauses."""
    bench = lanes.bench(spec(repeats=2, pause_ms=5, scenarios=OFFLINE), pytorch=Fake(), onnxruntime=Fake())
    record, _ = measure_on(bench, make_slices(3))
    seconds = record.seconds
    assert seconds.busy == pytest.approx(2 * (1 + 6 + 3) * 0.013)
    assert seconds.wall == pytest.approx(seconds.busy + 12 * 0.005)
    assert bench.spent_s == pytest.approx(seconds.wall)


def test_the_warm_up_is_work_and_is_not_paid_for_by_the_budget(lanes: FakeLanes) -> None:
    fake = Fake()
    bench = lanes.bench(spec(warmup=1), pytorch=fake)
    record, _ = measure_on(bench, make_slices(3))
    assert record.seconds.busy == pytest.approx(fake.calls * 0.013)
    assert bench.spent_s == pytest.approx(3 * 0.013)
