"""`sambench doctor` as a person or a program meets it: exit codes, mistakes, 80 columns, JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmark import cli_doctor
from benchmark.doctor import job
from benchmark.doctor.job import Doctor
from benchmark.doctor.needs import Needs
from benchmark.doctor.probe import Tried
from benchmark.doctor.schema import Diagnosis
from runners.registry import PRECISIONS, REAL_BACKENDS
from tests.benchmark.doctor.planted import without_driver

WHY = "this machine is too young for it; wait until it has grown, or take an older one in its place"


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which everything works on the CPU, and no process is started to find out."""
    monkeypatch.setattr(Doctor, "_facts", lambda doctor, folder: without_driver())
    monkeypatch.setattr(Doctor, "_prepare", lambda doctor, folder: ({}, None))
    monkeypatch.setattr(Doctor, "_try", lambda doctor, worker, precision, unwritten: Tried("works", None, 3e-7, 1e-3))

    class NoWorker:
        alive = True

        def __init__(self, *_: Any) -> None: ...

        def stop(self) -> None: ...

        kill = stop

    monkeypatch.setattr(job, "Worker", NoWorker)


@pytest.fixture
def spec(tmp_path: Path) -> Any:
    def write(devices: str) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(f"name: t\ndata: {{root: ., tasks: [T]}}\nsam: null\nunet: {{}}\ndevices: {devices}\n")
        return path

    return write


@pytest.mark.usefixtures("no_gpu")
def test_without_a_specification_an_absent_gpu_is_told_and_no_failure(sambench) -> None:
    code, out, _ = sambench("doctor")
    assert code == 0
    assert all(backend in out for backend in REAL_BACKENDS), "no name is cut off"
    assert "To mend:" in out and "sudo ubuntu-drivers install" in out
    assert out.rstrip().endswith("nothing works on cuda.")
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 80


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(("devices", "code"), [("[cpu]", 0), ("[cpu, cuda]", 1), ("[cuda]", 1)])
def test_the_exit_code_is_about_what_the_specification_needs(sambench, spec, devices, code) -> None:
    found, out, _ = sambench("doctor", spec(devices))
    assert found == code
    last = " ".join(out.split())
    assert ("needs more than works here" in last) == bool(code)
    assert ("--skip-unavailable" in last) == (devices == "[cpu, cuda]"), "of [cuda] nothing would be left"


@pytest.mark.usefixtures("no_gpu")
def test_one_device_alone_decides_where_it_is_named(sambench, spec) -> None:
    assert sambench("doctor", spec("[cpu, cuda]"), "--device", "cuda")[0] == 1
    assert sambench("doctor", spec("[cpu, cuda]"), "--device", "cpu")[0] == 0


@pytest.mark.usefixtures("no_gpu")
def test_json_is_the_diagnosis_and_nothing_else(sambench) -> None:
    code, out, _ = sambench("doctor", "--format", "json", "--device", "cpu", "--device", "cuda")
    found = Diagnosis.model_validate_json(out)
    assert code == 1 and not found.ok, "cuda was asked for, and there is none"
    assert {one.backend for one in found.checks} == set(REAL_BACKENDS)
    assert found.remedies[0].commands


def test_mistakes_are_one_sentence_and_code_2(sambench, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: t\ndata: {root: ., tasks: [T]}\nbackends: [caffe]\n")
    for words, told in (
        (["--device", "tpu"], "--device: 'tpu' is not a device"),
        ([tmp_path / "none.yaml"], "none.yaml"),
        ([tmp_path / "bad.yaml"], "caffe"),
    ):
        code, _, err = sambench("doctor", *words)
        assert code == 2 and err.startswith("error: ") and told in err and len(err.splitlines()) == 1


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("with_spec", [False, True])
def test_nothing_is_cut_off_at_any_width(sambench, spec, monkeypatch: pytest.MonkeyPatch, width, with_spec) -> None:
    def tried(doctor: Doctor, worker: Any, precision: str, unwritten: Any) -> Tried:
        return Tried("unavailable", WHY) if precision in ("bf16", "int8") else Tried("works", None, 3e-7, 1e-3)

    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(Doctor, "_try", tried)
    _, out, _ = sambench("doctor", *([spec("[cpu, cuda]")] if with_spec else []))
    assert "…" not in out
    assert max(len(line.rstrip()) for line in out.splitlines()) <= width
    words = set(out.replace("*", "").replace(",", "").split())
    assert {*REAL_BACKENDS, *(one for some in PRECISIONS.values() for one in some)} <= words, "none is broken"
    told = " ".join(out.split())
    number = told.partition(f". {WHY}")[0].split()[-1]
    rows = [line for line in out.splitlines() if line.strip().startswith("pytorch ") and "bf16" in line]
    assert WHY in told and rows[0].rstrip().endswith(f"see {number}")


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("width", [60, 80])
def test_a_library_that_is_missing_keeps_its_name_in_one_piece(
    sambench, monkeypatch: pytest.MonkeyPatch, width
) -> None:
    missing = {"libnvinfer_plugin.so.10": False, "libnvonnxparser.so.10": False}
    here = without_driver()
    assert here.onnxruntime is not None
    build = here.onnxruntime.model_copy(update={"tensorrt_libraries": missing})
    monkeypatch.setattr(Doctor, "_facts", lambda doctor, folder: here.model_copy(update={"onnxruntime": build}))
    monkeypatch.setenv("COLUMNS", str(width))
    facts = sambench("doctor", "--device", "cuda")[1].partition("on cuda")[0]
    assert all(name in facts for name in (*missing, "provider's", "libcuda"))


@pytest.mark.usefixtures("no_gpu")
def test_a_backend_that_is_not_made_for_a_device_is_sent_to_no_driver(sambench) -> None:
    _, out, _ = sambench("doctor")
    told = " ".join(out.split())
    number = told.partition(". not applicable to device cuda; OpenVINO runs on CPUs here")[0].split()[-1]
    lines = [line.split() for line in out.splitlines() if line.strip()]
    rows = lines[lines.index(["on", "cuda"]) :]
    (mine,) = (row for row in rows if row[0] == "openvino")
    (other,) = (row for row in rows if row[0] == "tensorrt")
    assert mine[-1] == number and other[-1] != number
    assert f"{other[-1]}. no NVIDIA driver on this machine" in told.partition("To mend:")[2]


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(("words", "code"), [((), 0), (("--device", "cuda:3"), 1), (("--device", "cpu"), 0)])
def test_a_device_that_was_asked_for_and_does_not_work_ends_with_1(sambench, words, code) -> None:
    assert sambench("doctor", *words)[0] == code


def test_a_device_that_the_specification_does_not_use_is_a_mistake_and_nothing_is_checked(
    sambench, spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Doctor, "diagnose", lambda doctor: pytest.fail("it checked something"))
    code, _, err = sambench("doctor", spec("[cuda]"), "--device", "cpu")
    assert code == 2 and len(err.splitlines()) == 1
    assert err.startswith("error: --device: mine.yaml does not use cpu, it uses cuda; name one of these")


def test_a_format_that_is_none_is_told_without_the_words_of_a_library(sambench) -> None:
    code, _, err = sambench("doctor", "--format", "xml")
    told = " ".join(err.replace("│", " ").split())
    assert code == 2 and "'--format': 'xml' is not one of 'text', 'json'." in told and "Value error" not in told


def test_an_interruption_ends_with_a_sentence(sambench, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(doctor: Doctor) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Doctor, "diagnose", interrupted)
    code, _, err = sambench("doctor")
    assert code == 130 and "interrupted" in err


def test_needs_are_read_from_the_specification_that_is_named(spec) -> None:
    found = cli_doctor._needs(spec("[cuda]"), None)
    assert isinstance(found, Needs) and found.file == "mine.yaml" and found.devices == ("cuda",)
