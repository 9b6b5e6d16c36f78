"""The pytest plugin: its options, its hooks and its fixture.

Every pytest run of everybody who installed sambench imports this file, so that it imports nothing beyond pytest itself.
What is heavy, and sambench with its names, comes with the first test that uses the fixture: a project that does not use
it may have a package `reports` of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from benchmark.pytest_plugin.runner import SambenchRunner
    from benchmark.pytest_plugin.session import SambenchSession

FIXTURE = "sambench_runner"
ALLOWED = ("hardware", "driver", "spec", "missing")
_KEY: pytest.StashKey[SambenchSession | None] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options."""
    group = parser.getgroup("sambench", "sambench: performance and accuracy against a baseline")
    group.addoption(
        "--sambench-fail-on",
        metavar="EXPR",
        action="append",
        default=[],
        help="what is a regression: latency>5%%, dice<-0.001, inconclusive; may be given again "
        "(default: latency>5%% and dice<-0.001; a missing test always is)",
    )
    group.addoption("--sambench-baseline", metavar="FILE", help="what to hold this session's measurements against")
    group.addoption(
        "--sambench-store",
        metavar="FILE",
        help="write this session's measurements there, if nothing failed or regressed",
    )
    group.addoption(
        "--sambench-allow",
        metavar="WHAT",
        action="append",
        default=[],
        choices=ALLOWED,
        help=f"compare although this differs, or accept it: {', '.join(ALLOWED)}; may be given again",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuses what makes no sense before anything runs, and offers the fixture."""
    known = config.pluginmanager.hasplugin("benchmark")
    config.pluginmanager.register(WithBenchmark() if known else WithoutBenchmark(), "sambench-fixture")
    config.stash[_KEY] = None
    option = config.option
    asked = bool(option.sambench_baseline or option.sambench_store)
    if option.sambench_fail_on and not option.sambench_baseline:
        raise pytest.UsageError("--sambench-fail-on needs something to compare with: give --sambench-baseline FILE")
    if asked and (hasattr(config, "workerinput") or getattr(option, "numprocesses", None)):
        raise pytest.UsageError(
            "--sambench-baseline and --sambench-store cannot be used with pytest-xdist, whose processes take each "
            "other's cores; run these tests alone, with -n0 or -p no:xdist"
        )
    if asked:
        session_of(config)


def session_of(config: pytest.Config) -> SambenchSession:
    """What this session measured so far; made at its first use.

    Raises:
        pytest.UsageError: an option is wrong.
    """
    found = config.stash[_KEY]
    if found is None:
        import sambench  # noqa: F401 - first, since it finds the others
        from benchmark.pytest_plugin.session import SambenchSession

        found = config.stash[_KEY] = SambenchSession(config)
    return found


class WithBenchmark:
    """Offers the fixture where pytest-benchmark is there.

    It asks for `benchmark` by name, so that `--benchmark-only` and its like know these tests.
    """

    @pytest.fixture
    def sambench_runner(self, request: pytest.FixtureRequest, benchmark: Any) -> SambenchRunner:
        """Measures a model: `sambench_runner("onnxruntime", onnx="encoder.onnx", inputs={"image": image})`."""
        return _runner(request, benchmark)


class WithoutBenchmark:
    """Offers it where pytest-benchmark is not."""

    @pytest.fixture
    def sambench_runner(self, request: pytest.FixtureRequest) -> SambenchRunner:
        """Measures a model: `sambench_runner("onnxruntime", onnx="encoder.onnx", inputs={"image": image})`."""
        return _runner(request, None)


def _runner(request: pytest.FixtureRequest, benchmark: Any) -> SambenchRunner:
    session = session_of(request.config)
    from benchmark.pytest_plugin.runner import SambenchRunner

    return SambenchRunner(request.node, session, benchmark)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Reads the baseline before the first test runs: a wrong one should not cost a session."""
    found = session.config.stash[_KEY]
    if found is not None:
        found.collected(session.items)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Notes every test that exists, selected or not."""
    found = item.config.stash[_KEY]
    if found is not None:
        found.exists(item)


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Notes what was left out on purpose."""
    for item in items:
        found = item.config.stash[_KEY]
        if found is not None:
            found.left_out(item)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Judges, and stores what is fit to be a baseline."""
    found = session.config.stash.get(_KEY, None)
    if found is not None and not session.config.option.collectonly:
        session.exitstatus = found.finish(int(exitstatus))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The section `sambench`."""
    found = config.stash[_KEY]
    if found is not None:
        found.show(terminalreporter)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Adds to pytest-benchmark's own files what decides times: CPU, GPU, driver and library versions."""
    found = config.stash[_KEY]
    if found is not None and found.measurements:
        machine_info["sambench"] = found.environment.model_dump(exclude={"load_before", "busy"})
