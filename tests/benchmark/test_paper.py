"""docs/examples/paper.yaml and paper-mri.yaml run whole, on phantoms in the official tasks' layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.data.phantom import PhantomSpec
from benchmark.data.phantom_tasks import LAYOUTS, write_official_phantom
from benchmark.records import RECORDS
from benchmark.results import RESULTS_FILE, Results, load_results
from benchmark.spec import load_spec
from tests.conftest import REPOSITORY

EXAMPLES = REPOSITORY / "docs" / "examples"
PHANTOM = PhantomSpec(cases=3, size=48, slices=6, spacing_mm=(8.0, 8.0, 30.0))
PROMPTS = ("box", "point", "points3", "points3+neg3", "box+point")
BACKENDS = ("pytorch", "onnxruntime")
SMALL_ONES = ("Task06_Lung", "Task09_Spleen", "Task10_Colon")

SMALLER = (
    "sam.models=[litemedsam]",
    "data.slices=1",
    "unet.epochs=1",
    "unet.patch=[32, 32]",
    "unet.channels=[4, 8]",
    "unet.strides=[2]",
    "measure.samples=1",
    "measure.warmup=0",
    "measure.offline_s=0.1",
    "measure.block_ms=0",
)
"""Only how large things are, never what is compared with what."""


def run(sambench, spec: str, root: Path, out: Path, *more: str) -> Results:
    """The command, with a smaller everything; what it printed must end with the reports."""
    words = [word for override in (f"data.root={root}", *SMALLER, *more) for word in ("--set", override)]
    code, printed, complaint = sambench("run", EXAMPLES / spec, "--out", out, *words)
    assert code == 0, complaint
    assert f"html report: {out / 'report.html'}" in printed.replace("\n", " ")
    return load_results(out)


def check(results: Results, out: Path, tasks: tuple[str, ...]) -> None:
    """Every task has every cell and both supervisions on each backend, told as a phantom, and the reports name it."""
    expected = {
        (task, stage, prompt, backend)
        for task in tasks
        for stage, prompts in (("pseudolabel", PROMPTS), ("segment", ("box", "reference")))
        for prompt in prompts
        for backend in BACKENDS
    }
    assert {(cell.task, cell.stage, cell.prompt, cell.backend) for cell in results.cells} == expected
    for cell in results.cells:
        # A UNet of one epoch may differ by more than the gate allows, and that must be told. Nothing may fail.
        assert cell.status == "ok" or (cell.status == "invalid" and cell.reason), (cell.task, cell.prompt, cell.reason)
        if (cell.stage, cell.prompt) == ("pseudolabel", "box"):
            assert cell.status == "ok" and cell.dice is not None, (cell.task, cell.reason)
    pairs = {(effect.task, effect.labels, effect.backend) for effect in results.supervision if effect.label is None}
    assert pairs == {(task, "box", backend) for task in tasks for backend in BACKENDS}
    for effect in results.supervision:
        assert effect.difference is not None or effect.reason, (effect.task, effect.label)
    for info in results.tasks:
        assert list(info.labels.values()) == list(LAYOUTS[info.name].labels)
        assert info.slices > 0 and len(info.cases) == PHANTOM.cases
        assert any("phantom" in note for note in info.notes)
    for report in (out / "report.html", out / "report.md"):
        text = report.read_text(encoding="utf-8")
        assert all(task in text for task in tasks)


def records(out: Path) -> dict[str, int]:
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in (out / RECORDS).rglob("*.json")}


@pytest.mark.slow
def test_the_paper_runs_whole_and_the_small_tasks_first_are_not_measured_twice(
    sambench, in_process, traced_once, tmp_path
):
    root, out = tmp_path / "msd", tmp_path / "paper"
    tasks = load_spec(EXAMPLES / "paper.yaml").data.tasks
    assert len(tasks) == 6 and set(SMALL_ONES) < set(tasks)
    for task in tasks:
        write_official_phantom(task, root, PHANTOM)
    first = run(sambench, "paper.yaml", root, out, f"data.tasks=[{', '.join(SMALL_ONES)}]")
    check(first, out, SMALL_ONES)
    before = records(out)
    assert before

    results = run(sambench, "paper.yaml", root, out)
    check(results, out, tasks)
    after = records(out)
    assert {name: after[name] for name in before} == before, "what the three tasks had is measured again"
    assert len(after) > len(before)
    kept = {(cell.task, cell.prompt, cell.backend): cell.dice for cell in results.cells if cell.stage == "segment"}
    for cell in first.cells:
        if cell.stage == "segment":
            assert kept[cell.task, cell.prompt, cell.backend] == cell.dice


@pytest.mark.slow
def test_its_future_work_runs_whole_on_the_four_mri_tasks(sambench, in_process, traced_once, tmp_path):
    root, out = tmp_path / "msd", tmp_path / "paper-mri"
    tasks = load_spec(EXAMPLES / "paper-mri.yaml").data.tasks
    for task in tasks:
        write_official_phantom(task, root, PHANTOM)
    check(run(sambench, "paper-mri.yaml", root, out), out, tasks)


@pytest.mark.parametrize("name", ["paper.yaml", "paper-mri.yaml"])
def test_the_files_say_the_experiment(name):
    spec = load_spec(EXAMPLES / name)
    assert spec.sam is not None and spec.unet is not None
    assert spec.sam.prompts == PROMPTS
    assert spec.training_labels == ("box", "reference") and spec.unet.weak_vs_full
    assert spec.data.cases is None and spec.data.slices is None
    assert spec.backends == BACKENDS
    first = (EXAMPLES / name).read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=../spec.schema.json"


def test_the_two_files_are_all_ten_tasks():
    both = [task for name in ("paper.yaml", "paper-mri.yaml") for task in load_spec(EXAMPLES / name).data.tasks]
    assert sorted(both) == sorted(LAYOUTS)


def test_every_missing_task_is_named_at_once_before_anything_is_made(sambench, tmp_path):
    root, out = tmp_path / "msd", tmp_path / "out"
    (root / "Task03_Liver").mkdir(parents=True)
    code, printed, complaint = sambench(
        "run", EXAMPLES / "paper.yaml", "--out", out, "--set", f"data.root={root}", "--set", "sam.random_weights=0",
        "--set", "unet.labels=[reference]", "--set", "unet.weak_vs_full=false",
    )  # fmt: skip
    assert (code, printed) == (2, "")
    (line,) = complaint.splitlines()
    for task in ("Task06_Lung", "Task07_Pancreas", "Task08_HepaticVessel", "Task09_Spleen", "Task10_Colon"):
        assert f"sambench fetch msd {task} --out {root}" in line
    assert "fetch msd Task03_Liver" not in line
    assert not (out / RESULTS_FILE).exists()
    assert not out.exists()
