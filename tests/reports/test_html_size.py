"""What a page of 1,000 cells costs: issue 7 asks for less than 5 seconds and 5 MB."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from reports.html import write_html
from tests.reports.large_factory import build_large


@pytest.mark.slow
def test_a_page_of_a_thousand_cells_takes_under_five_seconds_and_five_megabytes(tmp_path: Path) -> None:
    results = build_large(tmp_path, 1000)
    assert len(results.cells) == 1000
    seconds = []
    for _ in range(3):
        # CPU time: what else runs on the machine is not the page's.
        start = time.process_time()
        path = write_html(results, tmp_path)
        seconds.append(time.process_time() - start)
        if seconds[-1] < 5:
            break
    assert path.stat().st_size < 5e6
    assert min(seconds) < 5, seconds
