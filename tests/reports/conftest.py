"""Two synthetic runs for all tests of reports, which only read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.results import Results
from tests.reports.report_factory import build
from tests.reports.strategy_factory import build_wide


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="session")
def results(run_dir: Path) -> Results:
    return build(run_dir)


@pytest.fixture(scope="session")
def wide_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wide")


@pytest.fixture(scope="session")
def wide(wide_dir: Path) -> Results:
    return build_wide(wide_dir)
