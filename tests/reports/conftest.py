"""One synthetic run for all tests of reports, which only read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.results import Results
from tests.reports.report_factory import build


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="session")
def results(run_dir: Path) -> Results:
    return build(run_dir)
