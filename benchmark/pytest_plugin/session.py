"""What a pytest session measured, its judgement, and what is kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from benchmark import __version__
from benchmark.calibration.store import find_calibration
from benchmark.compare.changes import SESSION_FLOOR
from benchmark.compare.rules import parse_rules
from benchmark.compare.run import floors_of, warnings
from benchmark.errors import InputError
from benchmark.files import write_text_atomically
from benchmark.measure.environment import available_cores, environment
from benchmark.measured import Environment
from benchmark.pytest_plugin.judge import Judged, judge, what_differs
from benchmark.pytest_plugin.schema import Measurement, Suite, load_suite
from benchmark.pytest_plugin.section import show_section
from sambench_pytest import FIXTURE

CLEAN = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


class SambenchSession:
    """One session's measurements.

    Args:
        config: with the options.

    Raises:
        pytest.UsageError: a rule or the baseline is wrong, or the baseline is of another machine.
    """

    def __init__(self, config: pytest.Config) -> None:
        option = config.option
        self.measurements: list[Measurement] = []
        self.unmeasured: dict[str, str] = {}
        self.judged: list[Judged] = []
        self.lines: list[str] = []
        self._config = config
        self._allowed = frozenset(option.sambench_allow)
        self._store = Path(option.sambench_store) if option.sambench_store else None
        self._existing: set[str] = set()
        self._left_out: set[str] = set()
        try:
            self._rules = parse_rules(option.sambench_fail_on)
            self._base = load_suite(Path(option.sambench_baseline)) if option.sambench_baseline else None
        except InputError as error:
            raise pytest.UsageError(str(error).replace("--fail-on", "--sambench-fail-on")) from None

    @cached_property
    def environment(self) -> Environment:
        """This machine; asked once, since it loads libraries."""
        return environment(available_cores())

    def exists(self, item: pytest.Item) -> None:
        """A test was found."""
        self._existing.add(item.nodeid)

    def left_out(self, item: pytest.Item) -> None:
        """A test was deselected."""
        self._left_out.add(item.nodeid)

    def collected(self, items: Sequence[pytest.Item]) -> None:
        """Refuses a baseline of another machine before the first test runs.

        Raises:
            pytest.UsageError: it is one.
        """
        if self._base is None or not any(FIXTURE in getattr(item, "fixturenames", ()) for item in items):
            return
        found = [one for one in what_differs(self._base, self._suite()) if one.blocking]
        forbidding = [one for one in found if one.kind not in self._allowed]
        if forbidding:
            kinds = " ".join(f"--sambench-allow {kind}" for kind in dict.fromkeys(one.kind for one in forbidding))
            raise pytest.UsageError(
                f"{self._config.option.sambench_baseline}: was measured under other conditions: "
                f"{'; '.join(one.words for one in forbidding)}. Make a baseline here with --sambench-store, or compare "
                f"all the same with {kinds}"
            )

    def keep(self, measurement: Measurement) -> None:
        """Adds a measurement; fails the test if it made one of this name already."""
        if any(one.test == measurement.test for one in self.measurements):
            pytest.fail(f"sambench_runner: {measurement.test} was measured already; give each a name=", pytrace=False)
        self.measurements.append(measurement)

    def not_measured(self, test: str, reason: str) -> None:
        """A test ran without being timed."""
        self.unmeasured[test] = reason

    def finish(self, exitstatus: int) -> int:
        """Judges the session and stores it if it is fit to be a baseline.

        Returns:
            The session's exit status: a failure where something regressed.
        """
        if self._base is not None:
            floors = floors_of(self._calibration(), SESSION_FLOOR)
            self.judged = judge(
                self._base, self.measurements, self._excused(), self._rules, self._allowed, floors
            )  # fmt: skip
            self.lines += [f"A regression is {', '.join(rule.text for rule in self._rules)}; {floors.words}."]
            self.lines += [f"warning: {words}" for words in warnings(self._rules, floors)]
        offended = any(one.offences for one in self.judged)
        if self._store is not None:
            self._keep_if_clean(exitstatus, offended)
        return int(pytest.ExitCode.TESTS_FAILED) if offended and exitstatus in CLEAN else exitstatus

    def show(self, terminal: Any) -> None:
        """Writes the section of the terminal summary."""
        show_section(terminal, self.measurements, self.unmeasured, self.judged, self.lines)

    def _keep_if_clean(self, exitstatus: int, offended: bool) -> None:
        assert self._store is not None  # noqa: S101 - the caller asked
        why = None
        if exitstatus != pytest.ExitCode.OK:
            why = f"the session was not clean (exit status {exitstatus})"
        elif offended:
            why = "a test regressed or is missing"
        elif not self.measurements:
            why = "nothing was measured"
        else:
            why = self._would_lose()
        if why is None:
            write_text_atomically(self._store, self._suite().model_dump_json(indent=1))
        what = f"stored {len(self.measurements)} measurements in" if why is None else "nothing was stored in"
        self.lines.append(f"{what} {self._store}{f': {why}' if why else ''}")

    def _would_lose(self) -> str | None:
        """Why storing would take tests out of the file that is there."""
        assert self._store is not None  # noqa: S101 - the caller asked
        if not self._store.exists() or "missing" in self._allowed:
            return None
        try:
            there = load_suite(self._store)
        except InputError:
            return "what is there is no baseline, and may be something else; name another file"
        lost = {one.test for one in there.measurements} - {one.test for one in self.measurements}
        if not lost:
            return None
        return (
            f"it holds {len(lost)} tests that this session did not measure ({min(lost)}); run all of them, or give "
            "--sambench-allow missing"
        )

    def _suite(self) -> Suite:
        return Suite(
            sambench_version=__version__,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            environment=self.environment,
            measurements=self.measurements,
        )

    def _calibration(self) -> Any:
        from exporters.fetch import cache_dir

        return find_calibration(cache_dir(), self.environment)

    def _excused(self) -> dict[str, str]:
        """Tests of the baseline that did not run because nobody asked for them."""
        assert self._base is not None  # noqa: S101 - the caller asked
        asked = [self._relative(argument) for argument in self._config.args]
        found = {}
        for one in self._base.measurements:
            node = self._node(one.test)
            if node in self._left_out:
                found[one.test] = "deselected"
            elif node not in self._existing and not any(_within(node, argument) for argument in asked):
                found[one.test] = "not among the paths of this session"
        return found

    def _node(self, test: str) -> str:
        """A measurement's test, without the measurement's own name."""
        known = self._existing | self._left_out
        return test if test in known else next((node for node in known if test.startswith(f"{node}::")), test)

    def _relative(self, argument: str) -> str:
        """A path of the command line as node ids begin."""
        path, separator, rest = argument.partition("::")
        place = (self._config.invocation_params.dir / path).resolve()
        try:
            relative = place.relative_to(self._config.rootpath).as_posix()
        except ValueError:
            relative = place.as_posix()
        return f"{'' if relative == '.' else relative}{separator}{rest}"


def _within(node: str, argument: str) -> bool:
    """Whether a path or node id of the command line holds the test."""
    return not argument or node == argument or node.startswith((f"{argument}/", f"{argument}::", f"{argument}["))
