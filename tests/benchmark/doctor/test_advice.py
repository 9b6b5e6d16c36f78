"""What is told to do in each situation: every row fails if the decision, or the command in it, changes."""

from __future__ import annotations

import pytest

from benchmark.doctor.advice import advise, onnxruntimes, wheel_of
from benchmark.doctor.schema import Check, Facts
from tests.benchmark.doctor.planted import check, facts, without_driver

NOT_INSTALLED = 'the package openvino is not installed; run `pip install "sambench[openvino]"`'
NO_DRIVER = check(state="unavailable", reason="no NVIDIA driver")


def starts(code: int, **system: object) -> Facts:
    absence = f"the NVIDIA driver does not start (cuInit returned {code})"
    return facts(driver={"absence": absence, "gpus": 0}, system=system)


SITUATIONS: dict[str, tuple[Check, Facts, str, tuple[str, ...]]] = {
    "no driver, the GPU is there": (
        NO_DRIVER, without_driver(), "no NVIDIA driver on this machine", ("sudo ubuntu-drivers install", "sudo reboot"),
    ),
    "no driver and no GPU": (NO_DRIVER, without_driver(nvidia_hardware=False), "no NVIDIA GPU on its PCI bus", ()),
    "WSL": (
        NO_DRIVER, without_driver(wsl=True, nvidia_hardware=False), "Windows Subsystem",
        ("wsl --update", "wsl --shutdown"),
    ),
    "container without the NVIDIA runtime": (
        NO_DRIVER, without_driver(container="/.dockerenv"), "in this container (/.dockerenv",
        ("docker run --gpus all IMAGE",),
    ),
    "macOS": (NO_DRIVER, without_driver(platform="darwin", nvidia_hardware=None), "CUDA does not exist on macOS", ()),
    "Windows": (NO_DRIVER, without_driver(platform="win32", nvidia_hardware=None), "no NVIDIA driver", ()),
    "the driver crashed the process that asked": (
        NO_DRIVER, facts(driver=None), "the NVIDIA driver cannot be asked", ("nvidia-smi",),
    ),
    "driver updated without a restart": (NO_DRIVER, starts(803), "of different versions", ("sudo reboot",)),
    "forward compatibility libraries": (NO_DRIVER, starts(804), "come first here", ("unset LD_LIBRARY_PATH",)),
    "fabric manager": (NO_DRIVER, starts(802), "fabric", ("sudo systemctl start nvidia-fabricmanager",)),
    "hidden by the variable": (
        NO_DRIVER, starts(100, visible_devices=""), "CUDA_VISIBLE_DEVICES is ''", ("unset CUDA_VISIBLE_DEVICES",),
    ),
    "container that shows no GPU": (
        NO_DRIVER, starts(100, container="/.dockerenv"), "shows no GPU", ("docker run --gpus all IMAGE",),
    ),
    "an error of the driver that is not known": (NO_DRIVER, starts(999), "cuInit returned 999", ("nvidia-smi",)),
    "a GPU that is not there": (check(device="cuda:3"), facts(), "there is no cuda:3: the driver shows 1 GPU(s)", ()),
    "CPU build of PyTorch": (
        check("pytorch"), facts(torch={"cuda": None}), "PyTorch (2.9.0) is a build for CPUs alone",
        ("pip install --force-reinstall torch",),
    ),
    "driver older than PyTorch's CUDA": (
        check("pytorch"), facts(driver={"cuda": (12, 4), "words": "550.54.14 (CUDA 12.4)"}),
        "driver 550.54.14 (CUDA 12.4) is too old for the CUDA 13.0 of this PyTorch", (),
    ),
    "driver older than ONNX Runtime's CUDA": (
        check(), facts(driver={"cuda": (12, 9), "words": "575.51 (CUDA 12.9)"}),
        "too old for the CUDA 13.0 of this ONNX Runtime", (),
    ),
    "GPU older than PyTorch": (
        check("pytorch", reason="no kernel image is available for execution"), facts(), "GPU of this age", (),
    ),
    "no Triton": (
        check("pytorch-compile", state="unavailable", reason="finds no Triton that works"),
        facts(torch={"triton": False}), "has no Triton", ("pip install triton",),
    ),
    "CPU build of ONNX Runtime": (
        check(), facts(onnxruntime={"providers": ["CPUExecutionProvider"], "cuda": None}),
        "ONNX Runtime (1.23.0) is a build for CPUs alone",
        ("pip uninstall --yes onnxruntime onnxruntime-gpu", "pip install onnxruntime-gpu"),
    ),
    "two ONNX Runtimes": (
        check(), facts(packages={"onnxruntime": "1.23.0", "onnxruntime-gpu": "1.23.0"}), "overwrite each other's files",
        ("pip uninstall --yes onnxruntime onnxruntime-gpu", "pip install onnxruntime-gpu"),
    ),
    "CUDA 12 libraries missing beside a PyTorch of CUDA 13": (
        check(),
        facts(onnxruntime={"cuda": "12.8", "cuda_libraries": {"libcublas.so.12": False, "libcudnn.so.9": True}}),
        "wants CUDA 12.8, and libcublas.so.12 cannot be loaded; PyTorch here brings CUDA 13.0",
        ("pip install nvidia-cublas-cu12",),
    ),
    "cuDNN missing": (
        check(), facts(onnxruntime={"cuda_libraries": {"libcublas.so.13": True, "libcudnn.so.9": False}}),
        "wants CUDA 13.0, and libcudnn.so.9 cannot be loaded", ("pip install nvidia-cudnn-cu13",),
    ),
    "TensorRT's libraries missing": (
        check("tensorrt", state="unavailable"), facts(onnxruntime={"tensorrt_libraries": {"libnvinfer.so.10": False}}),
        "libnvinfer.so.10 cannot be loaded", ('pip install "sambench[tensorrt]"',),
    ),
    "the GPU's memory is taken": (
        check(reason="CUDA error: out of memory"), facts(), "cuda has no memory left", ("nvidia-smi",),
    ),
    "a crash of a backend that is complete": (
        check(reason="the worker crashed (SIGSEGV)"), facts(), "onnxruntime on cuda: the worker crashed (SIGSEGV)", (),
    ),
    "no C++ compiler": (
        check("pytorch-compile", "cpu", "unavailable", reason="PyTorch finds no C++ compiler, which it needs"),
        facts(system={"compiler": None}), "no C++ compiler", ("sudo apt-get install g++",),
    ),
    "an extra that is not installed": (
        check("openvino", "cpu", "unavailable", reason=NOT_INSTALLED),
        facts(), "the package openvino is not installed", ('pip install "sambench[openvino]"',),
    ),
    "a wrong answer": (
        check("onnxruntime", "cpu", "wrong", reason="its answer differs by 3"), facts(),
        "onnxruntime on cpu in fp32 ran and is not to be trusted: its answer differs by 3", (),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SITUATIONS)
def test_each_situation_has_its_advice(name: str) -> None:
    tried, here, problem, commands = SITUATIONS[name]
    found = advise(tried, here)
    assert found is not None
    assert problem in found.problem
    assert tuple(found.commands) == commands
    assert found.steps, "a newcomer is told what to do, not only what is wrong"


def test_what_works_needs_none_and_what_a_backend_is_not_made_for_is_not_to_be_mended() -> None:
    assert advise(check(state="works"), without_driver()) is None
    assert advise(check("pytorch", "cpu", "slow", precision="bf16"), facts()) is None
    for here in (facts(), without_driver(), facts(driver=None)):
        told = check("openvino", "cuda", "unavailable", reason="not applicable to device cuda; OpenVINO runs on CPUs")
        assert advise(told, here) is None, "no driver would help it"
    bf16 = check("openvino", "cpu", "unavailable", precision="bf16", reason="this CPU has no bf16 instructions")
    assert advise(bf16, facts()) is None
    assert advise(check("tensorrt", "cpu", "unavailable", reason="not applicable to device cpu"), facts()) is None


@pytest.mark.parametrize(("driver", "wants"), [((13, 0), "13.1"), ((13, 2), "13.0"), ((14, 0), "13.0")])
def test_a_driver_runs_every_minor_version_of_its_cuda_and_older_ones(driver, wants) -> None:
    here = facts(driver={"cuda": driver}, onnxruntime={"cuda": wants}, torch={"cuda": wants})
    for backend in ("pytorch", "onnxruntime"):
        found = advise(check(backend, reason="something else"), here)
        assert found is not None and "too old" not in found.problem


@pytest.mark.parametrize(
    ("library", "cuda", "package"),
    [
        ("libcublasLt.so.12", 12, "nvidia-cublas-cu12"),
        ("libcudart.so.12", 12, "nvidia-cuda-runtime-cu12"),
        ("libcudart.so.13", 13, '"nvidia-cuda-runtime==13.*"'),
        ("libcufft.so.12", 13, "nvidia-cufft"),
        ("libcudnn.so.9", 12, "nvidia-cudnn-cu12"),
        ("cudnn64_9.dll", 13, "nvidia-cudnn-cu13"),
        ("libnvrtc.so.13", 13, '"nvidia-cuda-nvrtc==13.*"'),
        ("libstrange.so.1", 13, None),
    ],
)
def test_the_package_of_a_library_has_the_name_that_nvidia_gave_it_for_that_cuda(library, cuda, package) -> None:
    assert wheel_of(library, cuda) == package


def test_only_what_writes_the_folder_onnxruntime_counts_as_one() -> None:
    names = dict.fromkeys(("onnxruntime", "onnxruntime-gpu", "onnxruntime-extensions", "onnxruntime-genai"), "1")
    assert onnxruntimes(names) == ["onnxruntime", "onnxruntime-gpu"]
