"""A session against a baseline, on samples whose true change is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.compare.changes import SESSION_FLOOR
from benchmark.compare.rules import parse_rules
from benchmark.compare.run import floors_of
from benchmark.compare.schema import Floors
from benchmark.measure.statistics import summarise
from benchmark.measured import Environment, WarmUp
from benchmark.pytest_plugin.judge import Judged, judge, what_differs
from benchmark.pytest_plugin.schema import Measurement, Suite

FLOORS = floors_of(None, SESSION_FLOOR)
RULES = parse_rules([])


def environment(**changes: object) -> Environment:
    values: dict[str, object] = {
        "machine": "x86_64", "cpu": "Example", "cores": 2, "memory_gib": 15.6, "gpu": None, "os": "Linux",
        "python": "3.11", "libraries": {"torch": "2.9.1"}, "threads": 2, "load_before": 0.1,
    }  # fmt: skip
    return Environment.model_validate(values | changes)


def measurement(factor: float = 1.0, backend: str = "onnxruntime", seed: int = 0, **changes: object) -> Measurement:
    samples = factor * np.random.default_rng(seed).normal(100, 2, 60)
    values: dict[str, object] = {
        "test": f"test_a.py::test_encoder[{backend}]",
        "group": "test_a.py::test_encoder",
        "backend": backend,
        "device": "cpu",
        "precision": "fp32",
        "threads": 2,
        "inputs": {"image": [1, 3, 256, 256]},
        "latency_ms": summarise(samples.tolist()),
        "first_call_ms": 130.0,
        "warmup": WarmUp(samples_ms=[100.0] * 5, steady=True),
        "attestation": {},
        "metrics": {"dice": 0.93},
    }
    return Measurement.model_validate(values | changes)


def suite(*measurements: Measurement, **changes: object) -> Suite:
    return Suite(
        sambench_version="0.1.0", created="2026-11-23T14:05:09+00:00", environment=environment(**changes),
        measurements=list(measurements),
    )  # fmt: skip


def judged(
    base: list[Measurement], new: list[Measurement], *, allowed: tuple[str, ...] = (), floors: Floors = FLOORS
) -> list[Judged]:
    return judge(suite(*base), new, {}, RULES, allowed, floors)


def test_a_tenth_more_time_is_a_regression_and_equals_are_not() -> None:
    (slower,) = judged([measurement()], [measurement(1.1, seed=1)])
    assert [one.split(":")[0] for one in slower.offences] == ["latency>5%"]
    for seed in range(1, 30):
        (same,) = judged([measurement()], [measurement(seed=seed)])
        assert not same.offences


@settings(max_examples=30, deadline=None)
@given(speed=st.floats(0.3, 3.0), seed=st.integers(0, 1000))
def test_a_slower_machine_cancels_where_the_reference_was_measured_too(speed: float, seed: int) -> None:
    base = [measurement(2.0, "pytorch"), measurement()]
    new = [measurement(2.0 * speed, "pytorch", seed + 1), measurement(speed, seed=seed + 2)]
    change = judged(base, new)[1].change("latency")
    assert change is not None
    assert change.how == "against pytorch in the same run"
    assert abs(change.change or 0) < 0.03
    assert change.verdict == "no change"


def test_a_tenth_more_time_beside_the_same_reference_is_a_regression() -> None:
    base = [measurement(2.0, "pytorch"), measurement()]
    new = [measurement(2.1, "pytorch", 1), measurement(1.155, seed=2)]
    found = judged(base, new)[1]
    assert found.offences
    # By hand: the speedup fell from 2 to 2.1 / 1.155, so that the time rose by 2 × 1.155 / 2.1 − 1.
    assert found.changes[0].change == pytest.approx(0.10, abs=0.02)


def test_a_reference_that_alone_became_faster_makes_no_regression() -> None:
    base = [measurement(2.0, "pytorch"), measurement()]
    found = judged(base, [measurement(1.4, "pytorch", 1), measurement(seed=2)])[1]
    assert not found.offences
    assert found.changes[0].verdict == "inconclusive"
    assert "it is pytorch that moved" in (found.changes[0].reason or "")


@pytest.mark.parametrize("with_reference", [False, True])
def test_times_that_were_not_steady_are_no_regression(with_reference: bool) -> None:
    """Against the reference or by themselves, on either side, and by the device's clock as well."""
    shaky = WarmUp(samples_ms=[100.0, 50.0], steady=False, reason="ended at its limit")
    beside = [measurement(backend="pytorch", seed=3)] if with_reference else []
    slow = measurement(1.2, seed=1, device_latency_ms=summarise([120.0] * 60))
    base = measurement(device_latency_ms=summarise([100.0] * 60))
    assert judged([*beside, base], [*beside, slow])[-1].offences
    unsteady = base.model_copy(update={"warmup": shaky})
    for pair in ((unsteady, slow), (base, slow.model_copy(update={"warmup": shaky}))):
        found = judged([*beside, pair[0]], [*beside, pair[1]])[-1]
        assert not found.offences
        assert {one.verdict for one in found.changes if "latency" in one.metric} == {"inconclusive"}
        assert "not steady in" in (found.changes[0].reason or "")


def test_inconclusive_is_of_the_metrics_that_rules_speak_of() -> None:
    """Memory that cannot be told fails nobody who asked for latency."""
    few = measurement(memory_mib=10.0, device_latency_ms=summarise([100.0] * 3))
    rules = parse_rules(["latency>5%", "inconclusive"])
    found = judge(suite(few), [few], {}, rules, (), FLOORS)
    assert not found[0].offences


def test_dice_is_judged_exactly() -> None:
    (lost,) = judged([measurement()], [measurement(metrics={"dice": 0.928})])
    assert lost.offences == ("dice<-0.001: Dice −0.0020 (as the test recorded it)",)
    (kept,) = judged([measurement()], [measurement(metrics={"dice": 0.9295})])
    assert not kept.offences


def test_other_threads_are_another_measurement() -> None:
    (found,) = judged([measurement()], [measurement(threads=1)])
    assert found.offences == (
        "not comparable: threads 2 → 1; make a new baseline, or --sambench-allow spec",
    )  # fmt: skip
    assert not judged([measurement()], [measurement(threads=1)], allowed=("spec",))[0].offences


def test_a_gpu_driver_and_libraries_are_part_of_the_machine() -> None:
    base = suite(gpu="A100", driver="550.1 (CUDA 12.4)")
    new = suite(gpu="H100", driver="580.2 (CUDA 13.0)", libraries={"torch": "2.10.0"})
    found = {(one.what, one.kind, one.blocking) for one in what_differs(base, new)}
    assert found == {("gpu", "hardware", True), ("driver", "driver", True), ("torch", "software", False)}


def test_too_few_samples_are_inconclusive_and_offend_only_where_that_is_a_rule() -> None:
    few = measurement(1.5, latency_ms=summarise([150.0] * 5))
    (found,) = judge(suite(measurement()), [few], {}, RULES, (), FLOORS)
    assert not found.offences
    (strict,) = judge(suite(measurement()), [few], {}, parse_rules(["inconclusive"]), (), FLOORS)
    assert strict.offences[0].startswith("inconclusive: latency: 5 samples")
