"""A training beside an export: what it finished is not done again, and it never outlives the export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from benchmark import early_training
from benchmark.early_training import while_training
from benchmark.measure.workers import WorkerError

MANIFEST: Any = SimpleNamespace(precision="fp32")


class Process:
    """In the place of a worker process; `train` ends when the test lets it."""

    made: ClassVar[list[Process]] = []

    def __init__(self, name: str, make: Callable[[], Any], settings: object, log: Path) -> None:
        self.trained, self.killed = 0, False
        self.make = make
        Process.made.append(self)

    def call(self, method: str) -> None:
        assert method == "train"
        self.make().train()
        self.trained += 1

    def kill(self) -> None:
        self.killed = True


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> type[Process]:
    Process.made = []
    monkeypatch.setattr(early_training, "Worker", Process)
    monkeypatch.setattr(early_training, "idle_cores", lambda: 2)
    return Process


def export(folder: Path, precision: str) -> Any:
    return MANIFEST


def test_every_source_is_trained_while_the_export_goes_on_and_the_process_ends_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trained: list[Any] = []
    monkeypatch.setattr(early_training, "train_on", lambda source, on_progress: trained.append(source))
    sources: Any = ["first task", "second task"]
    assert while_training(export, sources, tmp_path / "log")(tmp_path, "fp32") is MANIFEST
    assert trained == sources
    (process,) = Process.made
    assert process.killed


def test_no_process_is_started_for_an_export_that_is_not_called(tmp_path: Path) -> None:
    """One that the cache has already is taken from there, and its training needs no second process."""
    while_training(export, ["task"], tmp_path / "log")  # type: ignore[list-item]
    assert not Process.made


@pytest.mark.parametrize(("sources", "cores"), [([], 2), (["task"], 1)])
def test_without_anything_to_learn_or_a_second_core_the_export_is_alone(
    sources: Any, cores: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(early_training, "idle_cores", lambda: cores)
    assert while_training(export, sources, tmp_path / "log")(tmp_path, "fp32") is MANIFEST
    assert not Process.made


def test_a_training_that_fails_is_not_the_exports_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(source: object, on_progress: object) -> None:
        raise WorkerError("InputError: no training case has a label")

    monkeypatch.setattr(early_training, "train_on", fail)
    assert while_training(export, ["task"], tmp_path / "log")(tmp_path, "fp32") is MANIFEST  # type: ignore[list-item]


def test_an_export_that_fails_ends_the_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(early_training, "train_on", lambda source, on_progress: None)

    def fail(folder: Path, precision: str) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        while_training(fail, ["task"], tmp_path / "log")(tmp_path, "fp32")  # type: ignore[list-item]
    assert Process.made[0].killed
