from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from benchmark.errors import InputError
from benchmark.preflight import require_affinity, require_backends, require_models, require_options, require_threads
from benchmark.spec import Spec
from runners.registry import import_backend


def test_a_missing_checkpoint_is_told_before_the_first_model_is_loaded(tmp_path: Path) -> None:
    weights = tmp_path / "sam.pth"
    sam = {"models": ["litemedsam"], "checkpoints": {"litemedsam": weights}}
    spec = Spec.model_validate({"name": "run", "data": {"root": "x", "tasks": ["T"]}, "sam": sam})
    with pytest.raises(InputError, match=r"sam\.checkpoints\.litemedsam: .*sam\.pth is no file"):
        require_models(spec)
    weights.write_bytes(b"")
    require_models(spec)  # what is in it, loading tells


def test_a_model_without_weights_here_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMBENCH_CACHE", str(tmp_path))
    content = {"name": "run", "data": {"root": "x", "tasks": ["T"]}, "sam": {"models": ["vit_b"]}}
    with pytest.raises(InputError, match=r"sam\.models: the weights of vit_b are not here; run `sambench fetch sam"):
        require_models(Spec.model_validate(content))
    for given in ({"random_weights": 0}, {"checkpoints": {"vit_b": str(Path(__file__))}}):
        require_models(Spec.model_validate({**content, "sam": {"models": ["vit_b"], **given}}))


def test_more_threads_than_processors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    require_threads(4, "--threads")
    with pytest.raises(InputError, match="--threads: 5 is more than this machine's 4 processors"):
        require_threads(5, "--threads")


def spec_with(**fields: object) -> Spec:
    return Spec.model_validate({"name": "run", "data": {"root": "x", "tasks": ["T"]}, **fields})


def test_an_option_that_a_backend_does_not_know_or_cannot_use_is_refused_with_those_it_knows() -> None:
    require_options(spec_with())
    require_options(spec_with(backends=["dummy"], options={"dummy": {"delay_ms": 2.0}}))
    # Every backend can be slowed on purpose.
    require_options(spec_with(options={"pytorch": {"extra": 0.05}, "onnxruntime": {"extra": 0.05}}))
    with pytest.raises(InputError, match=r"options\.pytorch: .*does not know option speed; it knows"):
        require_options(spec_with(options={"pytorch": {"speed": 2}}))
    with pytest.raises(InputError, match=r"options\.dummy: .*option delay_ms is 'long'"):
        require_options(spec_with(backends=["dummy"], options={"dummy": {"delay_ms": "long"}}))


def test_processors_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 3}, raising=False)
    require_affinity(spec_with())
    require_affinity(spec_with(measure={"affinity": [2, 3]}))
    with pytest.raises(InputError, match=r"measure\.affinity: processor 1 is not among this process's \(\[0, 2, 3\]\)"):
        require_affinity(spec_with(measure={"affinity": [0, 1]}))


def test_where_processes_cannot_be_placed_that_is_said_and_not_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    require_affinity(spec_with())
    with pytest.raises(InputError, match=r"measure\.affinity: this system does not let a process choose"):
        require_affinity(spec_with(measure={"affinity": [0]}))


def test_a_backend_that_is_not_installed_or_has_no_compiler_is_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_backends(spec_with())
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "runners.openvino", raising=False)
    with pytest.raises(InputError, match=r'^backends: backend openvino: .*run `pip install "sambench\[openvino\]"` \('):
        require_backends(spec_with(backends=["pytorch", "openvino"]))
    compiling = import_backend("pytorch-compile")
    monkeypatch.setattr(compiling, "absence", classmethod(lambda cls, device: "no C++ compiler"))
    with pytest.raises(
        InputError, match=r"^backends: no C\+\+ compiler \(`sambench doctor` tells how; `--skip-unavailable`"
    ):
        require_backends(spec_with(backends=["pytorch", "pytorch-compile"]))


def test_a_backend_that_runs_on_one_of_the_devices_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the other one its cells fail and say why; the run is worth having."""
    told = {"cpu": None, "cuda": "only a CPU"}
    monkeypatch.setattr(import_backend("dummy"), "absence", classmethod(lambda cls, device: told[device.kind]))
    require_backends(spec_with(backends=["dummy"], devices=["cpu", "cuda"]))
    with pytest.raises(InputError, match="backends: only a CPU"):
        require_backends(spec_with(backends=["dummy"], devices=["cuda"]))
