"""The dummy takes the time that its program says, answers in the signature's shapes, and fails as it is told to."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.manifest import TensorSpec
from runners.base import DeviceUnavailableError, ModuleSource, Outputs, RunnerError, Signature
from runners.device import Device
from runners.dummy import DummyRunner, HostTensor, Program, output_shapes, program
from runners.registry import make_runner
from tests.benchmark.fake_sam import FakeSam
from tests.clock import Clock
from tests.runners.conftest import feed

CPU = Device("cpu")
ROOT = Path(__file__).parents[2]


def dummy(source: ModuleSource, **options: Any) -> DummyRunner:
    runner = make_runner("dummy", source, CPU, options={"delay_ms": 0.0, **options})
    assert isinstance(runner, DummyRunner)
    return runner


class TestProgram:
    def test_a_plain_call_takes_its_delay(self) -> None:
        assert Program(delay_ms=7.0).call_ms(draw=1.3, now=123.0) == 7.0

    def test_drift_rises_from_the_epoch_and_falls_back(self) -> None:
        told = Program(delay_ms=10.0, drift=0.3, drift_s=60.0, epoch=1000.0)
        at = {seconds: told.call_ms(0.0, 1000.0 + seconds) for seconds in (0, 30, 60, 90, 120, 180)}
        assert at == pytest.approx({0: 10.0, 30: 11.5, 60: 13.0, 90: 11.5, 120: 10.0, 180: 13.0})

    @given(draw=st.floats(-4, 4), now=st.floats(0, 1e6), drift=st.floats(-0.9, 2), noise=st.floats(0, 0.5))
    def test_drift_hits_all_workers_of_an_epoch_alike(
        self, draw: float, now: float, drift: float, noise: float
    ) -> None:
        """Else a pair of turns would not cancel it: its factor must not depend on delay or noise."""
        told = {"drift": drift, "epoch": 5.0}
        one = Program(delay_ms=1.0, noise=noise, **told).call_ms(draw, now) / math.exp(noise * draw)
        other = Program(delay_ms=8.0, **told).call_ms(0.0, now) / 8
        assert one == pytest.approx(other)
        assert min(1, 1 + drift) - 1e-9 <= other <= max(1, 1 + drift) + 1e-9

    def test_noise_is_lognormal_around_the_delay(self) -> None:
        draws = np.random.default_rng(0).standard_normal(20_000)
        logs = np.log([Program(delay_ms=4.0, noise=0.05).call_ms(draw, 0.0) for draw in draws])
        assert np.median(logs) == pytest.approx(math.log(4.0), abs=0.002)
        assert logs.std() == pytest.approx(0.05, rel=0.03)

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"delay_ms": -1.0}, "option delay_ms is -1.0: .*greater than or equal to 0"),
            ({"delay_ms": "1"}, "option delay_ms is '1': .*valid number"),
            ({"delay_ms": float("nan")}, "option delay_ms is nan: .*finite"),
            ({"kind": "nap"}, "option kind is 'nap': .*'sleep' or 'spin'"),
            ({"noise": -0.1}, "option noise is -0.1"),
            ({"drift": -1.0}, "option drift is -1.0: .*greater than -1"),
            ({"drift_s": 0.0}, "option drift_s is 0.0: .*greater than 0"),
            ({"fails": "often"}, "option fails is 'often': .*'raise', 'kill', 'hang', 'memory' or 'nan'"),
            ({"fails_after": 1.5}, "option fails_after is 1.5: .*integer"),
            ({"computes": 1}, "option computes is 1: .*boolean"),
        ],
    )
    def test_a_wrong_option_is_refused_in_a_sentence(self, options: dict[str, Any], told: str) -> None:
        with pytest.raises(RunnerError, match=f"backend dummy: {told}"):
            program(options)

    def test_an_unknown_option_is_refused(self, source: ModuleSource) -> None:
        with pytest.raises(RunnerError, match="backend dummy: does not know option dealy_ms; it knows computes, delay"):
            make_runner("dummy", source, CPU, options={"dealy_ms": 1.0})


class TestTime:
    @pytest.mark.parametrize("kind", ["sleep", "spin"])
    def test_a_call_takes_at_least_its_delay_on_the_device_clock(self, kind: str, source: ModuleSource) -> None:
        calls: list[float] = []
        with dummy(source, delay_ms=5.0, kind=kind) as runner:
            runner.on_call = lambda shapes, milliseconds: calls.append(milliseconds)
            for _ in range(3):
                runner.run(feed())
        assert min(calls) >= 5.0 - 1e-6, "the difference of two times is rounded"
        assert runner.device_ms == pytest.approx(sum(calls))

    def test_a_call_takes_its_delay_and_no_more_than_what_looking_at_the_clock_takes(
        self, source: ModuleSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clock(step=1e-6)
        for part in ("runners.base", "runners.dummy"):
            monkeypatch.setattr(f"{part}.time", clock)
        for kind in ("sleep", "spin"):
            with dummy(source, delay_ms=5.0, kind=kind) as runner:
                runner.run(feed())
                assert 5.0 <= runner.device_ms <= 5.01

    def test_a_spin_keeps_a_core_busy_and_a_sleep_leaves_it(
        self, source: ModuleSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A sleep gives the core away for the whole time, a spin never does."""
        slept = {}
        for kind in ("sleep", "spin"):
            clock = Clock(step=1e-4)
            monkeypatch.setattr("runners.dummy.time", clock)
            with dummy(source, delay_ms=200.0, kind=kind) as runner:
                runner.run(feed())
            slept[kind] = clock.slept
        assert slept["spin"] == []
        assert slept["sleep"] == [pytest.approx(0.2, abs=1e-3)]

    def test_noise_is_that_of_its_seed_and_of_its_module(
        self, source: ModuleSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Encoder and decoder of one seed share no noise; two runners without a seed neither, or pairs would cancel."""

        def noise(name: str, **options: Any) -> list[float]:
            waits: list[float] = []
            monkeypatch.setattr("runners.dummy.time", SimpleNamespace(perf_counter=lambda: 0.0, monotonic=lambda: 0.0))
            monkeypatch.setattr("runners.dummy._pass", lambda until, kind: waits.append(until))
            named = ModuleSource(name, source.signature)
            with dummy(named, delay_ms=1000.0, noise=0.1, **options) as runner:
                for _ in range(4):
                    runner.run(feed())
            return waits

        first = noise("encoder", seed=3)
        assert len(set(first)) == 4
        assert noise("encoder", seed=3) == first
        assert noise("encoder", seed=4) != first
        assert noise("decoder", seed=3) != first
        assert noise("encoder") != noise("encoder")


class TestAnswers:
    def test_zeros_have_the_shapes_that_the_inputs_tell(self, source: ModuleSource) -> None:
        with dummy(source) as runner:
            outputs = runner.run(feed(batch=3, rows=20))
        assert {name: (value.shape, value.dtype) for name, value in outputs.items()} == {
            "features": ((3, 3, 20, 16), "float32"),
            "means": ((3, 8), "float32"),
        }
        assert all(not value.numpy().any() for value in outputs.values())

    def test_sams_masks_have_the_size_that_the_decoder_is_asked_for(self) -> None:
        decoder = FakeSam().decoder
        inputs = {
            spec.name: HostTensor(np.ones([dim if isinstance(dim, int) else 2 for dim in spec.dims], np.float32))
            for spec in decoder.inputs
        }
        inputs["orig_im_size"] = HostTensor(np.array([33, 47], np.float32))
        shapes = output_shapes(Signature.of(decoder.inputs, decoder.outputs), inputs)
        assert shapes == {"masks": (2, 1, 33, 47), "iou_predictions": (2, 1), "low_res_masks": (2, 1, 32, 32)}

    def test_a_size_that_nothing_tells_is_refused(self) -> None:
        signature = Signature.of([TensorSpec(name="a", dims=("B",))], [TensorSpec(name="b", dims=("B", "K"))])
        with (
            dummy(ModuleSource("x", signature)) as runner,
            pytest.raises(RunnerError, match="output's size K; set opt"),
        ):
            runner.run({"a": np.zeros(2, np.float32)})

    def test_it_loads_no_module_unless_it_computes(self, source: ModuleSource) -> None:
        """Its worker is small and starts at once."""
        code = (
            "import sys, numpy as np\n"
            "from types import SimpleNamespace as N\n"
            "from runners.base import ModuleSource, Signature\n"
            "from runners.device import Device\n"
            "from runners.registry import make_runner\n"
            "a = N(name='a', dtype='float32', dims=('B',))\n"
            "with make_runner('dummy', ModuleSource('x', Signature((a,), (a,))), Device('cpu')) as runner:\n"
            "    print(runner.run({'a': np.ones(3, 'f4')})['a'].shape)\n"
            "print([name for name in ('torch', 'onnxruntime') if name in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.split("\n")[:2] == ["(3,)", "[]"]

    def test_it_attests_that_it_is_no_real_backend_and_what_it_does(self, source: ModuleSource) -> None:
        with make_runner("dummy", source, CPU, threads=2, options={"drift": 0.3, "fails": "nan"}) as runner:
            told = runner.attest()
        assert (told.backend, told.version, told.device, told.precision) == ("dummy", "1", "cpu", "fp32")
        assert (told.threads, told.notes) == (2, ("no real backend; drift=0.3, fails=nan",))

    @pytest.mark.parametrize("device", ["cuda", "cuda:1"])
    def test_another_device_is_refused(self, device: str, source: ModuleSource) -> None:
        with pytest.raises(DeviceUnavailableError, match=f"device {device} for dummy: .*; use device cpu"):
            make_runner("dummy", source, Device.parse(device)).__enter__()


class TestFailures:
    @pytest.mark.parametrize("computes", [False, True])
    def test_nan_is_in_every_output_after_the_calls_that_succeed(self, computes: bool, source: ModuleSource) -> None:
        with dummy(source, fails="nan", fails_after=2, computes=computes) as runner:
            answers = [runner.run(feed()) for _ in range(4)]
        assert [self._finite(answer) for answer in answers] == [True, True, False, False]
        assert all(np.isnan(value.numpy()).all() for value in answers[-1].values())
        assert answers[-1]["features"].shape == answers[0]["features"].shape

    @staticmethod
    def _finite(outputs: Outputs) -> bool:
        return all(np.isfinite(value.numpy()).all() for value in outputs.values())

    def test_an_error_says_that_it_was_planted(self, source: ModuleSource) -> None:
        with dummy(source, fails="raise", fails_after=1) as runner:
            runner.run(feed())
            with pytest.raises(RunnerError, match="tiny: the dummy fails at call 2, as its option fails tells it to"):
                runner.run(feed())

    @pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are set on Linux alone")
    def test_memory_runs_out_under_a_limit_that_is_lifted_again(self, source: ModuleSource) -> None:
        import resource

        before = resource.getrlimit(resource.RLIMIT_AS)
        with dummy(source, fails="memory") as runner, pytest.raises(MemoryError, match="tiny: no memory left"):
            runner.run(feed())
        assert resource.getrlimit(resource.RLIMIT_AS) == before
        assert np.ones((256, 1 << 20), np.uint8).all()  # four times the headroom can be had again

    @pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are set on Linux alone")
    def test_memory_is_really_refused_and_not_taken_from_the_machine(self) -> None:
        import resource

        from runners.dummy import _fill_address_space, exhaust_memory

        before = resource.getrlimit(resource.RLIMIT_AS)
        assert _fill_address_space()
        assert resource.getrlimit(resource.RLIMIT_AS) == before
        with pytest.raises(MemoryError, match="x: no memory left"):
            exhaust_memory("x")

    def test_a_system_without_limits_gives_the_same_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from runners.dummy import exhaust_memory

        monkeypatch.setattr("runners.dummy.sys.platform", "darwin")
        monkeypatch.setattr("runners.dummy._fill_address_space", lambda: pytest.fail("it set a limit"))
        with pytest.raises(MemoryError, match="x: no memory left"):
            exhaust_memory("x")

    @pytest.mark.parametrize(("fails", "ends"), [("kill", True), ("hang", False)])
    def test_a_killed_worker_dies_of_a_signal_and_a_hung_one_stays(self, fails: str, ends: bool) -> None:
        code = (
            "import numpy as np\n"
            "from types import SimpleNamespace as N\n"
            "from runners.base import ModuleSource, Signature\n"
            "from runners.device import Device\n"
            "from runners.registry import make_runner\n"
            "a = N(name='a', dtype='float32', dims=('B',))\n"
            f"options = {{'fails': {fails!r}, 'fails_after': 1}}\n"
            "source = ModuleSource('x', Signature((a,), (a,)))\n"
            "with make_runner('dummy', source, Device('cpu'), 1, options) as runner:\n"
            "    for _ in range(2):\n"
            "        runner.run({'a': np.ones(3, 'f4')})\n"
            "        print('answered', flush=True)\n"
        )
        child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "answered\n"
        try:
            if ends:
                assert child.wait(300) != 0
                if sys.platform != "win32":
                    assert child.returncode == -9
            else:
                with pytest.raises(subprocess.TimeoutExpired):
                    child.wait(1.5)
        finally:
            child.kill()
            rest, _ = child.communicate()
        assert rest == ""
