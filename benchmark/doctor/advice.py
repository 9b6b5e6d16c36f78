"""From what did not work and what is here to what to do. Pure: every situation can be planted in a test."""

from __future__ import annotations

import re

from benchmark.doctor.advice_driver import without_driver
from benchmark.doctor.schema import Check, Facts, Remedy, Version
from runners.registry import not_made_for

OLDEST_DRIVER = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
"""CUDA → the oldest driver on Linux that runs all its minor versions (NVIDIA, CUDA Compatibility, minor version
compatibility, table 1; for 13 the release notes of CUDA 13.0)."""

ORT_NAMES = re.compile(r"onnxruntime(-(gpu|directml|openvino|rocm|migraphx|qnn|training))?|ort-nightly(-gpu)?")
"""Distributions that write the folder `onnxruntime`; others of similar names, as onnxruntime-extensions, do not."""

OWN_VERSIONS = 13
"""From this CUDA on, NVIDIA's packages carry its version instead of an ending of their name."""

ORT_BACKENDS = ("onnxruntime", "tensorrt")
"""Those that are execution providers of the one package."""


def advise(check: Check, facts: Facts) -> Remedy | None:
    """What to do about a check that did not work; None where nothing is to be mended.

    Args:
        check: what was tried, and how it ended.
        facts: what is here.
    """
    if check.state in ("works", "slow") or not_made_for(check.backend, check.device) is not None:
        return None
    if check.device == "cpu":
        return _on_cpu(check, facts)
    return without_driver(facts) or _on_cuda(check, facts)


def _on_cpu(check: Check, facts: Facts) -> Remedy | None:
    if (doubled := _doubled(check, facts)) is not None:
        return doubled
    reason = check.reason or "no reason was told"
    install = re.search(r'`(pip install "sambench\[[\w-]+\]")`', reason)
    if install:
        return Remedy(problem=_headline(reason), steps=["install the extra that brings it"], commands=[install[1]])
    if "C++ compiler" in reason:
        return _compiler(facts)
    # What the CPU has no instructions for, or is for GPUs alone, says so itself, and nothing is to be mended.
    return None if check.state == "unavailable" else _as_told(check)


def _compiler(facts: Facts) -> Remedy:
    problem = "torch.compile has no C++ compiler, which it needs on a CPU"
    if facts.system.platform == "linux":
        return Remedy(problem=problem, steps=["install one"], commands=["sudo apt-get install g++"])
    if facts.system.platform == "darwin":
        return Remedy(problem=problem, steps=["install Apple's"], commands=["xcode-select --install"])
    return Remedy(problem=problem, steps=["install the Visual Studio Build Tools with the workload for C++"])


def _on_cuda(check: Check, facts: Facts) -> Remedy | None:
    """The driver works: then it is the backend's build, or what that build wants."""
    driver = facts.driver
    index = int(check.device.partition(":")[2] or 0)
    if driver is not None and index >= driver.gpus:
        return Remedy(
            problem=f"there is no {check.device}: the driver shows {driver.gpus} GPU(s), counted from cuda:0",
            steps=["name one of those"],
        )
    reason = check.reason or ""
    if "out of memory" in reason.lower():
        return Remedy(
            problem=f"{check.device} has no memory left: {reason[:120]}",
            steps=["end what else uses the GPU; this shows it:"],
            commands=["nvidia-smi"],
        )
    if check.backend.startswith("pytorch"):
        return _torch_on_cuda(check, facts)
    if check.backend in ORT_BACKENDS:
        return _doubled(check, facts) or _ort_on_cuda(check, facts)
    # A backend that is not made for this device, as it says itself: nothing to mend.
    return None if check.state == "unavailable" else _as_told(check)


def _torch_on_cuda(check: Check, facts: Facts) -> Remedy | None:
    build = facts.torch
    if build is None:
        return _as_told(check)
    if build.cuda is None:
        return Remedy(
            problem=f"this PyTorch ({build.version}) is a build for CPUs alone",
            steps=[
                "on Linux, install the build with CUDA, which is the usual one:",
                "on Windows, choose CUDA on PyTorch's page `Start locally` and run the command it shows",
            ],
            commands=["pip install --force-reinstall torch"],
        )
    if (old := _old_driver("PyTorch", build.cuda, facts)) is not None:
        return old
    if "no kernel image" in (check.reason or ""):
        return Remedy(
            problem=f"this PyTorch ({build.version}) holds no code for a GPU of this age",
            steps=["install a PyTorch built for an older CUDA: PyTorch's page `Previous versions` has the command"],
        )
    if "triton" in (check.reason or "").lower() and not build.triton:
        return Remedy(
            problem="torch.compile has no Triton, which it needs on a GPU",
            steps=["install it (Linux; on Windows the package is triton-windows)"],
            commands=["pip install triton"],
        )
    return _as_told(check)


def _ort_on_cuda(check: Check, facts: Facts) -> Remedy | None:
    build = facts.onnxruntime
    if build is None:
        return _as_told(check)
    if "CUDAExecutionProvider" not in build.providers or build.cuda is None:
        return Remedy(
            problem=f"this ONNX Runtime ({build.version}) is a build for CPUs alone",
            steps=["replace it by the one with CUDA; the two must not be installed together:"],
            commands=["pip uninstall --yes onnxruntime onnxruntime-gpu", "pip install onnxruntime-gpu"],
        )
    if (old := _old_driver("ONNX Runtime", build.cuda, facts)) is not None:
        return old
    missing = [name for name, found in build.cuda_libraries.items() if not found]
    if missing:
        return _missing_cuda(missing, build.cuda, facts)
    if check.backend == "tensorrt":
        missing = [name for name, found in build.tensorrt_libraries.items() if not found]
        if missing:
            return _missing_tensorrt(missing)
    return _as_told(check)


def _missing_cuda(missing: list[str], cuda: str, facts: Facts) -> Remedy:
    major = cuda.partition(".")[0]
    there = facts.torch.cuda if facts.torch and facts.torch.cuda else None
    other = f"; PyTorch here brings CUDA {there}" if there and there.partition(".")[0] != major else ""
    wheels = sorted({wheel for name in missing if (wheel := wheel_of(name, int(major))) is not None})
    return Remedy(
        problem=f"ONNX Runtime wants CUDA {cuda}, and {', '.join(missing)} cannot be loaded{other}",
        steps=["install NVIDIA's packages that hold them:"],
        commands=[f"pip install {' '.join(wheels)}"] if wheels else [],
    )


def wheel_of(library: str, cuda: int) -> str | None:
    """The package on PyPI that holds a CUDA library; None for one that is not known.

    Up to CUDA 12 their names end in `-cu12`; from 13 on they carry the version as their own, and only cuDNN's name
    keeps the ending (`onnxruntime.print_debug_info` lists both).

    Args:
        library: as `libcublas.so.13` or `cublas64_13.dll`.
        cuda: the major version.
    """
    stems = {
        "cudnn": f"nvidia-cudnn-cu{cuda}",
        "cublas": "nvidia-cublas",
        "cufft": "nvidia-cufft",
        "curand": "nvidia-curand",
        "cudart": "nvidia-cuda-runtime",
        "nvrtc": "nvidia-cuda-nvrtc",
    }
    name = library.removeprefix("lib")
    package = next((package for stem, package in stems.items() if name.startswith(stem)), None)
    if package is None or package.endswith(f"-cu{cuda}"):
        return package
    if cuda < OWN_VERSIONS:
        return f"{package}-cu{cuda}"
    return f'"{package}=={cuda}.*"' if package.startswith("nvidia-cuda-") else package


def _missing_tensorrt(missing: list[str]) -> Remedy:
    return Remedy(
        problem=f"TensorRT's libraries are not here: {', '.join(missing)} cannot be loaded",
        steps=[
            "install them:",
            "where they are still not found, put the folder `tensorrt_libs` of that package on the library path",
        ],
        commands=['pip install "sambench[tensorrt]"'],
    )


def _old_driver(who: str, wants: str, facts: Facts) -> Remedy | None:
    """A driver runs every minor version of its own CUDA and of older ones, and none of a newer one."""
    runs: Version | None = facts.driver.cuda if facts.driver else None
    major = int(wants.partition(".")[0])
    if runs is None or runs[0] >= major:
        return None
    oldest = f", {OLDEST_DRIVER[major]} or newer on Linux" if major in OLDEST_DRIVER else ""
    words = facts.driver.words if facts.driver else ""
    return Remedy(
        problem=f"the NVIDIA driver {words} is too old for the CUDA {wants} of this {who}",
        steps=[f"update the driver to one for CUDA {major}{oldest}, and restart"],
    )


def _doubled(check: Check, facts: Facts) -> Remedy | None:
    """Several ONNX Runtimes in one folder: which one's files are left depends on the order of their installation."""
    doubled = onnxruntimes(facts.packages)
    if len(doubled) < 2 or check.backend not in ORT_BACKENDS:
        return None
    return doubled_remedy(doubled)


def onnxruntimes(packages: dict[str, str]) -> list[str]:
    """The installed distributions that write the folder `onnxruntime`."""
    return [name for name in packages if ORT_NAMES.fullmatch(name)]


def doubled_remedy(doubled: list[str]) -> Remedy:
    """What to do about several ONNX Runtimes."""
    keep = "onnxruntime-gpu" if "onnxruntime-gpu" in doubled else doubled[0]
    return Remedy(
        problem=f"{' and '.join(doubled)} are installed together and overwrite each other's files",
        steps=["take all out and put one back:"],
        commands=[f"pip uninstall --yes {' '.join(doubled)}", f"pip install {keep}"],
    )


def _as_told(check: Check) -> Remedy:
    """No situation that is known here: the backend's own words."""
    reason = check.reason or "no reason was told"
    where = f"{check.backend} on {check.device}"
    if check.state == "wrong":
        return Remedy(
            problem=f"{where} in {check.precision} ran and is not to be trusted: {reason}",
            steps=["leave this precision or backend out; its cells would be invalid"],
        )
    return Remedy(problem=f"{where}: {_headline(reason)}", steps=[_rest(reason)])


def _headline(reason: str) -> str:
    return reason.partition("; ")[0]


def _rest(reason: str) -> str:
    return reason.partition("; ")[2] or "leave it out, or report this line with `sambench doctor --format json`"
