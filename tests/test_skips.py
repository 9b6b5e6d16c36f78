"""The end of a test run names what was left out: a suite that skips its core in silence protects nothing."""

from __future__ import annotations

from types import SimpleNamespace

from tests.skips import skip_lines


def test_each_reason_is_one_line_with_how_many_tests_it_took_the_most_frequent_first() -> None:
    gpu, chromium = ("tests/a.py", 3, "Skipped: no GPU"), ("tests/b.py", 9, "Skipped: no chromium on PATH")
    lines = skip_lines(SimpleNamespace(longrepr=longrepr) for longrepr in (chromium, gpu, gpu))
    assert [line.strip() for line in lines] == ["2  no GPU", "1  no chromium on PATH"]


def test_a_reason_that_is_a_text_is_taken_as_it_is() -> None:
    assert skip_lines([SimpleNamespace(longrepr="collection skipped")]) == ["   1  collection skipped"]
