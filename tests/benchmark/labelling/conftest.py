"""A task whose objects are boxes, and a SAM that answers a box with the box: its pseudo labels are the reference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.labelling.job import LabelReport, label_task
from benchmark.labelling.settings import parse_settings
from benchmark.stages.base import Outcome
from benchmark.stages.pseudolabel import Prepared, PseudolabelPipeline
from tests.benchmark.conftest import MakeTask
from tests.benchmark.fake_sam import FakeSam

Label = Callable[..., LabelReport]


class Silent:
    def start(self, title: str, total: float) -> Callable[[float, str], None]:
        return lambda amount, note: None

    def say(self, text: str) -> None: ...


def boxes() -> np.ndarray:
    """Two labels, four slices with an object."""
    label = np.zeros((12, 10, 6), np.uint8)
    label[2:6, 3:8, 1:4] = 1
    label[7:11, 2:5, 2:5] = 2
    return label


def greys(shape: tuple[int, ...] = (12, 10, 6)) -> np.ndarray:
    return np.random.default_rng(0).integers(-100, 200, shape).astype(np.int16)


@pytest.fixture
def task(make_task: MakeTask) -> Path:
    return make_task(image=greys(), label=boxes(), cases=("case_1", "case_2", "case_3"))


@pytest.fixture
def label(fake_sam: FakeSam) -> Label:
    def run(data: Path, out: Path, **settings: Any) -> LabelReport:
        return label_task(data, parse_settings(**{"threads": 1, **settings}), out, Silent())

    return run


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Case and index of every slice that goes through the model."""
    seen: list[tuple[str, int]] = []
    finish = PseudolabelPipeline.finish

    def noted(self: PseudolabelPipeline, prepared: Prepared) -> Outcome:
        piece = prepared.unit.slices[0]
        seen.append((piece.case, piece.index))
        return finish(self, prepared)

    monkeypatch.setattr(PseudolabelPipeline, "finish", noted)
    return seen


def content(folder: Path) -> dict[str, bytes]:
    """Every file's bytes by its path, but for the work folder's."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".sambench" not in path.parts
    }
