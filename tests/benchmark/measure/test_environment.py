from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from benchmark.measure import environment as environment_module
from benchmark.measure.environment import (
    Usage,
    available_cores,
    business,
    busy_words,
    environment,
    governor,
    idle_cores,
    steering_variables,
)
from benchmark.measured import Environment


@pytest.fixture(scope="module")
def here() -> Environment:
    return environment(threads=3)


def test_what_a_reader_needs_to_judge_the_numbers_is_there(here: Environment) -> None:
    for text in (here.machine, here.cpu, here.os, here.python):
        assert text.strip()
    assert here.python == platform.python_version()
    assert here.threads == 3
    assert here.cores == available_cores()
    assert here.memory_gib == pytest.approx(psutil.virtual_memory().total / 2**30, abs=0.1)
    assert (here.gpu is None) == (not torch.cuda.is_available())


def test_the_versions_are_those_that_are_imported(here: Environment) -> None:
    assert here.libraries["numpy"] == np.__version__
    assert here.libraries["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert {"onnx", "onnxscript", "monai"} <= set(here.libraries)
    assert {"onnxruntime", "onnxruntime-gpu"} & set(here.libraries)


def test_nothing_in_it_is_not_a_number_and_it_survives_the_file(here: Environment) -> None:
    values = [here.cores, here.memory_gib, here.threads, here.load_before or 0.0]
    assert all(math.isfinite(value) and value >= 0 for value in values)
    assert Environment.model_validate(json.loads(here.model_dump_json())) == here


def test_what_a_library_sets_itself_when_it_is_imported_is_no_other_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    """A baseline was refused because PyTorch's compiler had been imported in one session and not yet in the next."""
    before = steering_variables()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "somewhere")
    assert steering_variables() == before
    monkeypatch.setenv("TORCHINDUCTOR_FREEZING", "1")
    assert steering_variables() == {**before, "TORCHINDUCTOR_FREEZING": "1"}


def test_variables_that_steer_the_libraries_are_told_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("SAMBENCH_TEST_TOKEN", "secret")
    told = environment(1).variables
    assert (told["OMP_NUM_THREADS"], told["CUDA_VISIBLE_DEVICES"]) == ("7", "")
    assert "secret" not in told.values()


def test_cores_are_those_that_this_process_may_use() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_process_bound_to_one_core_has_one_core() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    ("machine", "own", "wall", "load", "words"),
    [
        (
            0.93,
            0.0,
            1.0,
            2.07,
            "other processes used 93 % of one core for the second before the start (load average 2.07)",
        ),
        (1.85, 0.05, 1.0, 3.0, "other processes used 1.8 cores for the second before the start (load average 3.00)"),
        (1.0, 0.0, 4.0, None, "other processes used 25 % of one core for the 4.0 s before the start"),
        (0.09, 0.0, 1.0, 9.0, None),  # an old load average alone says nothing of now
        (1.0, 0.95, 1.0, 1.0, None),  # this process itself is not others
        (0.0, 0.2, 1.0, 0.0, None),  # clocks of different grain
    ],
)
def test_what_others_use_is_told_in_words(
    machine: float, own: float, wall: float, load: float | None, words: str | None
) -> None:
    before = Usage(wall=50.0, machine=1000.0, own=10.0)
    after = Usage(wall=50.0 + wall, machine=1000.0 + machine, own=10.0 + own)
    assert busy_words(before, after, load) == words


def test_the_threshold_decides() -> None:
    before, after = Usage(0, 0, 0), Usage(1, 0.5, 0)
    assert busy_words(before, after, None, threshold=0.6) is None
    assert busy_words(before, after, None, threshold=0.4) is not None


@pytest.mark.parametrize(("used", "left"), [(0.0, 4), (0.4, 4), (1.2, 3), (3.9, 1), (9.0, 1)])
def test_the_cores_that_others_leave_are_whole_ones_and_one_at_least(
    used: float, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([Usage(0, 0, 0), Usage(1, used + 0.25, 0.25)])
    monkeypatch.setattr(environment_module.Usage, "now", lambda: next(looks))
    monkeypatch.setattr(environment_module, "available_cores", lambda: 4)
    assert idle_cores(seconds=0) == left


def test_a_process_that_computes_beside_this_one_is_seen_and_this_one_is_not_seen() -> None:
    """A second beside a child that spins. On a full machine it may get little of it, and others have the rest."""
    program = "print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()  # it spins
        try:
            told = business(seconds=1.0)
        finally:
            child.kill()
    assert told is not None and told.startswith("other processes used")


def test_usage_counts_this_process_among_all() -> None:
    first = second = Usage.now()
    while second.own - first.own < 0.2:  # twenty ticks of the kernel's clock, by which it counts
        sum(range(300_000))
        second = Usage.now()
    assert second.machine - first.machine >= 0.5 * (second.own - first.own)
    assert second.wall > first.wall


def test_the_environment_records_what_was_found_before_the_run() -> None:
    assert environment(1, busy="others").busy == "others"
    assert environment(1).busy is None


def test_the_governor_is_read_where_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "scaling_governor"
    assert governor(path) is None
    path.write_text("powersave\n", encoding="utf-8")
    assert governor(path) == "powersave"
    path.write_text("", encoding="utf-8")
    assert governor(path) is None
