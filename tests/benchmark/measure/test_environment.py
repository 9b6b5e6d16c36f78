from __future__ import annotations

import json
import math
import os
import platform

import numpy as np
import psutil
import pytest
import torch

from benchmark.measure.environment import available_cores, environment
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
