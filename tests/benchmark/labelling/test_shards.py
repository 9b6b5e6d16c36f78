"""Several devices label one task: the same bytes as one, whoever takes which case, and whatever ends it early."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmark.data.msd import CaseFiles
from benchmark.errors import InputError
from benchmark.labelling import job
from benchmark.labelling.job import LabelReport, label_task
from benchmark.labelling.news import Told as News
from benchmark.labelling.records import LabelledCase
from benchmark.labelling.settings import parse_settings
from benchmark.labelling.shard import Shard
from benchmark.labelling.shards import Shards
from runners.base import RunnerError
from tests.benchmark.conftest import MakeTask
from tests.benchmark.fake_sam import FakeSam
from tests.benchmark.labelling.conftest import Label, Silent, boxes, content, greys
from tests.benchmark.labelling.light import Light

TWO = ("cpu", "cpu")
CASES = tuple(f"case_{number}" for number in range(5))


class ThreadWorker:
    """In the place of `ShardWorker`: a thread that answers. Starting a process imports for seconds."""

    def __init__(self, name: str, make: Callable[[], Any], settings: Any, log: Path) -> None:
        self.name = name
        self.connection, self._theirs = Pipe()
        self._make = make
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        shard = self._make()
        with suppress(EOFError, OSError):
            while True:
                self._theirs.send(shard.go_on(self._theirs.recv()))
        if isinstance(shard, Shard):
            shard._over.set()  # a process would be gone; a thread that waits for its next case would stay

    def ask(self, hand: Any) -> None:
        self.connection.send(hand)

    def answer(self) -> list[News]:
        return list(self.connection.recv())

    def stop(self) -> None:
        self.connection.close()

    kill = stop


@pytest.fixture
def in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.labelling.shards.ShardWorker", ThreadWorker)


class Told(Silent):
    """Notes how far each bar came, and may do something at each step."""

    def __init__(self, at_step: Callable[[], None] = lambda: None) -> None:
        self.bars: dict[str, list[float]] = {}
        self._at_step = at_step

    def start(self, title: str, total: float) -> Callable[[float, str], None]:
        steps = self.bars.setdefault(title, [])

        def advance(amount: float, note: str) -> None:
            steps.append(amount)
            self._at_step()

        return advance


@pytest.fixture
def five(make_task: MakeTask) -> Path:
    return make_task(image=greys(), label=boxes(), cases=CASES)


def shared(data: Path, out: Path, told: Silent | None = None, devices: Any = TWO, **settings: Any) -> LabelReport:
    return label_task(data, parse_settings(**{"threads": 1, **settings}), out, told or Silent(), devices)


def mine() -> list[psutil.Process]:
    """The worker processes that this one has started."""
    found = []
    for process in psutil.Process().children():
        with suppress(psutil.Error):
            if "spawn_main" in " ".join(process.cmdline()):
                found.append(process)
    return found


@pytest.mark.usefixtures("in_threads")
def test_two_devices_write_the_bytes_that_one_writes_and_either_goes_on_where_the_other_was_killed(
    five: Path, label: Label, tmp_path: Path
) -> None:
    whole = label(five, tmp_path / "one")
    told = Told()
    report = shared(five, tmp_path / "two", told)
    assert content(tmp_path / "two") == content(tmp_path / "one"), "dataset.json with its provenance among them"
    assert [record.model_dump() for record in report.records] == [record.model_dump() for record in whole.records]
    assert report.labelled == 5 and report.slices_per_second and report.slices_per_second > 0
    (steps,) = (steps for title, steps in told.bars.items() if "on 2 devices" in title)
    assert sum(steps) == pytest.approx(5) and len(steps) > 5, "one bar, which moves within a case"
    records = tmp_path / "two/.sambench/cases"
    (records / "case_3.json").unlink()
    assert label(five, tmp_path / "two").labelled == 1
    for name in ("case_0", "case_4"):
        (records / f"{name}.json").unlink()
    assert shared(five, tmp_path / "two").labelled == 2
    assert content(tmp_path / "two") == content(tmp_path / "one")
    assert shared(five, tmp_path / "two").labelled == 0


@pytest.mark.usefixtures("in_threads")
def test_a_case_that_cannot_be_read_ends_all_with_its_name_and_finished_cases_are_kept(
    five: Path, tmp_path: Path, fake_sam: FakeSam
) -> None:
    damaged = five / "imagesTr/case_4.nii.gz"
    good = damaged.read_bytes()
    damaged.write_bytes(good[:-20])
    with pytest.raises(InputError, match=r"imagesTr/case_4\.nii\.gz.* [1-4] of 5 cases are labelled and kept"):
        shared(five, tmp_path / "out")
    assert not (tmp_path / "out/dataset.json").exists()
    damaged.write_bytes(good)
    assert shared(five, tmp_path / "out").labelled >= 1
    assert (tmp_path / "out/dataset.json").exists()


@pytest.mark.usefixtures("in_threads")
def test_a_device_that_cannot_be_had_ends_the_labelling_with_its_name_and_reason(
    five: Path, tmp_path: Path, fake_sam: FakeSam
) -> None:
    with pytest.raises(RunnerError, match=r"^device cuda:7: device cuda:7 for onnxruntime: .*"):
        shared(five, tmp_path / "out", devices=("cpu", "cuda:7"))


@pytest.mark.slow
def test_a_process_of_its_own_labels_what_is_missing_to_the_same_bytes(
    five: Path, label: Label, tmp_path: Path
) -> None:
    """One case is left, so one of the two processes is started; it loads what was sent to it, as on a GPU."""
    out = tmp_path / "out"
    label(five, out, backend="pytorch")
    before = content(out)
    (out / "labelsTr/case_2.nii.gz").unlink()
    pids: set[int] = set()
    report = shared(five, out, Told(lambda: pids.update(process.pid for process in mine())), backend="pytorch")
    assert report.labelled == 1 and len(pids) == 1 and not mine()
    assert content(out) == before


# What becomes of processes.


def labelled(tmp_path: Path, does: dict[str, dict[str, str]], at_step: Callable[[], None] = lambda: None) -> Any:
    files = [CaseFiles(name, Path(name), Path(name)) for name in CASES]
    shards = Shards(Light(tmp_path, does), ("a", "b"), files, lambda share, note: at_step(), tmp_path)
    found: list[LabelledCase] = []
    try:
        for record in shards.label():
            found.append(record)
    finally:
        assert not mine(), "no process is left, however it ended"
    return found


def test_every_case_is_labelled_once_and_by_both_processes(tmp_path: Path) -> None:
    found = labelled(tmp_path, {})
    assert sorted(record.case for record in found) == list(CASES)
    assert len({record.notes for record in found}) == 2


@pytest.mark.parametrize(
    ("what", "error", "told"),
    [
        ("kill", RunnerError, r"^device b: the worker was killed \(SIGKILL\)"),
        ("fail", RunnerError, r"^device b: it does not want to$"),
        ("misread", InputError, r"^case_1: cannot be read$"),
    ],
)
def test_one_processs_failure_ends_all_with_its_reason(
    tmp_path: Path, what: str, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        labelled(tmp_path, {"b": dict.fromkeys(CASES, what)} if what != "misread" else {
            name: {"case_1": what} for name in "ab"
        })  # fmt: skip


def test_ctrl_c_ends_all_processes(tmp_path: Path) -> None:
    running: list[int] = []

    def interrupt() -> None:
        running.append(len(mine()))
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        labelled(tmp_path, {}, interrupt)
    assert running == [2]


# In the process itself.


class Gone:
    """A parent that is no more."""

    def is_alive(self) -> bool:
        return False


def test_a_process_whose_parent_is_gone_ends_rather_than_labels_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shard, "_run", lambda self: None)
    monkeypatch.setattr("benchmark.labelling.shard.multiprocessing.parent_process", Gone)
    shard = Shard(None)  # type: ignore[arg-type]
    with pytest.raises(SystemExit):
        shard.go_on(None)


def test_a_labelling_that_fails_does_not_wait_for_a_case_that_nobody_hands_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shard, "_run", lambda self: None)
    shard = Shard(None)  # type: ignore[arg-type]
    asked: list[Any] = []
    reader = threading.Thread(target=lambda: asked.extend(shard._cases()))
    reader.start()
    time.sleep(0.05)
    shard._over.set()
    reader.join(300)
    assert not reader.is_alive() and asked == []


# Which devices.


def test_all_gpus_are_those_that_the_driver_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "visible_devices", lambda: 3)
    monkeypatch.setattr("benchmark.devices.cuda_absence", lambda index: None)
    assert job.settings_devices(parse_settings(device="cuda:all")) == ("cuda", "cuda:1", "cuda:2")
    assert job.settings_devices(parse_settings(device="cuda:1")) == ("cuda:1",)
    assert job.settings_devices(parse_settings()) == ("cpu",)


def test_without_a_gpu_all_gpus_are_refused_with_the_drivers_reason(
    five: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.devices.cuda_absence", lambda index: "no NVIDIA driver on this machine")
    with pytest.raises(InputError, match=r"^--device: cuda cannot be used: no NVIDIA driver on this machine; take cpu"):
        label_task(five, parse_settings(device="cuda:all"), tmp_path / "out", Silent())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("device", "told"), [("cuda", "cuda"), ("cuda:3", "cuda"), ("cuda:all", "cuda")])
def test_which_gpus_share_the_work_is_not_in_the_provenance(device: str, told: str) -> None:
    decides = parse_settings(device=device).decides
    assert decides["device"] == told and "on_out_of_memory" not in decides
    assert decides == parse_settings(device="cuda", on_out_of_memory="halve").decides
    assert decides != parse_settings(device="cpu").decides
    json.dumps(decides)
