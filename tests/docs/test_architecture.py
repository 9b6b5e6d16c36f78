"""docs/architecture.md says who imports whom: the import statements agree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGES = ("benchmark", "exporters", "runners", "reports")
# Whoever of benchmark words and draws with the help of reports.
DRAWING = ("interface.py", "cli", "doctor", "tuning")


def imported(package: str) -> Iterator[tuple[Path, str]]:
    """Each file of a package with each module of this project that it imports, wherever in the file."""
    for file in sorted((REPOSITORY / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0 and node.module
                names = [node.module]
            for name in names:
                if name.split(".")[0] in PACKAGES:
                    yield file, name


@pytest.mark.parametrize("package", ["exporters", "runners"])
def test_exporters_and_runners_import_none_of_the_others(package: str) -> None:
    assert f"{package}     (imports none" in PAGE or f"{package}      (imports none" in PAGE
    assert [(file, name) for file, name in imported(package) if name.split(".")[0] != package] == []


def test_reports_import_of_benchmark_what_the_page_says() -> None:
    said = re.search(r"`benchmark` it imports ([\w\s,]*)\.", PAGE)
    assert said
    used = {name for _, name in imported("reports") if name.split(".")[0] != "reports"}
    assert {name.split(".")[0] for name in used} == {"benchmark"}
    assert {name.split(".")[1] for name in used} == set(re.split(r", | and ", said[1]))


def test_of_benchmark_only_what_draws_imports_reports() -> None:
    places = {
        file.relative_to(REPOSITORY / "benchmark").parts[0]
        for file, name in imported("benchmark")
        if name.split(".")[0] == "reports"
    }
    assert places
    assert [place for place in places if not place.startswith(DRAWING)] == []


def test_every_folder_and_file_that_the_page_names_is_there() -> None:
    named = re.findall(r"`([a-z_]+(?:/[a-z_]+)*(?:/|\.py))`", PAGE)
    bases = [REPOSITORY, *(REPOSITORY / name for name in (*PACKAGES, "benchmark/measure"))]
    assert len(named) > 20
    assert [name for name in named if not any((base / name).exists() for base in bases)] == []
