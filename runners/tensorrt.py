"""TensorRT, through ONNX Runtime's provider: engines built for a GPU, with CUDA and the CPU behind it."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnxruntime as ort

from runners.base import (
    NO_OPTIONS,
    Attestation,
    DeviceTensor,
    DeviceUnavailableError,
    ModuleSource,
    Options,
    RunnerError,
    Value,
)
from runners.device import Device, cuda_absence
from runners.onnx_nodes import Nodes, operators_of
from runners.onnx_providers import PROVIDERS, ProviderOptions, chosen, cuda_options, told_settings
from runners.onnxruntime import OnnxRuntimeRunner
from runners.registry import PRECISIONS
from runners.tensorrt_cache import EngineKey, cache_options, default_root, file_hash
from runners.tensorrt_profile import ProfileError, Range, beyond, parse, profile_options, ranges, widened

PROVIDER = "TensorrtExecutionProvider"

TF32_VARIABLE = "NVIDIA_TF32_OVERRIDE"
"""At 0, NVIDIA's libraries compute nothing in TF32. The provider has no option for it, and TensorRT allows it."""

SETTINGS = (
    "trt_fp16_enable",
    "trt_layer_norm_fp32_fallback",
    "trt_engine_cache_enable",
    "trt_timing_cache_enable",
    *(f"trt_profile_{which}_shapes" for which in ("min", "opt", "max")),
)

LIBRARIES = re.compile(rb"lib(?:nvinfer|nvonnxparser)\.so\.\d+|(?:nvinfer|nvonnxparser)_\d+\.dll")
"""TensorRT's libraries as the provider's own library names them, with the version that it wants."""

IMPLICIT = (
    "engines built within calls, for the sizes met: TensorRT takes this graph in pieces, for which no profile holds"
)

PACKAGE = "tensorrt_libs"
"""What the packages `tensorrt-cu*-libs` install; importing it loads the libraries."""


def tensorrt_options(device: Device, precision: str, stream: int | None = None) -> ProviderOptions:
    """What the TensorRT provider is asked for, beside shapes and caches.

    fp16 is that of our fp16 file, whose parity was checked when it was made and in which what loses too much stays in
    fp32. TensorRT refuses half-precision layers unless `trt_fp16_enable` permits them, so it stands beside the file; it
    also permits TensorRT to lower the rest, but not layer normalisation.

    Args:
        device: a GPU.
        precision: of the module.
        stream: the address of the CUDA stream that it shall use; None leaves it its own.
    """
    half = "1" if precision == "fp16" else "0"
    asked = {"device_id": str(device.index), "trt_fp16_enable": half, "trt_layer_norm_fp32_fallback": half}
    if stream is not None:
        asked["user_compute_stream"] = str(stream)
    return asked


def wanted_libraries(provider: bytes) -> list[str]:
    """TensorRT's libraries that a build of ONNX Runtime needs, as `libnvinfer.so.10`.

    Args:
        provider: the content of its TensorRT provider's library.
    """
    return sorted({name.decode() for name in LIBRARIES.findall(provider)})


def missing_libraries() -> list[str]:
    """Those of `wanted_libraries` that cannot be loaded here; the others are loaded by this."""
    name = "onnxruntime_providers_tensorrt.dll" if sys.platform == "win32" else "libonnxruntime_providers_tensorrt.so"
    provider = Path(ort.__file__).parent / "capi" / name
    wanted = wanted_libraries(provider.read_bytes()) if provider.is_file() else []
    folders = [""]
    if find_spec(PACKAGE) is not None:
        import_module(PACKAGE)
        folders = [*(find_spec(PACKAGE).submodule_search_locations or ()), ""]  # type: ignore[union-attr]
    return [name for name in wanted if not any(_loads(Path(folder) / name) for folder in folders)]


def _loads(library: Path) -> bool:
    try:
        # For all, because the provider's library asks for them by name.
        ctypes.CDLL(str(library), mode=getattr(ctypes, "RTLD_GLOBAL", 0))
    except OSError:
        return False
    return True


def absence_told(device: Device, available: list[str], driver: str | None, missing: list[str]) -> str | None:
    """Why there is no TensorRT on a device, and all that there is to do about it; None if there is. Pure.

    Args:
        device: where it should run.
        available: providers of this build of ONNX Runtime.
        driver: why the GPU cannot be used; None if it can.
        missing: TensorRT's libraries that are not here.
    """
    if device.kind == "cpu":
        return (
            "backend tensorrt: not applicable to device cpu; it runs on NVIDIA GPUs alone, so leave it out or use cuda"
        )
    if PROVIDER not in available:
        return (
            f"device {device} for tensorrt: this build of ONNX Runtime has no TensorRT; install onnxruntime-gpu in "
            "place of onnxruntime"
        )
    reasons = [] if driver is None else [driver]
    if missing:
        reasons.append(
            f'TensorRT is not installed ({", ".join(missing)}): run `pip install "sambench[tensorrt]"`, or put its '
            "libraries on the loader's path"
        )
    if not reasons:
        return None
    return f"device {device} for tensorrt: {'; '.join(reasons)}; or use device cpu with another backend"


def left_to_cuda(nodes: Nodes | None) -> str | None:
    """`TensorRT left to CUDA: 2 × Resize`; None where it took all, or nothing is known."""
    left = {} if nodes is None else operators_of(nodes, PROVIDERS["cuda"])
    if not left:
        return None
    counted = sorted(left.items(), key=lambda item: -item[1])
    return "TensorRT left to CUDA: " + ", ".join(f"{count} × {name}" for name, count in counted)


def tensorrt_version() -> str:
    """Of the library that is loaded, as `10.13.3` (`getInferLibVersion` of NvInferRuntime.h: 101303)."""
    provider = Path(ort.__file__).parent / "capi" / "libonnxruntime_providers_tensorrt.so"
    names = (
        [name for name in wanted_libraries(provider.read_bytes()) if "nvinfer" in name] if provider.is_file() else []
    )
    try:
        number = int(ctypes.CDLL(names[0]).getInferLibVersion())
    except (IndexError, OSError, AttributeError):
        return "unknown"
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


class TensorRtRunner(OnnxRuntimeRunner):
    """The session of `OnnxRuntimeRunner` with TensorRT before CUDA.

    Options: `graph`, `execution`, `spinning` and `tf32` as there; `profile`: the sizes an engine is built for
    (`runners.tensorrt_profile`); `cache`: a folder for engines and timings instead of the user's own. A call with other
    sizes is refused: the provider would build an engine within it.
    """

    backend = "tensorrt"
    precisions = PRECISIONS[backend]
    option_names = frozenset({"graph", "execution", "spinning", "tf32", "profile", "cache"})
    _explicit = True
    _override: str | None = None
    _overridden = False

    def __init__(
        self, source: ModuleSource, device: Device, threads: int | None = None, options: Options = NO_OPTIONS
    ) -> None:
        super().__init__(source, device, threads, options)
        try:
            self._ranges: dict[str, Range] = ranges(source.signature, parse(options.get("profile", {})))
        except ProfileError as error:
            raise RunnerError(f"backend {self.backend}: {error}") from None
        cache = options.get("cache")
        if not (cache is None or (isinstance(cache, str) and cache)):
            raise RunnerError(f"backend {self.backend}: option cache is {cache!r}; give a folder")
        self._met: dict[str, tuple[int, int]] = {}
        self._root = default_root() if cache is None else Path(cache)

    @classmethod
    def absence(cls, device: Device) -> str | None:
        """On the CPU, without a GPU's driver, and without TensorRT's libraries."""
        if device.kind == "cpu":
            return absence_told(device, [], None, [])
        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()
        return absence_told(device, ort.get_available_providers(), cuda_absence(device.index), missing_libraries())

    def _require_driver(self) -> None:
        absent = self.absence(self.device)
        if absent is not None:
            raise DeviceUnavailableError(absent)
        super()._require_driver()

    def _open(self, options: ort.SessionOptions, graphs: bool = False) -> Any:
        try:
            return super()._open(options, graphs)
        except Exception as error:  # ONNX Runtime raises classes of its own that share no base but Exception
            if not (self._explicit and "profile" in str(error)):
                raise
        # Where it takes a graph in pieces, the provider wants profiles of the pieces' inputs, which nobody knows.
        self._explicit = False
        return super()._open(options, graphs)

    def _prepare_device(self) -> None:
        if not chosen(self.options, "tf32"):
            self._override, self._overridden = os.environ.get(TF32_VARIABLE), True
            os.environ[TF32_VARIABLE] = "0"
        super()._prepare_device()

    def _free(self) -> None:
        super()._free()
        if self._overridden:
            self._overridden = False
            os.environ.pop(TF32_VARIABLE)
            if self._override is not None:
                os.environ[TF32_VARIABLE] = self._override

    def _providers(self, graphs: bool) -> list[tuple[str, ProviderOptions]]:
        address = None if self._stream is None else self._stream.cuda_stream
        own = tensorrt_options(self.device, self.source.precision, address)
        shapes = profile_options(self.source.signature, self._ranges) if self._explicit else {}
        caches = cache_options(self._root, self._key(shapes))
        for name in ("trt_engine_cache_path", "trt_timing_cache_path"):
            Path(caches[name]).mkdir(parents=True, exist_ok=True)
        return [
            (PROVIDER, {**own, **shapes, **caches}),
            (PROVIDERS["cuda"], cuda_options(self.device, self.options, address)),
            (PROVIDERS["cpu"], {}),
        ]

    def _key(self, shapes: Mapping[str, str]) -> EngineKey:
        import torch

        assert self.source.onnx_path is not None  # noqa: S101 - `_load` asked
        major, minor = torch.cuda.get_device_capability(self.device.index)
        return EngineKey(
            artifact=file_hash(self.source.onnx_path),
            gpu=torch.cuda.get_device_name(self.device.index),
            capability=f"{major}.{minor}",
            tensorrt=tensorrt_version(),
            onnxruntime=ort.__version__,
            precision=self.source.precision,
            tf32=bool(chosen(self.options, "tf32")),
            profile=tuple(sorted(shapes.items())),
        )

    def _refuse_fallback(self) -> None:
        if PROVIDER not in self._session.get_providers():
            there = ", ".join(self._session.get_providers())
            self._session = None
            raise DeviceUnavailableError(
                f"device {self.device} for tensorrt: its provider did not load, so {there} would run instead; run "
                "`sambench doctor`, or leave tensorrt out"
            )
        super()._refuse_fallback()

    def _place(self, inputs: Mapping[str, Value]) -> dict[str, DeviceTensor]:
        self._loaded()
        shapes = {name: tuple(value.shape) for name, value in inputs.items()}
        if self._explicit:
            refused = beyond(self.source.signature, self._ranges, shapes)
            if refused is not None:
                raise RunnerError(f"{self.source.name}: {refused} of backend tensorrt")
        elif widened(self._met, self.source.signature, shapes):
            self.set_ups += 1
        return super()._place(inputs)

    def attest(self) -> Attestation:
        """As the session's, with what TensorRT says of its own options and what it left to CUDA."""
        told = super().attest()
        options: dict[str, Any] = self._loaded().get_provider_options().get(PROVIDER, {})
        left = left_to_cuda(self._nodes)
        return replace(
            told,
            version=f"{told.version} with TensorRT {tensorrt_version()}",
            tf32=os.environ.get(TF32_VARIABLE) != "0",
            settings={**(told.settings or {}), **told_settings(options, SETTINGS)},
            notes=(*told.notes, *(() if left is None else (left,)), *(() if self._explicit else (IMPLICIT,))),
        )
