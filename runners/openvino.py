"""OpenVINO on the CPU: the very file that ONNX Runtime loads, and inputs shared with it where they lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov

from runners.base import (
    NO_GRAPH_CAPTURE,
    Array,
    Attestation,
    DeviceTensor,
    DeviceUnavailableError,
    Outputs,
    Runner,
    RunnerError,
    Value,
    to_numpy,
)
from runners.device import Device
from runners.effective import effective_precision, products_note
from runners.registry import PRECISIONS, not_made_for

PLUGIN = "CPU"
HINTS = {"fp32": "f32", "bf16": "bf16"}
"""Precision → OpenVINO's name of it. Without a hint it takes bf16 by itself where the processor has hardware for it."""

PRECISION_OF = {"f32": "fp32", "bf16": "bf16", "f16": "fp16", "i8": "int8", "u8": "int8"}

PRODUCTS = frozenset(
    {
        *("Convolution", "GroupConvolution", "DeformableConvolution", "Deconvolution"),
        *("MatMul", "FullyConnected", "GatherMatmul", "MHA", "ScaledDotProductAttention"),
        *("RNNCell", "RNNSeq", "LLMMLP", "QKVProjection"),
    }
)
"""Layer types of the CPU plugin that a reduced precision is for (`src/plugins/intel_cpu/src/cpu_types.cpp`)."""

NOT_WORK = frozenset({"Input", "Output", "Const"})


@dataclass(frozen=True)
class OvTensor(DeviceTensor):
    """An OpenVINO tensor in host memory.

    Attributes:
        tensor: owns its memory, or borrows an array's.
        borrowed: that array, kept alive.
    """

    tensor: Any
    borrowed: Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:  # noqa: D102
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> str:  # noqa: D102
        return str(np.dtype(self.tensor.element_type.to_dtype()))

    def numpy(self) -> Array:  # noqa: D102
        array: Array = self.tensor.data
        return array


def settings(precision: str, threads: int | None) -> dict[str, Any]:
    """What the model is compiled with: one request at a time as fast as possible, in this precision.

    Args:
        precision: a key of `HINTS`.
        threads: None leaves OpenVINO's own choice.
    """
    chosen: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    if threads is not None:
        chosen["INFERENCE_NUM_THREADS"] = threads
    return chosen


class OpenVinoRunner(Runner):
    """One compiled model and one infer request; each call gets output tensors of its own."""

    backend = "openvino"
    precisions = PRECISIONS[backend]
    _compiled: Any = None
    _request: Any = None

    @classmethod
    def absence(cls, device: Device) -> str | None:
        """On any device but the CPU: its GPU plugin is for Intel's."""
        reason = not_made_for(cls.backend, str(device))
        return reason and f"backend {cls.backend}: {reason}, so leave it out or use device cpu"

    def _load(self) -> None:
        absent = self.absence(self.device)
        if absent is not None:
            raise DeviceUnavailableError(absent)
        path = self.source.onnx_path
        if path is None:
            raise RunnerError(f"{self.source.name} has no ONNX file; export it first")
        chosen = settings(self.source.precision, self.threads)
        try:
            self._compiled = ov.Core().compile_model(str(path), PLUGIN, chosen)
        except RuntimeError as error:  # the only class that OpenVINO raises
            raise RunnerError(f"{path}: OpenVINO cannot load it ({_last_line(error)}); export it again") from None
        self._request = self._compiled.create_infer_request()

    def _free(self) -> None:
        self._request = self._compiled = None

    def _place(self, inputs: Mapping[str, Value]) -> dict[str, DeviceTensor]:
        self._loaded()
        return {name: _placed(value) for name, value in inputs.items()}

    def _run(self, inputs: Mapping[str, DeviceTensor]) -> Outputs:
        compiled, request = self._loaded(), self._request
        for name, tensor in inputs.items():
            request.set_tensor(name, _own(tensor).tensor)
        outputs: Outputs = {}
        for spec in self.source.signature.outputs:
            # The request's own output tensors would be overwritten by the next call.
            tensor = _fresh(compiled.output(spec.name))
            request.set_tensor(spec.name, tensor)
            outputs[spec.name] = OvTensor(tensor)
        request.infer()
        return outputs

    def _loaded(self) -> Any:
        if self._compiled is None:
            raise RunnerError(f"{self.source.name}: enter the runner (`with runner:`) before running it")
        return self._compiled

    def attest(self) -> Attestation:
        """Asks the compiled model for its properties, and the graph that it runs for the precision of every layer."""
        compiled = self._loaded()
        layers = layers_of(compiled.get_runtime_model())
        products = products_in(layers)
        hint = PRECISION_OF[compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()]
        devices = tuple(compiled.get_property("EXECUTION_DEVICES"))
        streams = compiled.get_property("NUM_STREAMS")
        notes = []
        if hint != self.source.precision:
            notes.append(f"OpenVINO took {hint} for {self.source.precision}, which this processor has no hardware for")
        mixture = products_note(products)
        if mixture is not None:
            notes.append(mixture)
        return Attestation(
            backend=self.backend,
            version=ov.__version__,
            device=effective_device(devices),
            precision=effective_precision(products) or hint,
            providers=tuple(f"OpenVINO-{name}" for name in devices),
            nodes_per_provider={"+".join(devices): sum(kind not in NOT_WORK for kind, _ in layers)},
            threads=int(compiled.get_property("INFERENCE_NUM_THREADS")) or None,
            execution=f"{streams} stream" if str(streams) == "1" else f"{streams} streams",
            graph_capture=NO_GRAPH_CAPTURE,
            notes=tuple(notes),
        )


def effective_device(execution_devices: Iterable[str]) -> str:
    """`cpu` where the CPU alone executes; else OpenVINO's own names, which match no request of ours."""
    names = list(execution_devices)
    return "cpu" if names == [PLUGIN] else "+".join(names).lower()


def layers_of(runtime_model: Any) -> list[tuple[str, str]]:
    """(layer type, precision in OpenVINO's words) of every layer of the graph that is executed."""
    found = []
    for node in runtime_model.get_ordered_ops():
        told = node.get_rt_info()
        found.append((told["layerType"].astype(str), told["runtimePrecision"].astype(str)))
    return found


def products_in(layers: Iterable[tuple[str, str]]) -> Counter[str]:
    """Precision → layers of `PRODUCTS` that run in it; one that we have no name for keeps OpenVINO's."""
    return Counter(PRECISION_OF.get(precision, precision) for kind, precision in layers if kind in PRODUCTS)


def _placed(value: Value) -> OvTensor:
    if isinstance(value, OvTensor):
        return value
    array = np.ascontiguousarray(to_numpy(value))
    # OpenVINO shares no memory that it may not write.
    return OvTensor(ov.Tensor(array, shared_memory=array.flags.writeable), array)


def _fresh(port: Any) -> Any:
    """A tensor for one call's output, as small as its shape allows; OpenVINO lets it grow to the real size."""
    shape = port.get_partial_shape()
    sizes = [0] if shape.rank.is_dynamic else [dim.get_min_length() for dim in shape]
    return ov.Tensor(port.get_element_type(), ov.Shape(sizes))


def _own(tensor: DeviceTensor) -> OvTensor:
    assert isinstance(tensor, OvTensor)  # noqa: S101 - `_place` makes no other
    return tensor


def _last_line(error: Exception) -> str:
    """What went wrong stands last, after the places in OpenVINO's source where it was noticed."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
