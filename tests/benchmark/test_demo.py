"""The demo: what it compares, that its two forms keep apart, and what it says at its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from benchmark.data.phantom import PHANTOM_TASK, PhantomSpec
from benchmark.demo import FULL, SHORT, SMALLEST_SPEC, WHAT_NEXT, Demo
from benchmark.errors import InputError
from benchmark.plan import plan_tasks
from benchmark.preflight import SPEC_FILE, claim_run_dir
from benchmark.spec import parse_spec

TINY = PhantomSpec(cases=6, size=16, slices=1, spacing_mm=(24.0, 24.0, 40.0))


class Steps:
    """Notes the titles."""

    def __init__(self) -> None:
        self.titles: list[str] = []

    def start(self, title: str, total: float):  # type: ignore[no-untyped-def]
        self.titles.append(title)
        return lambda amount, note: None

    def say(self, text: str) -> None:
        raise AssertionError(text)


def tiny(demo: Demo) -> Demo:
    return replace(demo, phantom=TINY)


@pytest.mark.parametrize("demo", [SHORT, FULL], ids=lambda demo: demo.name)
def test_both_forms_teach_the_same(demo: Demo, tmp_path: Path) -> None:
    """Box against point, weak against full, both stages, both backends; no case trains and tests."""
    steps = Steps()
    spec = tiny(demo).prepare(tmp_path / "run", steps)
    assert spec.sam is not None and spec.sam.prompts == ("box", "point")
    assert spec.unet is not None and spec.unet.weak_vs_full and spec.training_labels == ("box", "reference")
    assert spec.backends == ("pytorch", "onnxruntime")
    (planned,) = plan_tasks(spec)
    assert [len(cases) for cases in (planned.train, planned.validation, planned.test)] == [3, 1, 2]
    assert steps.titles[0].startswith(demo.steps[0][0])


def test_the_short_form_is_shorter_in_all_that_takes_time(tmp_path: Path) -> None:
    short, full = (tiny(demo).prepare(tmp_path / demo.name, Steps()) for demo in (SHORT, FULL))
    assert short.unet is not None and full.unet is not None
    slices = [demo.phantom.cases * demo.phantom.slices for demo in (SHORT, FULL)]
    assert slices[0] < slices[1]
    assert short.unet.epochs * slices[0] < full.unet.epochs * slices[1]
    assert short.measure.budget_s < full.measure.budget_s
    assert sum(seconds for _, seconds in SHORT.steps) < sum(seconds for _, seconds in FULL.steps)


def test_one_form_in_the_folder_of_the_other_is_refused_before_its_phantom_is_touched(tmp_path: Path) -> None:
    out = tmp_path / "run"
    claim_run_dir(out, tiny(SHORT).prepare(out, Steps()))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run-data").rglob("*")}
    with pytest.raises(InputError, match="holds the run 'demo', and this specification is 'demo-full'"):
        FULL.prepare(out, Steps())
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run-data").rglob("*")} == before
    assert yaml.safe_load((out / SPEC_FILE).read_text(encoding="utf-8"))["name"] == "demo"


def test_what_it_says_at_its_end_is_two_lines_and_the_specification_in_them_runs(tmp_path: Path) -> None:
    assert len(WHAT_NEXT) == 2 and not any("\n" in line for line in WHAT_NEXT)
    assert SMALLEST_SPEC in WHAT_NEXT[0] and "sambench run mine.yaml" in WHAT_NEXT[1]
    tiny(SHORT).prepare(tmp_path / "run", Steps())
    written = SMALLEST_SPEC.replace("FOLDER", "run-data").replace("TASK]", f"{PHANTOM_TASK}]")
    spec = parse_spec(yaml.safe_load(written), "mine.yaml", tmp_path)
    assert len(plan_tasks(spec)[0].cases) == 6


def test_lanes_get_the_cores_that_other_processes_leave_and_a_resumed_demo_those_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another number of threads would be another recipe, and measure all of an interrupted demo again."""
    monkeypatch.setattr("benchmark.demo.idle_cores", lambda: 3)
    out = tmp_path / "run"
    first = tiny(SHORT).prepare(out, Steps())
    assert first.measure.threads == 3
    claim_run_dir(out, first)
    monkeypatch.setattr("benchmark.demo.idle_cores", lambda: 1)
    assert tiny(SHORT).prepare(out, Steps()).measure.threads == 3
    assert tiny(SHORT).prepare(tmp_path / "other", Steps()).measure.threads == 1
