"""sambench finds its own packages, whatever else is called `benchmark`, `exporters`, `reports` or `runners`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sambench

REPOSITORY = Path(__file__).parents[1]

SHOW = "; ".join(f"import {name}; print({name}.__file__)" for name in sambench.PACKAGES)
OURS = [str(REPOSITORY / name / "__init__.py") for name in sambench.PACKAGES]


@pytest.fixture
def shadows(tmp_path: Path) -> Path:
    """A folder with modules and packages of the same names, none of which can be imported."""
    folder = tmp_path / "a notebook's folder"
    folder.mkdir()
    for name in ("benchmark", "reports"):
        (folder / f"{name}.py").write_text(f"raise SystemExit('the other {name}')", encoding="utf-8")
    for name in ("exporters", "runners"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"raise SystemExit('the other {name}')", encoding="utf-8")
    return folder


def python(*words: str, shadows: Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A process with the shadows first on its path, in PYTHONPATH and as its folder."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(shadows), str(REPOSITORY)])}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, env=environment, cwd=cwd or shadows
    )


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("-m", "sambench", "--version"), id="module"),
        pytest.param((str(REPOSITORY / "sambench.py"), "--version"), id="file"),
        pytest.param(
            ("-c", "import sys; from sambench import main; sys.argv[1:] = ['--version']; sys.exit(main())"),
            id="console script",
        ),
    ],
)
def test_the_command_runs_beside_modules_of_the_same_names(words: tuple[str, ...], shadows: Path) -> None:
    done = python(*words, shadows=shadows)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"sambench {sambench.__version__}\n", "")


def test_the_command_is_called_sambench_however_it_was_started(shadows: Path) -> None:
    assert "Usage: sambench [OPTIONS] COMMAND" in python("-m", "sambench", "--help", shadows=shadows).stdout


def test_a_script_and_a_notebook_get_sambenchs_packages(shadows: Path) -> None:
    (shadows / "script.py").write_text(f"import sambench\n{SHOW}\n", encoding="utf-8")
    for words in (("script.py",), ("-c", f"import sambench; {SHOW}")):
        done = python(*words, shadows=shadows)
        assert done.stdout.splitlines() == OURS, done.stderr


WORKER_SCRIPT = """
import os, sys
from pathlib import Path
import sambench
from benchmark.measure.workers import Worker, WorkerSettings
from served import Places

sys.path[:] = [path for path in sys.path if path != {repository!r}]
sys.path.insert(0, {shadows!r})
{more}
print("main script")
worker = Worker("test", Places, WorkerSettings(), Path("log"))
print(*worker.call("places"), sep="\\n")
worker.stop()
"""

SERVED = """
import importlib, sys

class Places:
    def places(self):
        names = {names!r}
        return [importlib.import_module(name).__file__ for name in (*names, "sambench")]
"""


@pytest.mark.parametrize(
    "more",
    [
        pytest.param("", id="its path changed"),
        pytest.param("os.chdir('elsewhere')", id="its folder changed"),
        pytest.param("del sys.modules['__main__'].__file__", id="a notebook has no main script"),
    ],
)
def test_a_worker_gets_its_parents_packages(more: str, shadows: Path) -> None:
    """No `__main__` guard in the script: a worker does not run its parent's script again."""
    (shadows / "elsewhere").mkdir()
    (shadows / "served.py").write_text(SERVED.format(names=sambench.PACKAGES), encoding="utf-8")
    script = WORKER_SCRIPT.format(repository=str(REPOSITORY), shadows=str(shadows), more=more)
    (shadows / "parent.py").write_text(script, encoding="utf-8")
    # A module of our own name would hide the launcher from an import by name.
    (shadows / "elsewhere" / "sambench.py").write_text("raise SystemExit('the other sambench')", encoding="utf-8")
    done = python("parent.py", shadows=shadows)
    assert done.stdout.splitlines() == ["main script", *OURS, str(REPOSITORY / "sambench.py")], done.stderr


def test_a_name_that_is_taken_already_is_told_with_both_places(shadows: Path) -> None:
    (shadows / "reports.py").write_text("MINE = 1", encoding="utf-8")
    done = python("-c", "import reports\nimport sambench", shadows=shadows)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: sambench has a package 'reports', and {shadows / 'reports.py'} was imported under this name "
        "before; rename that one, or import sambench in a process without it"
    )


def test_importing_sambench_twice_is_importing_it_once(shadows: Path) -> None:
    code = "import sys, benchmark, sambench; n = len(sys.meta_path); del sys.modules['sambench']; import sambench"
    done = python("-c", f"{code}; print(len(sys.meta_path) - n)", shadows=shadows, cwd=REPOSITORY)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_the_pytest_plugin_leaves_the_names_to_a_project_that_does_not_use_it(shadows: Path) -> None:
    """Every pytest session loads the plugin, wherever sambench is installed."""
    (shadows / "reports.py").write_text("MINE = 1", encoding="utf-8")
    (shadows / "test_mine.py").write_text(
        "import sys\nimport reports\n\ndef test_mine():\n    assert reports.MINE and 'sambench' not in sys.modules\n",
        encoding="utf-8",
    )
    plugin = ("-p", "no:sambench", "-p", "sambench_pytest")  # this one, whatever is installed here
    done = python("-m", "pytest", "-q", *plugin, "test_mine.py", shadows=shadows)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_what_is_offered_is_there_and_what_is_not_is_told() -> None:
    assert set(sambench.__all__) <= set(dir(sambench))
    for name in sambench.__all__:
        assert getattr(sambench, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        sambench.no_such_name  # noqa: B018
