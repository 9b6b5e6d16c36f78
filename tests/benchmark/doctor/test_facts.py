"""What is read off a machine: files and words in, facts out."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.doctor.facts import TENSORRT_NAMES, container_sign, cuda_of, missing_instructions, nvidia_on_the_bus
from benchmark.doctor.told import told
from tests.benchmark.doctor.planted import facts, without_driver


@pytest.mark.parametrize(
    ("words", "version"), [("580.65.06 (CUDA 13.0)", (13, 0)), ("CUDA 12.9", (12, 9)), (None, None), ("580.65", None)]
)
def test_the_newest_cuda_is_read_from_the_drivers_words(words, version) -> None:
    assert cuda_of(words) == version


def test_a_container_is_told_by_its_files_or_variables(tmp_path: Path) -> None:
    assert container_sign({}, tmp_path) is None
    assert container_sign({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path) == "the variable KUBERNETES_SERVICE_HOST"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".containerenv").touch()
    assert container_sign({}, tmp_path) == "/run/.containerenv"


def test_a_gpu_of_nvidia_on_the_bus_is_a_display_controller_and_no_network_card(tmp_path: Path) -> None:
    assert nvidia_on_the_bus(tmp_path / "none") is None

    def plug(name: str, vendor: str, kind: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")

    plug("a", "0x10de", "0x0c0330")  # a USB controller on NVIDIA's card
    plug("b", "0x8086", "0x030000")
    (tmp_path / "c").mkdir()  # unreadable
    assert nvidia_on_the_bus(tmp_path) is False
    plug("d", "0x10de", "0x030200")
    assert nvidia_on_the_bus(tmp_path) is True


def test_instructions_are_missing_only_where_the_processor_says_which_it_has(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    assert missing_instructions(info) == {}
    info.write_text("model name: x\n")
    assert missing_instructions(info) == {}
    info.write_text("flags\t\t: sse avx2 avx512_vnni\n")
    assert set(missing_instructions(info)) == {"bf16", "fp16"}
    info.write_text("flags\t\t: avx512_bf16 avx512_fp16 avx_vnni\n")
    assert missing_instructions(info) == {}


def test_tensorrts_libraries_are_read_from_the_import_table() -> None:
    table = (
        b"\x00libnvinfer.so.10\x00libnvonnxparser.so.10\x00libcudart.so.13\x00mylibnvinfer.so.9\x00nvinfer_10.dll\x00"
    )
    assert TENSORRT_NAMES.findall(table) == [b"libnvinfer.so.10", b"libnvonnxparser.so.10", b"nvinfer_10.dll"]


def test_the_facts_are_told_with_their_source_and_what_is_missing_by_name() -> None:
    here = facts(onnxruntime={"cuda_libraries": {"libcudnn.so.9": False}}, system={"wsl": True})
    found = {fact.name: fact for fact in told(here)}
    assert found["PyTorch"].value == "2.9.0: built for CUDA 13.0, cuDNN 9.10.2"
    assert found["NVIDIA driver"].value == "580.65.06 (CUDA 13.0)" and found["visible GPUs"].value == "1"
    assert found["libraries it wants"].value == "not found: libcudnn.so.9"
    assert found["runs in"].value == "WSL"
    assert all(fact.source for fact in found.values())
    absent = {fact.name: fact.value for fact in told(without_driver())}
    assert "no NVIDIA driver" in absent["NVIDIA driver"] and "visible GPUs" not in absent
    lost = facts(torch=None).model_copy(update={"unknown": {"torch": "the worker crashed (SIGSEGV)"}})
    assert {f.name: f.value for f in told(lost)}["PyTorch"] == "not known: the worker crashed (SIGSEGV)"
