from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest

from benchmark.measure import lane_server
from tests.benchmark.measure.fake_lanes import FakeLanes
from tests.benchmark.measure.local import LocalWorker


@pytest.fixture
def lanes(monkeypatch: pytest.MonkeyPatch) -> FakeLanes:
    """Lanes in this process, of fake pipelines, on a clock of their own: no backend is imported, nothing sleeps."""
    fake = FakeLanes()
    monkeypatch.setattr(lane_server, "open_lanes", fake.open)
    monkeypatch.setattr(lane_server, "import_backend", lambda name: None)
    monkeypatch.setattr(lane_server, "offline", partial(lane_server.offline, clock=fake.clock.perf_counter))
    monkeypatch.setattr(lane_server, "time", fake.clock)
    monkeypatch.setattr("benchmark.measure.case.time", fake.clock)
    monkeypatch.setattr("benchmark.measure.bench.Worker", LocalWorker)
    # Two collections a lane are exact where a process holds one lane, and here look through all that tests imported.
    monkeypatch.setattr("benchmark.measure.memory.gc", SimpleNamespace(collect=lambda: 0))
    return fake
