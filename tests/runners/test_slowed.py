"""A planted slowdown lengthens every call by its share of that very call, and is told of."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runners.base import ModuleSource, Outputs, RunnerError
from runners.device import Device
from runners.pytorch import PyTorchRunner
from runners.registry import make_runner
from runners.slowed import slowed
from tests.clock import Clock
from tests.runners.conftest import ON_CPU, feed

CPU = Device("cpu")


@given(share=st.floats(0, 3), call_s=st.floats(0.001, 100))
def test_a_call_takes_longer_by_its_share_of_that_call(share: float, call_s: float) -> None:
    clock = Clock(step=1e-4 * call_s)
    began = clock.now
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runners.slowed.time", clock)

        class Taking(PyTorchRunner):
            def _run(self, inputs: Any) -> Outputs:
                clock.now += call_s
                return {}

        runner = slowed(Taking, share)(ModuleSource("x", SimpleNamespace()), CPU)  # type: ignore[arg-type]
        runner._run({})
    # The looks at the clock are a ten-thousandth of the call each.
    assert clock.now - began == pytest.approx((1 + share) * call_s, rel=1e-3)


@pytest.mark.parametrize("backend", ON_CPU)
def test_every_backend_can_be_slowed_and_is_otherwise_itself(backend: str, source: ModuleSource) -> None:
    own = {"computes": True} if backend == "dummy" else {}
    with (
        make_runner(backend, source, CPU, 1, own) as plain,
        make_runner(backend, source, CPU, 1, {**own, "extra": 0.05}) as slow,
    ):
        assert isinstance(slow, type(plain))
        assert (slow.backend, slow.threads) == (backend, 1)
        expected, outputs = plain.run(feed()), slow.run(feed())
        told, plainly = slow.attest(), plain.attest()
    for name, value in expected.items():
        np.testing.assert_array_equal(outputs[name].numpy(), value.numpy())
    assert told.notes == (*plainly.notes, "slowed on purpose: every call takes 5.000% longer")
    assert (told.providers, told.nodes_per_provider) == (plainly.providers, plainly.nodes_per_provider)


def test_the_extra_time_is_on_the_device_resident_clock(source: ModuleSource) -> None:
    """Slowed threefold, each call takes at least three times what its own part took."""
    own: list[float] = []

    class Timed(PyTorchRunner):
        def _run(self, inputs: Any) -> Outputs:
            started = time.perf_counter()
            outputs = super()._run(inputs)
            own.append(1e3 * (time.perf_counter() - started))
            return outputs

    with slowed(Timed, 2.0)(source, CPU, 1) as runner:
        calls: list[float] = []
        runner.on_call = lambda shapes, milliseconds: calls.append(milliseconds)
        for _ in range(5):
            runner.run(feed())
    assert len(calls) == len(own) == 5
    assert all(call >= 3 * part for call, part in zip(calls, own, strict=True))


@pytest.mark.parametrize("share", [-0.1, float("nan"), float("inf"), "0.05", True, None])
def test_a_share_that_is_none_is_refused(share: Any, source: ModuleSource) -> None:
    with pytest.raises(RunnerError, match=r"backend pytorch: option extra is .*; give a share of 0 or more"):
        make_runner("pytorch", source, CPU, options={"extra": share})


def test_other_options_still_reach_the_backend(source: ModuleSource) -> None:
    with pytest.raises(RunnerError, match="backend pytorch: does not know option speed"):
        make_runner("pytorch", source, CPU, options={"extra": 0.05, "speed": 1})
