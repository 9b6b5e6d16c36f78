"""Every backend by name. Heavy packages are imported when a backend is used, not when it is listed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runners.base import ModuleSource, Options, Runner
    from runners.device import Device

BACKENDS: Mapping[str, str] = {
    "pytorch": "runners.pytorch:PyTorchRunner",
    "pytorch-compile": "runners.pytorch_compile:PyTorchCompileRunner",
    "onnxruntime": "runners.onnxruntime:OnnxRuntimeRunner",
    "tensorrt": "runners.tensorrt:TensorRtRunner",
    "openvino": "runners.openvino:OpenVinoRunner",
    "dummy": "runners.dummy:DummyRunner",
}

REAL_BACKENDS: tuple[str, ...] = tuple(name for name in BACKENDS if name != "dummy")
"""Those that run models; the dummy's answers are worth nothing to somebody who wants masks."""

PRECISIONS: Mapping[str, tuple[str, ...]] = {
    "pytorch": ("fp32", "bf16", "fp16"),
    "pytorch-compile": ("fp32", "bf16", "fp16"),
    "onnxruntime": ("fp32", "fp16", "int8", "int8-static"),
    "tensorrt": ("fp32", "fp16"),
    "openvino": ("fp32", "bf16"),
    "dummy": ("fp32",),
}
"""What each backend runs. `int8` quantises activations at run time, `int8-static` beforehand."""

GPU_PRECISIONS: Mapping[str, tuple[str, ...]] = {
    "pytorch": ("fp16",),
    "pytorch-compile": ("fp16",),
    "tensorrt": ("fp32", "fp16"),
}
"""Those of them that a backend runs on a GPU alone."""

ONLY_ON: Mapping[str, tuple[str, str]] = {
    "tensorrt": ("cuda", "TensorRT runs on NVIDIA GPUs alone"),
    "openvino": ("cpu", "OpenVINO runs on CPUs here"),
}
"""Backends that are for one kind of device: that kind, and what they say on the other one."""

FILE_PRECISION: Mapping[str, str] = {"bf16": "fp32"}
"""Precisions that a backend makes of another one's file by itself; the others have files of their own."""

EXTRAS: Mapping[str, tuple[str, str]] = {"openvino": ("openvino", "openvino")}
"""Backend → the package it imports, and the extra of sambench that brings it. Those of the others are always here."""

WANTS_MODULE = frozenset({"pytorch", "pytorch-compile", "dummy"})
"""Backends that run the PyTorch module itself rather than its ONNX file."""


def has_own_file(backend: str, precision: str) -> bool:
    """Whether a backend's precision is that of a file whose parity was checked, and not made while it is loaded.

    Args:
        backend: a key of `BACKENDS`.
        precision: that it runs.
    """
    return precision == "fp32" or (precision not in FILE_PRECISION and backend not in WANTS_MODULE)


def precisions_on(backend: str, kind: str) -> tuple[str, ...]:
    """What a backend runs on one kind of device.

    Args:
        backend: a key of `BACKENDS`.
        kind: `cpu` or `cuda`.
    """
    gpu_only = GPU_PRECISIONS.get(backend, ()) if kind == "cpu" else ()
    return tuple(precision for precision in PRECISIONS[backend] if precision not in gpu_only)


def not_made_for(backend: str, device: str) -> str | None:
    """Why a backend can never run on a device, whatever is installed; None where it is made for that kind.

    Args:
        backend: a key of `BACKENDS`.
        device: `cpu`, `cuda` or `cuda:N`.
    """
    kind, words = ONLY_ON.get(backend, (None, ""))
    if kind is None or device.partition(":")[0] == kind:
        return None
    return f"not applicable to device {device}; {words}"


def import_backend(backend: str) -> type[Runner]:
    """The runner's class, its packages imported.

    Raises:
        KeyError: no backend of that name.
        RunnerError: the backend's package is not installed.
    """
    module, _, name = BACKENDS[backend].partition(":")
    try:
        kind: type[Runner] = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        package, extra = EXTRAS.get(backend, (None, None))
        if package is None or error.name != package:
            raise
        from runners.base import RunnerError

        raise RunnerError(
            f'backend {backend}: the package {package} is not installed; run `pip install "sambench[{extra}]"`'
        ) from None
    return kind


def make_runner(
    backend: str, source: ModuleSource, device: Device, threads: int | None = None, options: Options | None = None
) -> Runner:
    """The named backend's runner for the module, not yet loaded.

    Every backend knows the option `extra`: a share, of a call's own time, by which every call is made longer on purpose
    (see `runners.slowed`). The others are the backend's own.

    Raises:
        KeyError: no backend of that name.
        RunnerError: the backend is not installed, does not run the module's precision, or does not know an option.
    """
    from runners.slowed import EXTRA, slowed

    kind = import_backend(backend)
    own = dict(options or {})
    if EXTRA in own:
        kind = slowed(kind, own.pop(EXTRA))
    return kind(source, device, threads, own)
