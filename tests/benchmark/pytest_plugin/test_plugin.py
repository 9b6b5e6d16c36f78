"""The plugin in whole pytest sessions: what fails one, what is stored, and what is refused before anything runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats  # noqa: F401
import torch  # noqa: F401

import benchmark.pytest_plugin.runner
import benchmark.pytest_plugin.session
import benchmark.pytest_plugin.timing
import runners.dummy  # noqa: F401
from tests.clock import Clock

# A session within this process forgets the modules that it imported, and NumPy cannot be imported twice: they are
# imported above, before any of them.

pytest_plugins = ["pytester"]

NAME = "sambench_pytest"
# Where the package was installed with its entry point, naming the plugin would register it twice.
BY_NAME = [] if any(one.value == NAME for one in entry_points(group="pytest11")) else ["-p", NAME]
# Other plugins are imported anew in every session, which takes seconds.
ALONE = [word for name in ("xdist", "hypothesispytest", "anyio") for word in ("-p", f"no:{name}")]

TESTS = """
import numpy as np
import pytest
from exporters.manifest import TensorSpec
from runners.base import ModuleSource, Signature

IMAGE = TensorSpec(name="image", dims=("b", 4))
SOURCE = ModuleSource("net", Signature.of([IMAGE], [TensorSpec(name="answer", dims=("b", 4))]))

@pytest.mark.parametrize("size", [1, 2])
def test_net(sambench_runner, size):
    image = np.zeros((size, 4), np.float32)
    measured = sambench_runner(
        "dummy", source=SOURCE, inputs={"image": image}, options={"delay_ms": 0}, budget_s=0.3, threads=1
    )
    assert measured.outputs["answer"].shape == (size, 4)
    measured.record(dice=0.93)
"""


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pytest.RunResult]:
    """Runs a session over two tests of a dummy.

    In place of the clock there are 8 ms with 2 % noise, whatever else this machine is doing.
    """
    rng = np.random.default_rng(0)

    def programmed(call: Callable[[], Any]) -> tuple[Any, float]:
        return call(), float(8 * np.exp(0.02 * rng.standard_normal()))

    monkeypatch.setattr(benchmark.pytest_plugin.timing, "_timed", programmed)
    monkeypatch.setattr(benchmark.pytest_plugin.timing, "time", Clock())  # no warm-up ends before it is steady
    # The session under test is no worker of the session that tests it.
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)

    def run(*arguments: str, tests: str = TESTS) -> pytest.RunResult:
        pytester.makepyfile(test_net=tests)
        return pytester.runpytest_inprocess(*BY_NAME, *ALONE, *arguments)

    return run


@pytest.fixture
def baseline(session: Callable[..., pytest.RunResult], pytester: pytest.Pytester) -> Path:
    """What a clean session stored."""
    assert session("--sambench-store=base.json").ret == 0
    return pytester.path / "base.json"


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Edits a stored baseline."""
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def scale(content: dict[str, Any], factor: float) -> None:
    for one in content["measurements"]:
        for field in ("latency_ms", "device_latency_ms"):
            one[field]["samples"] = [factor * sample for sample in one[field]["samples"]]


def test_a_session_against_itself_is_clean(baseline: Path, session: Callable[..., pytest.RunResult]) -> None:
    result = session("--sambench-baseline=base.json")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*= sambench =*", "*test_net?1?*no change*", "*test_net?2?*no change*"])


def test_a_tenth_more_time_fails_the_session(baseline: Path, session: Callable[..., pytest.RunResult]) -> None:
    change(baseline, lambda content: scale(content, 1 / 1.1))
    result = session("--sambench-baseline=base.json")
    assert result.ret == 1
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["REGRESSION test_net.py::test_net?1? - latency>5%: latency +*"])


def test_two_thousandths_less_dice_fail_the_session(baseline: Path, session: Callable[..., pytest.RunResult]) -> None:
    result = session("--sambench-baseline=base.json", tests=TESTS.replace("dice=0.93", "dice=0.928"))
    assert result.ret == 1
    result.stdout.fnmatch_lines(["REGRESSION test_net.py::test_net?1? - dice<-0.001: Dice −0.0020*"])


def test_dice_that_is_no_longer_recorded_fails_the_session(
    baseline: Path, session: Callable[..., pytest.RunResult]
) -> None:
    result = session("--sambench-baseline=base.json", tests=TESTS.replace("measured.record(dice=0.93)", ""))
    assert result.ret == 1
    result.stdout.fnmatch_lines(["REGRESSION *missing: the test no longer records dice"])


def test_a_test_that_is_gone_fails_unless_it_was_deselected_or_allowed(
    baseline: Path, session: Callable[..., pytest.RunResult]
) -> None:
    gone = TESTS.replace("[1, 2]", "[1]")
    result = session("--sambench-baseline=base.json", tests=gone)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["REGRESSION test_net.py::test_net?2? - missing: in the baseline*"])
    assert session("--sambench-baseline=base.json", "--sambench-allow=missing", tests=gone).ret == 0
    result = session("--sambench-baseline=base.json", "-k", "1")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["test_net.py::test_net?2?: deselected"])
    assert session("--sambench-baseline=base.json", "test_net.py::test_net[1]").ret == 0


def test_a_test_that_the_baseline_lacks_fails(baseline: Path, session: Callable[..., pytest.RunResult]) -> None:
    result = session("--sambench-baseline=base.json", tests=TESTS.replace("[1, 2]", "[1, 2, 3]"))
    assert result.ret == 1
    result.stdout.fnmatch_lines(["REGRESSION test_net.py::test_net?3? - missing: not in the baseline"])


def test_all_tests_gone_is_no_empty_success(baseline: Path, session: Callable[..., pytest.RunResult]) -> None:
    assert session("--sambench-baseline=base.json", tests="def test_other(): pass").ret == 1


def test_a_failing_session_stores_nothing(session: Callable[..., pytest.RunResult], pytester: pytest.Pytester) -> None:
    result = session("--sambench-store=new.json", tests=TESTS + "    assert size == 1\n")
    assert result.ret == 1
    assert not (pytester.path / "new.json").exists()
    result.stdout.fnmatch_lines(["nothing was stored in new.json: the session was not clean*"])


def test_a_regressed_session_leaves_the_stored_one_alone(
    baseline: Path, session: Callable[..., pytest.RunResult]
) -> None:
    change(baseline, lambda content: scale(content, 1 / 1.1))
    before = baseline.read_bytes()
    result = session("--sambench-baseline=base.json", "--sambench-store=base.json")
    assert result.ret == 1
    assert baseline.read_bytes() == before
    result.stdout.fnmatch_lines(["nothing was stored in base.json: a test regressed or is missing"])


def test_a_selection_does_not_store_over_the_whole(baseline: Path, session: Callable[..., pytest.RunResult]) -> None:
    before = baseline.read_bytes()
    result = session("--sambench-store=base.json", "-k", "1")
    assert baseline.read_bytes() == before
    result.stdout.fnmatch_lines(["nothing was stored in base.json: it holds 1 tests that*"])


def test_another_machine_is_refused_before_any_test_runs(
    baseline: Path, session: Callable[..., pytest.RunResult]
) -> None:
    change(baseline, lambda content: content["environment"].update(cpu="Another CPU"))
    result = session("--sambench-baseline=base.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*base.json: was measured under other conditions: cpu: Another CPU → *"])
    assert session("--sambench-baseline=base.json", "--sambench-allow=hardware").ret == 0


def test_other_inputs_are_not_compared(baseline: Path, session: Callable[..., pytest.RunResult]) -> None:
    result = session("--sambench-baseline=base.json", tests=TESTS.replace("(size, 4), np", "(size + 1, 4), np"))
    assert result.ret == 1
    result.stdout.fnmatch_lines(["REGRESSION *not comparable: inputs image 1×4 → image 2×4*"])


@pytest.mark.parametrize("rule", ["latency>fast", "speed>5%", "latency<5%", "dice>0.1"])
def test_a_wrong_rule_is_a_usage_error(baseline: Path, session: Callable[..., pytest.RunResult], rule: str) -> None:
    result = session("--sambench-baseline=base.json", f"--sambench-fail-on={rule}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--sambench-fail-on '{rule}'*"])


def test_a_rule_without_a_baseline_would_catch_nothing(session: Callable[..., pytest.RunResult]) -> None:
    result = session("--sambench-fail-on=latency>5%")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*needs something to compare with*"])


def test_a_damaged_baseline_is_a_usage_error(
    session: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    (pytester.path / "base.json").write_text("{", encoding="utf-8")
    assert session("--sambench-baseline=base.json").ret == pytest.ExitCode.USAGE_ERROR
    assert session("--sambench-baseline=absent.json").ret == pytest.ExitCode.USAGE_ERROR


def test_xdist_is_refused_with_a_baseline(baseline: Path, pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    result = pytester.runpytest_inprocess(*BY_NAME, "-n2", "--sambench-baseline=base.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*cannot be used with pytest-xdist*"])


def test_another_device_than_asked_for_fails_the_test(session: Callable[..., pytest.RunResult]) -> None:
    result = session(tests=TESTS.replace('"dummy", source', '"dummy", device="cuda", source'))
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*sambench_runner: device cuda for dummy: it has only a CPU*"])


def test_pytest_benchmark_has_our_metrics_and_the_machine(
    session: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    pytest.importorskip("pytest_benchmark")
    assert session("--benchmark-json=out.json", "--benchmark-only").ret == 0
    found = json.loads((pytester.path / "out.json").read_text(encoding="utf-8"))
    assert {"cpu", "gpu", "driver", "libraries"} <= set(found["machine_info"]["sambench"])
    extra = found["benchmarks"][0]["extra_info"]
    assert (extra["dice"], extra["backend"], extra["threads"]) == (0.93, "dummy", 1)
    assert extra["p50_ms"] == pytest.approx(8, rel=0.02)
    assert extra["attestation"]["net"]["providers"] == ["dummy-cpu"]
    assert found["benchmarks"][0]["stats"]["rounds"] >= 16


def test_it_measures_without_pytest_benchmark(
    session: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    assert session("-p", "no:benchmark", "--sambench-store=base.json").ret == 0
    stored = json.loads((pytester.path / "base.json").read_text(encoding="utf-8"))
    assert all(len(one["latency_ms"]["samples"]) >= 16 for one in stored["measurements"])


def test_switched_off_it_runs_the_model_and_times_nothing(session: Callable[..., pytest.RunResult]) -> None:
    result = session("--benchmark-disable")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*not measured: pytest-benchmark is switched off"])


def test_a_session_without_the_fixture_imports_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(
        "import sys\n\ndef test_a():\n"
        "    assert not {'numpy', 'torch', 'pydantic', 'onnx', 'onnxruntime', 'scipy'} & set(sys.modules)\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", *BY_NAME, "-q", "-p", "no:cacheprovider", str(tmp_path / "test_a.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stdout
