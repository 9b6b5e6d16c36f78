"""Facts of a machine on which everything works, to plant one fault at a time in."""

from __future__ import annotations

from typing import Any

from benchmark.doctor.schema import Check, Driver, Facts, OrtBuild, System, TorchBuild

ABSENT = "no NVIDIA driver on this machine (libcuda.so.1 is not there)"


def facts(**changes: dict[str, Any] | None) -> Facts:
    """A sound Linux machine with a GPU; each argument changes fields of one part, None takes the part away."""
    parts: dict[str, Any] = {
        "system": System(
            platform="linux", python="3.11", wsl=False, container=None, nvidia_hardware=True, visible_devices=None,
            compiler="g++",
        ),
        "driver": Driver(absence=None, words="580.65.06 (CUDA 13.0)", cuda=(13, 0), gpus=1),
        "torch": TorchBuild(version="2.9.0", cuda="13.0", cudnn=91002, sees_gpu=True, triton=True),
        "onnxruntime": OrtBuild(
            version="1.23.0", cuda="13.0", providers=["TensorrtExecutionProvider", "CUDAExecutionProvider"],
            cuda_libraries={"libcublas.so.13": True, "libcudnn.so.9": True},
            tensorrt_libraries={"libnvinfer.so.10": True},
        ),
    }  # fmt: skip
    packages = changes.pop("packages", None) or {"onnxruntime-gpu": "1.23.0"}
    for name, fields in changes.items():
        parts[name] = None if fields is None else parts[name].model_copy(update=fields)
    return Facts(packages=packages, **parts)


def without_driver(**system: Any) -> Facts:
    return facts(driver={"absence": ABSENT, "words": None, "cuda": None, "gpus": 0}, system=system)


def check(backend: str = "onnxruntime", device: str = "cuda", state: Any = "failed", **fields: Any) -> Check:
    return Check(**{"backend": backend, "device": device, "precision": "fp32", "state": state, **fields})
