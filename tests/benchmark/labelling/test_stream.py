"""Cases as a stream: in order, one volume at a time, whatever the number of cases."""

from __future__ import annotations

import threading
import weakref
from pathlib import Path
from typing import Any

import pytest

from benchmark.data.msd import CaseFiles, Task, open_task
from benchmark.data.volume import Volume
from benchmark.errors import InputError
from benchmark.labelling import stream as streaming
from benchmark.labelling.cases import SLICES_AHEAD
from benchmark.labelling.stream import CaseEnd, CaseStart, stream
from benchmark.prompts import Prompter
from benchmark.stages.base import Outcome, Unit
from benchmark.stages.pseudolabel import Prepared, PseudolabelPipeline
from tests.benchmark.conftest import MakeTask
from tests.benchmark.labelling.conftest import Label, boxes, greys

Alive = list["weakref.ref[Any]"]


def living(refs: Alive) -> int:
    return sum(ref() is not None for ref in refs)


class Preparing:
    """A pipeline that gets nothing ready."""

    def prepare(self, unit: Unit) -> Any:
        return unit


def parts(data: Path) -> Any:
    task = open_task(data)
    return stream(task, task.cases, Prompter.of(("box",), task.labels), Preparing())  # type: ignore[arg-type]


def test_a_case_begins_then_come_its_slices_from_the_feet_upwards_then_it_ends(task: Path) -> None:
    seen: list[object] = []
    for part in parts(task):
        if isinstance(part, CaseStart):
            assert part.reference.shape == part.geometry.shape == (12, 10, 6)
            seen.append((part.files.case, part.slices))
        else:
            seen.append("end" if isinstance(part, CaseEnd) else part.slices[0].index)
    assert seen == [item for case in (1, 2, 3) for item in ((f"case_{case}", 4), 1, 2, 3, 4, "end")]


def test_a_damaged_case_is_told_when_its_turn_comes(task: Path) -> None:
    (task / "labelsTr/case_2.nii.gz").write_bytes(b"no label")
    read = parts(task)
    assert [type(next(read)).__name__ for _ in range(6)][-1] == "CaseEnd"
    with pytest.raises(InputError, match=r"labelsTr/case_2\.nii\.gz"):
        next(read)


def test_memory_does_not_grow_with_the_cases(
    make_task: MakeTask, label: Label, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One volume, two cases' reference labels and a handful of ready slices, in a task of eight cases."""
    volumes: Alive = []
    references: Alive = []
    prepared: Alive = []
    most = {"volumes": 0, "references": 0, "prepared": 0}
    loading, preparing, finishing = streaming.load_volume, PseudolabelPipeline.prepare, PseudolabelPipeline.finish
    lock = threading.Lock()

    def note() -> None:
        with lock:
            for name, refs in (("volumes", volumes), ("references", references), ("prepared", prepared)):
                most[name] = max(most[name], living(refs))

    def load(task: Task, files: CaseFiles) -> Volume:
        assert living(volumes) == 0, "the last volume must be gone before the next one is read"
        volume = loading(task, files)
        volumes.append(weakref.ref(volume))
        references.append(weakref.ref(volume.label))
        note()
        return volume

    def prepare(self: PseudolabelPipeline, unit: Unit) -> Prepared:
        ready = preparing(self, unit)
        prepared.append(weakref.ref(ready))
        note()
        return ready

    def finish(self: PseudolabelPipeline, ready: Prepared) -> Outcome:
        note()
        return finishing(self, ready)

    monkeypatch.setattr(streaming, "load_volume", load)
    monkeypatch.setattr(PseudolabelPipeline, "prepare", prepare)
    monkeypatch.setattr(PseudolabelPipeline, "finish", finish)
    data = make_task(image=greys(), label=boxes(), cases=tuple(f"case_{number}" for number in range(8)))
    label(data, tmp_path / "out")
    assert len(volumes) == 8 and len(prepared) == 32
    assert most["volumes"] == 1
    # The case that is written and the one that is read.
    assert most["references"] <= 2
    # Those that wait, one with the reader, one with the encoder, and one that is being let go.
    assert most["prepared"] <= SLICES_AHEAD + 3
    assert not any(map(living, (volumes, references, prepared)))
